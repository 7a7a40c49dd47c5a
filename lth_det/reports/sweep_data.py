"""The matrix of a sweep (``matrix.json``) as the pages and figures read it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lth_det.errors import RunError
from lth_det.reports.run_scores import task_title

DENSE = "dense"
NO_CELL, NO_RESULT = "-", "no result"
"""In place of a value: the plan has no such cell; it has one, but no seed of it has a value yet."""


@dataclass(frozen=True)
class Target:
    """One model, data set and metric that tickets are used on; ``metric`` decides on its page."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True)
class Matrix:
    """A view of ``matrix.json``.

    Attributes:
        raw: the file's content.
        targets: in the order of the file.
        sources: names in the order of the file, without the dense model.
        labels: source -> name for people.
        controls: names of the sources that are controls.
        rows: (source, target, prune rate, metric) -> row of the summary.
        verdicts: by target, prune rate, metric and class of like network sparsity.
        gaps: (source, target, prune rate, metric) of cells of the plan that lack a value of at least one seed.
    """

    raw: Mapping[str, Any]
    targets: tuple[Target, ...]
    sources: tuple[str, ...]
    labels: Mapping[str, str]
    controls: frozenset[str]
    rows: Mapping[tuple[str, str, float, str], Mapping[str, Any]]
    verdicts: tuple[Mapping[str, Any], ...]
    gaps: frozenset[tuple[str, str, float, str]]

    def row(self, source: str, target: Target, rate: float) -> Mapping[str, Any] | None:
        """Return the row of ``source`` on ``target`` in the target's own metric, or ``None``."""
        return self.rows.get((source, target.name, rate, target.metric))

    def verdicts_of(self, target: Target) -> list[Mapping[str, Any]]:
        """Return the verdicts in the target's own metric, by ascending prune rate and sparsity."""
        own = [
            v for v in self.verdicts if (v["target"], v["metric"]) == (target.name, target.metric)
        ]
        return sorted(own, key=lambda v: (v["prune_rate"], v["sparsity"] or 0.0))

    def won(self, source: str, target: Target, rate: float) -> Mapping[str, Any] | None:
        """Return the verdict that ``source`` won against at least one other, or ``None``."""
        for entry in self.verdicts_of(target):
            if entry["prune_rate"] == rate and entry["winner"] == source and entry["runner_up"]:
                return entry
        return None

    def empty_word(self, source: str, target: Target, rate: float) -> str:
        """Return what stands where ``source`` has no row: :data:`NO_RESULT`, or :data:`NO_CELL` if none is planned."""
        planned = source == DENSE or (source, target.name, rate, target.metric) in self.gaps
        return NO_RESULT if planned else NO_CELL

    def dense(self, target: Target) -> Mapping[str, Any] | None:
        """Return the row of the dense model of ``target``, or ``None``."""
        return self.row(DENSE, target, 0.0)

    def rates(self) -> list[float]:
        """Return every prune rate above 0 that has a row, ascending."""
        return sorted({rate for _, _, rate, _ in self.rows if rate > 0})

    def series(self, source: str, target: Target) -> list[Mapping[str, Any]]:
        """Return the rows of ``source`` on ``target`` in the target's own metric, by ascending prune rate."""
        rows = [
            row
            for (name, task, _, metric), row in self.rows.items()
            if (name, task, metric) == (source, target.name, target.metric)
        ]
        return sorted(rows, key=lambda row: row["prune_rate"])

    def used_sources(self) -> list[str]:
        """Return the sources that have a row in the own metric of some target, tickets before controls."""
        used = [name for name in self.sources if any(self.series(name, t) for t in self.targets)]
        return sorted(used, key=lambda name: name in self.controls)

    def noise(self, target: Target) -> Mapping[str, Any]:
        """Return ``std``, ``df`` and ``cells`` of the pooled seed noise of ``target``; ``std`` is ``None`` if unknown."""
        found = self.raw.get("noise", {}).get(target.name, {}).get(target.metric)
        return found or {"std": None, "df": 0, "cells": 0}

    @property
    def is_modules(self) -> bool:
        """Whether the sweep prunes subsets of the module groups."""
        return self.raw.get("kind") == "modules"


def read_matrix(raw: Mapping[str, Any]) -> Matrix:
    """Return ``raw`` (what ``summarise`` gives) as a :class:`Matrix`.

    Raises:
        RunError: ``raw`` has no summary.
    """
    if not isinstance(raw.get("summary"), Sequence):
        raise RunError("The matrix has no summary; rebuild it with tools/report_comparison.py.")
    sources = [source for source in raw["sources"] if source["name"] != DENSE]
    return Matrix(
        raw=raw,
        targets=tuple(
            Target(
                str(target["name"]),
                str(target.get("label") or target["name"]),
                str(target.get("metric") or raw.get("metric")),
            )
            for target in raw["targets"]
        ),
        sources=tuple(str(source["name"]) for source in sources),
        labels={DENSE: DENSE, **{s["name"]: str(s.get("label") or s["name"]) for s in sources}},
        controls=frozenset(str(source["name"]) for source in sources if source.get("control")),
        rows={(r["source"], r["target"], r["prune_rate"], r["metric"]): r for r in raw["summary"]},
        verdicts=tuple(raw.get("verdicts", [])),
        gaps=_gaps(raw),
    )


def _gaps(raw: Mapping[str, Any]) -> frozenset[tuple[str, str, float, str]]:
    """Return the cells that have not been run, in their target's own metric, and those whose metric is no number."""
    own = {t["name"]: str(t.get("metric") or raw.get("metric")) for t in raw["targets"]}
    not_run = [
        {**one, "metric": own.get(one.get("target"), "")} for one in raw.get("missing") or ()
    ]
    return frozenset(
        # Rounded like the prune rates of the summary.
        (str(one.get("source")), str(one.get("target")), round(rate, 9), str(one["metric"]))
        for one in (*not_run, *(raw.get("not_computable") or ()))
        if isinstance(rate := one.get("prune_rate"), int | float)
    )


def metric_title(metric: str) -> str:
    """Return a metric for people: ``bbox/AP`` -> ``box AP``; a name without a task stays."""
    task, slash, name = metric.rpartition("/")
    return f"{task_title(task).lower()} {name}" if slash else metric


def percent(rate: float) -> str:
    """Return a rate in 0-1 as it is printed: ``0.8`` -> ``80 %``, ``0.985`` -> ``98.5 %``."""
    return f"{100 * rate:.4g} %"


def signed(value: float) -> str:
    """Return a difference with one digit and its sign; what rounds to zero has none.

    >>> signed(-0.04), signed(0.26)
    ('0.0', '+0.3')
    """
    shown = format(value, "+.1f")
    return "0.0" if shown in ("+0.0", "-0.0") else shown


def wrap(text: str, *, width: int = 28, lines: int = 2) -> str:
    """Return ``text`` broken for a label: at most ``lines`` lines of ``width`` characters, the rest as an ellipsis."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" \u2026")) or text
