"""The results of one run as the report reads them: ``results.json`` and ``timings.json``.

``experiments`` writes these files; this module reads them without importing it, so that a report can be made on a
machine that has no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lth_det.errors import RunError
from lth_det.io import inside
from lth_det.reports.run_scores import TASK_TITLES, score_of, task_of

GROUP_ORDER = (
    *("stem", "backbone", "fpn", "rpn", "box_head", "mask_head", "keypoint_head", "res5"),
    *("predictors", "other"),
)
WORTH_COMPARING = 10.0
"""Points (0-100) that the dense model must have above chance; below that, "as good as dense" says nothing."""


@dataclass(frozen=True)
class LayerResult:
    """Parameters of one layer (a parameter tensor) and how many of them are pruned."""

    name: str
    group: str
    total_parameters: int
    pruned_parameters: int
    prunable: bool

    @property
    def sparsity(self) -> float:
        """Pruned share of all parameters of the layer, 0 to 1; NaN for a layer without parameters."""
        return self.pruned_parameters / self.total_parameters if self.total_parameters else math.nan


@dataclass(frozen=True)
class RoundResult:
    """One evaluated model of a run: the dense model (round 0), a ticket, or a control.

    Attributes:
        round: number of the round.
        control: name of the control (a random mask, for example); empty for dense and tickets.
        prune_rate: pruned / prunable weights, 0 to 1.
        sparsity: zeros / all parameters, 0 to 1.
        metrics: names of Detectron2 (``bbox/AP``) -> value, 0 to 100; NaN where it could not be computed.
        groups: module group -> counts, with the keys of ``sparsity_summary``.
        layers: counts of every layer.
        predictions: file of detections in COCO format, or ``None``.
        ticket: ticket file relative to the run, or ``""``.
        ticket_sha256: its hash, or ``""``.
    """

    round: int
    control: str
    prune_rate: float
    sparsity: float
    metrics: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: tuple[LayerResult, ...] = ()
    predictions: Path | None = None
    ticket: str = ""
    ticket_sha256: str = ""

    @property
    def title(self) -> str:
        """Name for people: ``dense``, ``round 2`` or ``random_layer_ratios, round 2``."""
        if self.control:
            return f"{self.control}, round {self.round}"
        return "dense" if self.round == 0 else f"round {self.round}"

    def metric(self, name: str) -> float:
        """Return the metric ``name``, NaN when the round does not have it."""
        return self.metrics.get(name, math.nan)


@dataclass(frozen=True)
class RunResults:
    """Everything the files of a run say. ``train_seconds`` is by round; NaN where the run did not record it."""

    folder: Path
    rounds: tuple[RoundResult, ...]
    controls: tuple[RoundResult, ...]
    dataset: Mapping[str, Any]
    facts: Mapping[str, Any]
    timings: Mapping[str, Any]

    @property
    def dense(self) -> RoundResult | None:
        """Round 0, or ``None`` when the run has none yet."""
        return next((result for result in self.rounds if result.round == 0), None)

    @property
    def tickets(self) -> tuple[RoundResult, ...]:
        """The rounds past the dense one, by round."""
        return tuple(result for result in self.rounds if result.round > 0)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks with an ``AP`` or ``top1`` in any round: boxes, masks, keypoints, then others by name."""
        named = {task_of(name) for result in self.rounds for name in result.metrics}
        found = {task for task in named if task is not None}
        known = [task for task in TASK_TITLES if task in found]
        return (*known, *sorted(found - set(known)))

    @property
    def is_classifier(self) -> bool:
        """Whether accuracy is all that was measured."""
        return bool(self.tasks) and all(score_of(task).is_accuracy for task in self.tasks)

    def chance(self, task: str) -> float:
        """Return what guessing reaches, 0-100: an even share of the classes for accuracy, nothing for AP."""
        names = self.dataset.get("classes")
        if not isinstance(names, list) or not names or not score_of(task).is_accuracy:
            return 0.0
        return 100 / len(names)


