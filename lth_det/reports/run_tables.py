"""The tables of a run: rounds, module groups, layers, classes."""

from __future__ import annotations

import math

from lth_det.reports.run_attributes import class_names
from lth_det.reports.run_data import RoundResult, RunResults
from lth_det.reports.run_scores import score_of, task_title
from lth_det.reports.tables import Cell, Column, Table, make_table

CLASS_PREFIX = "AP-"


def rounds_table(results: RunResults, task: str) -> Table:
    """Return one row per model (dense, tickets, controls) with the metrics of ``task`` (0-100) and the change to dense.

    A metric that no model has is left out (keypoints have no small objects).
    """
    models = (*results.rounds, *results.controls)
    score = score_of(task)
    shown = [
        (heading, metric)
        for heading, metric in score.columns
        if any(not math.isnan(model.metric(metric)) for model in models)
    ]
    columns = [
        Column("model", "model"),
        Column("round", "round", "d"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("sparsity", "sparsity", ".1%"),
        *(Column(metric.rpartition("/")[2], heading, ".1f") for heading, metric in shown),
        Column(f"{score.unit}_change", f"{score.unit} change", "+.1f"),
    ]
    dense = math.nan if results.dense is None else results.dense.metric(score.metric)
    rows: list[list[Cell]] = [
        [
            _kind(model),
            model.round,
            model.prune_rate,
            model.sparsity,
            *(model.metric(metric) for _, metric in shown),
            math.nan if model.round == 0 else model.metric(score.metric) - dense,
        ]
        for model in models
    ]
    return make_table(columns, rows)


def all_rounds_table(results: RunResults) -> Table:
    """Return the metrics of all tasks in long form: one row per model, task and metric, 0-100 scale."""
    columns = (
        Column("model", "model"),
        Column("round", "round", "d"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("sparsity", "sparsity", ".1%"),
        Column("metric", "metric"),
        Column("value", "value", ".2f"),
    )
    rows = [
        (_kind(model), model.round, model.prune_rate, model.sparsity, name, value)
        for model in (*results.rounds, *results.controls)
        for name, value in model.metrics.items()
    ]
    return make_table(columns, rows)


def groups_table(results: RunResults) -> Table:
    """Return one row per model and module group: counts, sparsity, prune rate."""
    columns = (
        Column("model", "model"),
        Column("group", "module group"),
        Column("total_parameters", "parameters", ",d"),
        Column("prunable_parameters", "prunable", ",d"),
        Column("pruned_parameters", "pruned", ",d"),
        Column("sparsity", "sparsity", ".1%"),
        Column("prune_rate", "prune rate", ".1%"),
    )
    rows = [
        (model.title, name, *(_number(counts.get(column.key)) for column in columns[2:]))
        for model in (*results.rounds, *results.controls)
        for name, counts in model.groups.items()
    ]
    return make_table(columns, rows)


def layers_table(results: RunResults) -> Table:
    """Return one row per model and layer: group, counts, sparsity of the layer."""
    columns = (
        Column("model", "model"),
        Column("layer", "layer"),
        Column("group", "module group"),
        Column("total_parameters", "parameters", ",d"),
        Column("pruned_parameters", "pruned", ",d"),
        Column("prunable", "prunable"),
        Column("sparsity", "sparsity", ".1%"),
    )
    rows = [
        (
            model.title,
            layer.name,
            layer.group,
            layer.total_parameters,
            layer.pruned_parameters,
            layer.prunable,
            layer.sparsity,
        )
        for model in (*results.rounds, *results.controls)
        for layer in model.layers
    ]
    return make_table(columns, rows)


def class_changes(
    results: RunResults, ticket: RoundResult
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return task -> class -> (AP of dense, change of ``ticket``), 0-100 scale, for classes where both have an AP."""
    if results.dense is None:
        return {}
    known = class_names(results)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, before in results.dense.metrics.items():
        task, _, metric = name.partition("/")
        after, label = ticket.metric(name), metric.removeprefix(CLASS_PREFIX)
        named = label != metric and (not known or label in known)
        if named and not math.isnan(before - after):
            found.setdefault(task, {})[label] = (before, after - before)
    return {task: found[task] for task in results.tasks if task in found}


def classes_table(results: RunResults) -> Table:
    """Return one row per ticket, task and class: AP of dense, AP of the ticket, change (0-100 scale)."""
    columns = (
        Column("model", "model"),
        Column("sparsity", "sparsity", ".1%"),
        Column("task", "task"),
        Column("class", "class"),
        Column("dense_AP", "AP of dense", ".1f"),
        Column("AP", "AP", ".1f"),
        Column("AP_change", "AP change", "+.1f"),
    )
    rows = [
        (ticket.title, ticket.sparsity, task_title(task), name, before, before + change, change)
        for ticket in results.tickets
        for task, classes in class_changes(results, ticket).items()
        for name, (before, change) in classes.items()
    ]
    return make_table(columns, rows)


def timings_table(results: RunResults) -> Table:
    """Return the recorded training and evaluation seconds of every round."""
    columns = (
        Column("round", "round", "d"),
        Column("train_seconds", "training (s)", ",.0f"),
        Column("eval_seconds", "evaluation (s)", ",.0f"),
    )
    recorded = results.timings.get("rounds")
    rows = [
        tuple(_number(entry.get(column.key)) for column in columns)
        for entry in (recorded if isinstance(recorded, list) else [])
        if isinstance(entry, dict)
    ]
    return make_table(columns, rows)


def _kind(model: RoundResult) -> str:
    if model.control:
        return f"control: {model.control}"
    return "dense" if model.round == 0 else "ticket"


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
