"""From the ``results.json`` of finished runs to ``cells.json``, with a reason for every cell that is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth_det.sweeps.job import read_small
from lth_det.sweeps.model import Cell, Run, Sweep
from lth_det.sweeps.state import BLOCKED, FAILED, FINISHED, RUNNING, SweepState

FORMAT_VERSION = 1
_GROUP_KEYS = (
    "sparsity", "prune_rate", "total_parameters", "prunable_parameters", "pruned_parameters",
)  # fmt: skip


def collect(sweep: Sweep, state: SweepState, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of ``cells.json``.

    A cell is taken when its run is finished, or when its stage is in the ``results.json`` of a run that still works.

    Args:
        sweep: the expanded plan.
        state: what is known about the runs.
        versions: of the installed packages.
    """
    runs = {run.name: run for run in sweep.runs}
    results = {name: _results(run, state) for name, run in runs.items()}
    cells, missing = [], []
    for cell in sweep.cells:
        row = _row(cell, results[cell.run])
        if row is None:
            missing.append({**_place(cell), "reason": _reason(runs[cell.run], state, results)})
        else:
            cells.append(_cell(cell, runs[cell.run], row))
    return {
        "format_version": FORMAT_VERSION,
        "name": sweep.name,
        "kind": sweep.kind,
        "plan_sha256": sweep.plan_sha256,
        **_with_shares(dict(sweep.facts), cells),
        "cells": cells,
        "missing": missing,
        "complete": not missing and bool(cells),
        "commands": {run.name: [list(command) for command in run.commands] for run in sweep.runs},
        "versions": dict(versions),
    }


def _results(run: Run, state: SweepState) -> dict[str, Any] | None:
    """Return the results of a run, unless they came from other commands than the plan's."""
    record = state.records.get(run.name)
    if record is None or record.get("sha256") != run.sha256:
        return None
    return read_small(Path(run.folder) / "results.json")


def _row(cell: Cell, results: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if results is None:
        return None
    rows: Sequence[dict[str, Any]] = results.get(
        "rounds" if cell.control is None else "controls", []
    )
    for row in rows:
        if cell.round is not None and row.get("round") != cell.round:
            continue
        if cell.control is None or row.get("name") == cell.control:
            return row
    return None


def _place(cell: Cell) -> dict[str, Any]:
    return {
        "source": cell.source,
        "target": cell.target,
        "prune_rate": cell.prune_rate,
        "seed": cell.seed,
    }


def _cell(cell: Cell, run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    ticket = row.get("ticket")
    return {
        **_place(cell),
        "metrics": dict(row.get("metrics", {})),
        "sparsity": row.get("sparsity"),
        "prune_rate_achieved": row.get("prune_rate"),
        "groups": {
            group: {key: values.get(key) for key in _GROUP_KEYS}
            for group, values in row.get("groups", {}).items()
        },
        "total_parameters": row.get("total_parameters"),
        "ticket": None if ticket is None else f"runs/{run.name}/{ticket}",
        "ticket_sha256": row.get("ticket_sha256"),
        "run": f"runs/{run.name}",
        "stage": row.get("stage"),
    }


def _reason(run: Run, state: SweepState, results: Mapping[str, Mapping[str, Any] | None]) -> str:
    record = state.records.get(run.name, {})
    now = state.state_of(run)
    if now in (FAILED, BLOCKED):
        return f"{run.name} {now}: {record.get('reason', 'no reason is known')}"
    if now == FINISHED:
        return f"{run.name} is finished, but its results.json has no such stage"
    if now == RUNNING or results[run.name] is not None:
        return f"{run.name} is not finished"
    return f"{run.name} has not been run"


def _with_shares(facts: dict[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add to the sources of a module-wise sweep the share of all parameters that their groups' prunable weights are."""
    sources = []
    for source in facts.get("sources", []):
        pruned = source.get("groups_pruned")
        if pruned is not None:
            source = {**source, "parameter_share": _share(source["name"], pruned, cells)}
        sources.append(source)
    return {**facts, "sources": sources}


def _share(name: str, pruned: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> float | None:
    for cell in cells:
        total = cell.get("total_parameters")
        if cell["source"] == name and total:
            groups = cell["groups"]
            return float(
                sum(groups.get(group, {}).get("prunable_parameters") or 0 for group in pruned)
                / total
            )
    return None
