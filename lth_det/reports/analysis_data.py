"""Access to the JSON of an analysis (``lth_det/analysis/schema.md``, schema version 1) for reports.

Values stay in the units of the JSON (AP 0 to 1); a value that could not be computed is NaN here. Parts that an
analysis does not have are empty, so that every reader can go on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lth_det.errors import InputError
from lth_det.reports.run_scores import TASK_TITLES

SCHEMA_VERSION = 1
MAIN_AXES = ("size", "frequency", "difficulty")
COARSE_SIZES = ("small", "medium", "large")
MOST_FOCUS = 3
NOT_LOSING = ("winning", "inconclusive")

Values = Mapping[str, Any]
Interval = tuple[float, float]


def number(value: Any) -> float:
    """Return ``value`` as a float; NaN for ``None`` and everything that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def interval(value: Any) -> Interval:
    """Return ``[low, high]`` as floats; NaN twice when there is no interval."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return number(value[0]), number(value[1])
    return math.nan, math.nan


def part(value: Any, *keys: str) -> Values:
    """Return the object at ``keys`` inside nested objects; empty where it is missing or no object."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Axis:
    """One attribute: its bins in order and how they are defined.

    Attributes:
        name: ``size``, ``frequency`` and so on; crosses join two or more: ``size_x_frequency``.
        title: name for people.
        bins: bin names, in order.
        parts: names of the crossed axes; empty for a plain axis.
        rule: what is ignored and what counts as a false positive.
        source: where the attribute comes from.
        definitions: bin name -> its definition in words.
    """

    name: str
    title: str
    bins: tuple[str, ...]
    parts: tuple[str, ...]
    rule: str
    source: str
    definitions: Mapping[str, str]

    @property
    def key(self) -> str:
        """Key of the axis inside a model: ``by_size``, ``size_x_frequency``."""
        return self.name if self.parts or self.name.startswith("by_") else f"by_{self.name}"

    @property
    def main_bins(self) -> tuple[str, ...]:
        """The bins for a curve: small, medium, large for sizes (without the finer ones), all for other axes."""
        coarse = tuple(name for name in COARSE_SIZES if name in self.bins)
        return coarse if self.name == "size" and coarse else self.bins

    @property
    def fine_bins(self) -> tuple[str, ...]:
        """The bins that are not main ones."""
        return tuple(name for name in self.bins if name not in self.main_bins)


