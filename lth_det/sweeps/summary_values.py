"""The values of a sweep by source, target, prune rate, metric and seed; and what a cells file must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lth_det.errors import RunError

DENSE: Final = "dense"
"""Name of the source that stands for the unpruned model; its cells have prune rate 0."""

_LISTS: Final = ("targets", "sources", "cells", "metrics")


@dataclass(frozen=True)
class Key:
    """What one row of a summary is about; the prune rate is rounded, so that 0.8 from two files is one value."""

    source: str
    target: str
    prune_rate: float
    metric: str


@dataclass
class Values:
    """Finite metric values by key and seed.

    Attributes:
        by_key: key -> seed -> value, on the scale of the metric (AP: 0-100).
        sparsity: (source, target, prune rate) -> sparsities (0-1) of its cells.
        lacking: cells without a finite value of a metric: {source, target, prune_rate, seed, metric}.
    """

    by_key: dict[Key, dict[int, float]] = field(default_factory=dict)
    sparsity: dict[tuple[str, str, float], list[float]] = field(default_factory=dict)
    lacking: list[dict[str, Any]] = field(default_factory=list)

    def of(self, key: Key) -> dict[int, float]:
        """Return seed -> value of ``key``; empty when there is none."""
        return self.by_key.get(key, {})

    def dense_of(self, key: Key) -> dict[int, float]:
        """Return seed -> value of the dense model of the target of ``key``."""
        return self.of(Key(DENSE, key.target, 0.0, key.metric))

    def rates_of(self, source: str, target: str) -> list[float]:
        """Return the prune rates at which ``source`` has cells of ``target``, ascending."""
        return sorted(
            {rate for name, task, rate in self.sparsity if (name, task) == (source, target)}
        )


def rate_key(value: Any) -> float:
    """Return a prune rate as it is compared: rounded to nine digits."""
    return round(float(value), 9)


def metric_names(cells: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return the metrics to summarise for ``target``: its own first, then the others of the sweep."""
    own = target.get("metric") or cells.get("metric")
    return list(dict.fromkeys([*([str(own)] if own else []), *map(str, cells["metrics"])]))


def read_values(cells: Mapping[str, Any]) -> Values:
    """Return the values in ``cells`` (the content of ``cells.json``), which is left as it is.

    A metric that is missing, null or not finite leaves its seed out of that metric and is listed in ``lacking``, unless
    no cell of the target has it: a detector of boxes has no keypoint AP, which is no gap.

    Raises:
        RunError: a part is missing, a cell names an unknown source or target, or two cells are of one seed.
    """
    _check(cells)
    values = Values()
    seen: set[tuple[str, str, float, int]] = set()
    for cell in cells["cells"]:
        place = (cell["source"], cell["target"], rate_key(cell["prune_rate"]), int(cell["seed"]))
        if place in seen:
            raise RunError(
                f"cells.json has two cells of source {place[0]}, target {place[1]}, prune rate {place[2]:g}, "
                f"seed {place[3]}; remove one of them."
            )
        seen.add(place)
        sparsity = values.sparsity.setdefault(place[:3], [])
        if _finite(cell.get("sparsity")):
            sparsity.append(float(cell["sparsity"]))
        for name, value in (cell.get("metrics") or {}).items():
            if _finite(value):
                key = Key(*place[:3], str(name))
                values.by_key.setdefault(key, {})[place[3]] = float(value)
    _note_lacking(values, cells, seen)
    return values


def _note_lacking(
    values: Values, cells: Mapping[str, Any], seen: set[tuple[str, str, float, int]]
) -> None:
    for target in cells["targets"]:
        for metric in metric_names(cells, target):
            known = any(
                key.target == target["name"] and key.metric == metric for key in values.by_key
            )
            own = metric == (target.get("metric") or cells.get("metric"))
            for source, task, rate, seed in sorted(seen):
                if task != target["name"] or not (known or own):
                    continue
                if seed not in values.of(Key(source, task, rate, metric)):
                    place = {"source": source, "target": task, "prune_rate": rate, "seed": seed}
                    values.lacking.append({**place, "metric": metric})


def _check(cells: Mapping[str, Any]) -> None:
    if not isinstance(cells, Mapping):
        raise RunError("cells.json holds no JSON object; run the sweep again to write it.")
    for name in _LISTS:
        if not isinstance(cells.get(name), Sequence) or isinstance(cells.get(name), str):
            raise RunError(f'cells.json has no list "{name}"; run the sweep again to write it.')
    names = {part: _names(cells[part], part) for part in ("sources", "targets")}
    names["sources"].add(DENSE)
    for target in cells["targets"]:
        if not (target.get("metric") or cells.get("metric")):
            raise RunError(f"Target {target['name']} in cells.json has no metric; give it one.")
    for number, cell in enumerate(cells["cells"]):
        if not isinstance(cell, Mapping) or not {"source", "target", "prune_rate", "seed"} <= set(
            cell
        ):
            raise RunError(
                f"Cell {number} of cells.json lacks one of source, target, prune_rate, seed; run the sweep again to "
                "write it."
            )
        for part in ("source", "target"):
            if not isinstance(cell[part], str) or cell[part] not in names[f"{part}s"]:
                raise RunError(
                    f'Cell {number} of cells.json names {part} {cell[part]!r}, which is not in "{part}s"; add it there '
                    "or run the sweep again."
                )
        _check_numbers(cell, number)


def _check_numbers(cell: Mapping[str, Any], number: int) -> None:
    rate, seed, metrics = cell["prune_rate"], cell["seed"], cell.get("metrics")
    if not _finite(rate) or not 0.0 <= rate <= 1.0:
        raise RunError(
            f"Cell {number} of cells.json has prune_rate {rate!r}, which must be in 0 to 1."
        )
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise RunError(
            f"Cell {number} of cells.json has seed {seed!r}, which must be a whole number."
        )
    if metrics is not None and not isinstance(metrics, Mapping):
        raise RunError(
            f"Cell {number} of cells.json has no object of metrics; run the sweep again."
        )
    if cell["source"] == DENSE and rate != 0:
        raise RunError(
            f"Cell {number} of cells.json is dense but has prune_rate {rate:g}; it must be 0."
        )


def _names(entries: Sequence[Any], part: str) -> set[Any]:
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise RunError(f'An entry of "{part}" in cells.json has no name; run the sweep again.')
    return {entry["name"] for entry in entries}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