def read_run(folder: Path) -> RunResults:
    """Read ``folder/results.json`` and, if there, ``folder/timings.json``.

    Raises:
        RunError: ``results.json`` is missing, no JSON, or lacks rounds, their sparsity or their metrics.
    """
    path = folder / "results.json"
    raw = _read_object(path)
    rounds = [_round(path, item, control="") for item in _list(path, raw, "rounds")]
    if not rounds:
        raise RunError(f"{path} holds no finished round; let the run finish its dense round first.")
    controls = [
        _round(path, item, control=str(_mapping(item).get("name") or "control"))
        for item in (_list(path, raw, "controls") if raw.get("controls") else [])
    ]
    facts = {key: value for key, value in raw.items() if key not in {"rounds", "controls"}}
    return RunResults(
        folder=folder,
        rounds=tuple(sorted(rounds, key=lambda result: result.round)),
        controls=tuple(controls),
        dataset=_mapping(raw.get("dataset")),
        facts=facts,
        timings=_optional_object(folder / "timings.json"),
    )


def sparsest_matching(results: RunResults, task: str, *, tolerance: float) -> RoundResult | None:
    """Return the sparsest ticket whose AP or accuracy is at most ``tolerance`` points (0-100 scale) below dense.

    ``None`` when there is no such ticket, or dense is not ``WORTH_COMPARING`` points above chance.
    """
    name = score_of(task).metric
    dense = math.nan if results.dense is None else results.dense.metric(name)
    if not dense >= results.chance(task) + WORTH_COMPARING:
        return None
    floor = dense - tolerance
    good = [ticket for ticket in results.tickets if ticket.metric(name) >= floor]
    return max(good, key=lambda ticket: ticket.sparsity, default=None)


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{path} does not exist; run the training first, or name its OUTPUT_DIR."
        ) from error
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not valid JSON ({error}); run the training command again to rewrite it."
        ) from error
    if not isinstance(value, dict):
        raise RunError(
            f"{path} holds no JSON object; run the training command again to rewrite it."
        )
    return value


def _optional_object(path: Path) -> Mapping[str, Any]:
    return _read_object(path) if path.exists() else {}


def _list(path: Path, raw: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = raw.get(key)
    if not isinstance(value, list):
        raise RunError(f"{path} has no list '{key}'; run the training command again to rewrite it.")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _round(path: Path, item: Any, *, control: str) -> RoundResult:
    try:
        predictions = item.get("predictions")
        return RoundResult(
            round=int(item["round"]),
            control=control,
            prune_rate=_fraction(item["prune_rate"]),
            sparsity=_fraction(item["sparsity"]),
            metrics={str(name): _number(value) for name, value in item["metrics"].items()},
            groups=_groups(item.get("groups")),
            layers=tuple(_layer(layer) for layer in item.get("layers") or ()),
            predictions=inside(path.parent, str(predictions)) if predictions else None,
            ticket=str(item.get("ticket") or ""),
            ticket_sha256=str(item.get("ticket_sha256") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(
            f"{path} has a damaged round ({reason}); run the training command again to rewrite it."
        ) from error


def _groups(value: Any) -> dict[str, Mapping[str, Any]]:
    """Return the module groups in the order of the network (JSON files hold them by name)."""
    rank = {name: place for place, name in enumerate(GROUP_ORDER)}
    found = {str(name): _mapping(counts) for name, counts in _mapping(value).items()}
    names = sorted(found, key=lambda name: (rank.get(name, len(rank)), name))
    return {name: found[name] for name in names}


def _layer(item: Mapping[str, Any]) -> LayerResult:
    return LayerResult(
        name=str(item["name"]),
        group=str(item["group"]),
        total_parameters=int(item["total_parameters"]),
        pruned_parameters=int(item["pruned_parameters"]),
        prunable=bool(item["prunable"]),
    )


def _fraction(value: Any) -> float:
    if not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"{value} is no fraction")
    return float(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