@dataclass(frozen=True)
class Analysis:
    """A read analysis; ``raw`` is the whole JSON."""

    raw: Values

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Model names in their order."""
        return tuple(str(name) for name in self.raw["model_order"])

    @cached_property
    def iou_types(self) -> tuple[str, ...]:
        """``bbox``, ``segm``, ``keypoints``: those that were evaluated."""
        return tuple(str(name) for name in self.raw["iou_types"])

    @property
    def reference(self) -> str | None:
        """The model that others are compared with."""
        name = self.raw.get("reference")
        return str(name) if name in self.models else None

    @property
    def others(self) -> tuple[str, ...]:
        """All models but the reference."""
        return tuple(name for name in self.models if name != self.reference)

    @property
    def compared(self) -> tuple[str, ...]:
        """Models that are neither the reference nor a control, by sparsity where it is known."""
        names = [name for name in self.others if not self.control(name)]
        return tuple(sorted(names, key=self._sparsity_or_zero))

    @property
    def controls(self) -> tuple[str, ...]:
        """Control models (random masks, for example), in order."""
        return tuple(name for name in self.others if self.control(name))

    def info(self, model: str) -> Values:
        """Return what the inputs say about ``model``: files, seeds, sparsity, control."""
        return part(self.raw, "inputs", "models", model)

    def control(self, model: str) -> str:
        """Return the name of the control that ``model`` is; empty for other models."""
        return str(self.info(model).get("control") or "")

    def sparsity(self, model: str) -> float:
        """Return the sparsity of ``model``, 0 to 1, NaN when not known; the reference counts as dense then."""
        value = number(self.info(model).get("sparsity"))
        if math.isnan(value) and model == self.reference and self._some_sparsity:
            return 0.0
        return value

    @property
    def has_sparsity(self) -> bool:
        """Whether every model has a sparsity, so that they can be placed on that axis."""
        return all(not math.isnan(self.sparsity(name)) for name in self.models)

    def title(self, model: str) -> str:
        """Return the model's name with its sparsity, where that is known."""
        value = self.sparsity(model)
        return model if math.isnan(value) or value == 0 else f"{model} ({100 * value:.1f} %)"

    def scores(self, model: str, iou_type: str) -> Values:
        """Return the numbers of one model and IoU type."""
        return part(self.raw, "models", model, iou_type)

    def comparison(self, model: str, iou_type: str) -> Values:
        """Return the comparison of ``model`` with the reference; empty when there is none."""
        return self._comparisons.get((model, iou_type), {})

    def axes(self, iou_type: str) -> dict[str, Axis]:
        """Return the axes of one IoU type by name: sizes, class axes, others, then crosses."""
        found = [_axis(name, value) for name, value in part(self.raw, "axes", iou_type).items()]
        rank = {name: place for place, name in enumerate(MAIN_AXES)}
        last = len(rank)

        def place(axis: Axis) -> tuple[int, list[int], str]:
            parts = axis.parts or (axis.name,)
            return len(parts), [rank.get(name, last) for name in parts], axis.name

        return {axis.name: axis for axis in sorted(found, key=place)}

    def plain_axes(self, iou_type: str) -> list[Axis]:
        """Return the axes worth a figure: no crosses, no list of classes, and objects in at least two main bins."""
        return [
            axis
            for axis in self.axes(iou_type).values()
            if not axis.parts
            and axis.name != "category"
            and sum(self.objects(iou_type, axis, name) > 0 for name in axis.main_bins) > 1
        ]

    def objects(self, iou_type: str, axis: Axis, name: str) -> float:
        """Return the number of objects in a bin (the same for every model); 0 where it is not known."""
        base = self.reference or self.models[0]
        count = number(part(self.scores(base, iou_type), axis.key, name).get("objects"))
        return 0.0 if math.isnan(count) else count

    def focus(self, iou_type: str) -> tuple[str, ...]:
        """Return up to three models for detailed figures.

        Where sparsity is known: the sparsest one that does not lose, the next sparser one, and the sparsest of all;
        free places go to the next less sparse ones. Else the first three.
        """
        names = list(self.compared)
        if not names or not self.has_sparsity:
            return tuple(names[:MOST_FOCUS])
        good = [i for i, n in enumerate(names) if self._holds(n, iou_type)]
        first = good[-1] if good else 0
        wanted = [first, first + 1, len(names) - 1, *range(len(names) - 1, -1, -1)]
        chosen = list(dict.fromkeys(i for i in wanted if i < len(names)))[:MOST_FOCUS]
        return tuple(names[i] for i in sorted(chosen))

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str], Values]:
        found = self.raw.get("comparisons")
        return {
            (str(item.get("model")), str(item.get("iou_type"))): item
            for item in (found if isinstance(found, list) else [])
            if isinstance(item, Mapping)
        }

    def _holds(self, model: str, iou_type: str) -> bool:
        return self.comparison(model, iou_type).get("verdict") in NOT_LOSING

    @cached_property
    def _some_sparsity(self) -> bool:
        return any(not math.isnan(number(self.info(name).get("sparsity"))) for name in self.models)

    def _sparsity_or_zero(self, model: str) -> float:
        value = self.sparsity(model)
        return 0.0 if math.isnan(value) else value


def read_analysis(source: Mapping[str, Any] | Path | str) -> Analysis:
    """Return an analysis from its JSON value or from a file.

    Raises:
        InputError: the file is missing or no JSON, or it is no analysis of schema version 1.
    """
    if isinstance(source, Mapping):
        return _checked(source, "the analysis")
    path = Path(source)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"The analysis {path} cannot be read ({error.strerror or error})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The analysis {path} is not valid JSON ({error}); run the analysis again."
        ) from error
    return _checked(value, str(path))


def count_of(values: Values, key: str) -> int | None:
    """Return the whole number ``values[key]``; ``None`` where it is missing."""
    value = number(values.get(key))
    return None if math.isnan(value) else int(value)


def truth_of(value: Any) -> bool | None:
    """Return a truth value; ``None`` for everything else."""
    return value if isinstance(value, bool) else None


def task_name(iou_type: str) -> str:
    """Return the name of an IoU type for people: ``segm`` -> ``Mask``."""
    return TASK_TITLES.get(iou_type, iou_type)


def points(value: float) -> float:
    """Return an AP of 0-1 in points of 0-100."""
    return 100.0 * value


def seeds_of(scores: Values) -> Sequence[Values]:
    """Return the numbers of each seed of a model."""
    found = scores.get("seeds")
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _checked(value: Any, where: str) -> Analysis:
    version = value.get("schema_version") if isinstance(value, Mapping) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{where} is no analysis of schema version {SCHEMA_VERSION} (it says {version!r}); run the analysis again."
        )
    lists = ("model_order", "iou_types")
    if not all(isinstance(value.get(key), list) and value[key] for key in lists):
        raise InputError(f"{where} names no models or no IoU types; run the analysis again.")
    return Analysis(value)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _axis(name: str, value: Any) -> Axis:
    bins = [item for item in part(value).get("bins") or [] if isinstance(item, Mapping)]
    return Axis(
        name=name.removeprefix("by_"),
        title=_lower_first(str(part(value).get("title") or name)),
        bins=tuple(str(item.get("name")) for item in bins),
        parts=tuple(str(item) for item in part(value).get("parts") or ()),
        rule=str(part(value).get("rule") or ""),
        source=str(part(value).get("source") or ""),
        definitions={str(item.get("name")): str(item.get("definition") or "") for item in bins},
    )
