"""How a model differs from the reference: per metric, bin and class, with intervals, tests and a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.analysis import statistics
from lth_det.analysis.axes import THIN_IMAGES, Axis, AxisBin, mean_over
from lth_det.analysis.bootstrap import FEWEST_SEEDS, Draws, ModelReplicates, Replicates
from lth_det.analysis.breakdown import Count, Frame, coco_numbers
from lth_det.analysis.checks import FloatArray
from lth_det.analysis.file_scores import FileScores
from lth_det.analysis.options import Options

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class Side:
    """One model of one IoU type: mean scores, scores and replicates per seed."""

    name: str
    mean: FileScores
    seeds: Sequence[FileScores]
    replicates: Sequence[Replicates]

    def model_replicates(self, draws: Draws, *, stream: int) -> ModelReplicates | None:
        """Return the replicates of the model; None when nothing was replicated."""
        if not self.replicates:
            return None
        return ModelReplicates(list(self.replicates), draws, stream=stream)


class Comparison:
    """A model against the reference; :meth:`to_dict` gives the ``COMPARISON`` object without its objects part."""

    def __init__(
        self, frame: Frame, draws: Draws, options: Options, *, model: Side, reference: Side
    ) -> None:
        self._frame = frame
        self._draws = draws
        self._options = options
        self._model, self._reference = model, reference
        self._rows = (
            model.model_replicates(draws, stream=1),
            reference.model_replicates(draws, stream=0),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all deltas, tests and the verdict."""
        frame = self._frame
        value: dict[str, Any] = {
            "model": self._model.name,
            "reference": self._reference.name,
            "iou_type": frame.iou_type,
            "metrics": self._metrics(),
            "sign_test": self._sign_test(),
            "seed_test": self._seed_test(),
        }
        value["verdict"], value["verdict_text"] = self._verdict(value["metrics"]["AP"])
        value |= {axis.key: self._axis(axis) for axis in frame.axes}
        value["by_category"] = self._categories()
        return value

    def _delta(
        self, values: tuple[float, float], rows: tuple[FloatArray | None, FloatArray | None]
    ) -> dict[str, Any]:
        value, reference = values
        delta = value - reference
        relative = delta / reference if reference > 0 else math.nan
        result: dict[str, Any] = {
            "value": value,
            "reference": reference,
            "delta": delta,
            "relative": relative,
            "interval": None,
            "p": None,
            "p_better": None,
            "significant": None,
        }
        if rows[0] is None or rows[1] is None:
            return result
        difference = rows[0] - rows[1]
        drawn, left_out = difference[: self._draws.count], difference[self._draws.count :]
        known = drawn[np.isfinite(drawn)]
        if not math.isfinite(delta) or known.size < 2:
            return result
        interval = statistics.bca_interval(delta, drawn, left_out, self._options.level)
        result["interval"] = list(interval) if interval else None
        result["p"] = statistics.bootstrap_p(drawn)
        result["p_better"] = float((known > 0).mean())
        return result

    def _rows_of(self, bin_: AxisBin) -> tuple[FloatArray | None, FloatArray | None]:
        one, two = self._rows
        return (one.of_bin(bin_) if one else None, two.of_bin(bin_) if two else None)

    def _metrics(self) -> dict[str, Any]:
        classes = self._frame.cells.classes
        numbers = [coco_numbers(self._frame, s.mean) for s in (self._model, self._reference)]
        result = {}
        for metric in ("AP", "AP50", "AP75", "AR"):
            rows: tuple[FloatArray | None, FloatArray | None] = (None, None)
            one, two = self._rows
            if metric != "AR" and one and two:
                rows = (one.headline(metric, classes), two.headline(metric, classes))
            delta = self._delta((numbers[0][metric], numbers[1][metric]), rows)
            delta["significant"] = _excludes_zero(delta["interval"])
            result[metric] = delta
        return result

    def _axis(self, axis: Axis) -> dict[str, Any]:
        deltas = {b.name: self._bin(axis, b) for b in axis.bins}
        adjusted = statistics.holm(
            [
                math.nan
                if deltas[b.name]["p"] is None
                else self._refined_p(b, deltas[b.name]["delta"])
                for b in axis.bins
            ]
        )
        for delta, p in zip(deltas.values(), adjusted, strict=True):
            if math.isfinite(p):
                delta["significant"] = bool(p <= 1 - self._options.level)
        return deltas

    def _refined_p(self, bin_: AxisBin, delta: float) -> float:
        one, two = self._rows_of(bin_)
        if one is None or two is None or not math.isfinite(delta):
            return math.nan
        return statistics.refined_p(delta, (one - two)[: self._draws.count])

    def _bin(self, axis: Axis, bin_: AxisBin) -> dict[str, Any]:
        values = tuple(
            mean_over(side.mean.values["AP"], bin_) for side in (self._model, self._reference)
        )
        count = self._frame.counts[axis.key][bin_.name]
        delta = self._delta((values[0], values[1]), self._rows_of(bin_))
        if count.images < THIN_IMAGES:
            # Objects of one or two images: a resample has all of them or none, the interval would have no width.
            delta |= {"interval": None, "p": None, "p_better": None}
        return delta | _of_count(count)

    def _categories(self) -> dict[str, Any]:
        axis = self._frame.categories
        deltas = {}
        for bin_ in axis.bins:
            delta = self._bin(axis, bin_)
            rows = self._rows_of(bin_)
            if rows[0] is not None and rows[1] is not None and delta["p"] is not None:
                drawn = (rows[0] - rows[1])[: self._draws.count]
                delta["p"] = statistics.normal_p(delta["delta"], drawn)
            delta["ranked"] = delta["objects"] >= 10
            deltas[bin_.name] = delta
        q_values = statistics.benjamini_hochberg([_nan(d["p"]) for d in deltas.values()])
        for delta, q in zip(deltas.values(), q_values, strict=True):
            delta["q"] = float(q)
            delta["significant"] = bool(q <= FALSE_DISCOVERY_RATE) if math.isfinite(q) else None
        return deltas

    def _sign_test(self) -> dict[str, Any]:
        change = [
            mean_over(self._model.mean.values["AP"], b)
            - mean_over(self._reference.mean.values["AP"], b)
            for b in self._frame.categories.bins
        ]
        better, worse = sum(c > 0 for c in change), sum(c < 0 for c in change)
        return {
            "better": better,
            "worse": worse,
            "equal": sum(c == 0 for c in change),
            "p": statistics.sign_test(better, worse),
            "note": "classes share images, so this p is optimistic",
        }

    def _seed_test(self) -> dict[str, Any]:
        sides = [
            [coco_numbers(self._frame, s)["AP"] for s in side.seeds]
            for side in (self._model, self._reference)
        ]
        few = min(len(s) for s in sides) < FEWEST_SEEDS
        note = (
            "image noise only: fewer than 3 seeds"
            if few
            else "Welch's t over seeds; intervals resample seeds and images"
        )
        return {
            "p": statistics.welch_p(*sides),
            "n_model": len(sides[0]),
            "n_reference": len(sides[1]),
            "note": note,
        }

    def _verdict(self, delta: Mapping[str, Any]) -> tuple[str | None, str]:
        margin, interval = self._options.margin, delta["interval"]
        if interval is None:
            return None, "No interval was computed, so there is no verdict."
        low, high = (100 * v for v in interval)
        points = f"{100 * delta['delta']:+.2f} AP, {self._options.level:.0%} interval {low:+.2f} to {high:+.2f}"
        if interval[0] > -margin:
            return (
                "winning",
                f"Not worse than {self._reference.name} by more than {100 * margin:g} AP: {points}.",
            )
        if interval[1] < -margin:
            return (
                "losing",
                f"Worse than {self._reference.name} by more than {100 * margin:g} AP: {points}.",
            )
        return (
            "inconclusive",
            f"These images do not tell whether it is worse than {self._reference.name} by more than "
            f"{100 * margin:g} AP: {points}.",
        )


def interval_of(
    values: FloatArray | None, estimate: float, draws: Draws, level: float
) -> list[float] | None:
    """Return the interval of one model's value from its rows (B + J,), None when it was not replicated."""
    if values is None or not math.isfinite(estimate):
        return None
    interval = statistics.bca_interval(
        estimate, values[: draws.count], values[draws.count :], level
    )
    return list(interval) if interval else None


def _of_count(count: Count) -> dict[str, Any]:
    facts = count.to_dict()
    return {k: facts[k] for k in ("objects", "classes", "thin")}


def _excludes_zero(interval: Sequence[float] | None) -> bool | None:
    return None if interval is None else bool(interval[0] > 0 or interval[1] < 0)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
