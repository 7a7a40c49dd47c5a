"""Tables of an analysis: verdicts, attribute bins, classes, errors, objects, and everything in long form."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lth_det.reports.analysis_data import (
    MAIN_AXES,
    Analysis,
    Axis,
    Values,
    count_of,
    interval,
    number,
    part,
    points,
    seeds_of,
    task_name,
    truth_of,
)
from lth_det.reports.tables import Cell, Column, Table, make_table

SIGNS = {
    "winning": "\u25b2 winning",
    "inconclusive": "\u25c6 inconclusive",
    "losing": "\u25bc losing",
}
NO_BIN = "all"
MEAN = "mean"
BIN_METRICS = ("AP", "AP50", "AP75", "AR", "APn")

LONG_COLUMNS = (
    *(Column(key, key) for key in ("model", "sparsity", "seed", "task", "axis", "bin", "metric")),
    *(Column(key, key) for key in ("value", "lo", "hi", "n", "K")),
)


def verdict_table(analysis: Analysis, iou_type: str) -> Table:
    """Return one row per model: AP (0-100), change to the reference with interval, verdict, AP by size and class bins."""
    axes = analysis.axes(iou_type)
    strata = [
        (axes[name], bin_name)
        for name in MAIN_AXES
        if name in axes
        for bin_name in axes[name].main_bins
    ]
    level = number(part(analysis.raw, "statistics").get("level"))
    percent = "interval" if math.isnan(level) else f"{100 * level:g} % interval"
    columns = [
        Column("model", "model"),
        Column("sparsity", "sparsity", ".1%"),
        Column("seeds", "seeds", "d"),
        *(Column(name, name, ".1f") for name in ("AP", "AP50", "AP75")),
        Column("change", "change", "+.2f"),
        Column("interval", percent),
        Column("p_better", "P(> 0)", ".3f"),
        Column("verdict", "verdict"),
        *(Column(f"{axis.name}:{name}", f"{axis.name}: {name}", ".1f") for axis, name in strata),
    ]
    names = ([analysis.reference] if analysis.reference else []) + [
        *analysis.compared,
        *analysis.controls,
    ]
    rows = [_verdict_row(analysis, str(name), iou_type, strata) for name in names]
    return make_table(columns, rows)


def bins_table(analysis: Analysis, iou_type: str, *, crosses: bool) -> Table:
    """Return one row per model and bin of every axis (or every cross): AP, AR, change, interval, counts."""
    columns = (
        Column("model", "model"),
        Column("axis", "attribute"),
        Column("bin", "bin"),
        *(Column(name, name, ".1f") for name in BIN_METRICS),
        Column("AP_lo", "AP low", ".1f"),
        Column("AP_hi", "AP high", ".1f"),
        Column("change", "change", "+.2f"),
        Column("change_lo", "change low", "+.2f"),
        Column("change_hi", "change high", "+.2f"),
        Column("significant", "significant"),
        Column("objects", "n", ",d"),
        Column("classes", "K", ",d"),
        Column("thin", "few objects"),
    )
    rows = [
        [model, axis.name, name, *_bin_cells(analysis, model, iou_type, axis, name)]
        for axis in analysis.axes(iou_type).values()
        if bool(axis.parts) == crosses and axis.name != "category"
        for model in analysis.models
        for name in axis.bins
    ]
    return make_table(columns, rows)


def classes_table(analysis: Analysis, iou_type: str) -> Table:
    """Return one row per model and class: counts, bins, AP, change with interval, q, relative change."""
    columns = (
        Column("model", "model"),
        Column("class", "class"),
        Column("objects", "objects", ",d"),
        Column("train_images", "training images", ",d"),
        Column("frequency", "frequency"),
        Column("difficulty", "difficulty"),
        Column("AP", "AP", ".1f"),
        Column("change", "change", "+.2f"),
        Column("change_lo", "low", "+.2f"),
        Column("change_hi", "high", "+.2f"),
        Column("q", "q", ".3f"),
        Column("significant", "significant"),
        Column("relative", "relative", "+.1%"),
    )
    rows = []
    for model in analysis.models:
        deltas = part(analysis.comparison(model, iou_type), "by_category")
        for name, facts in part(analysis.scores(model, iou_type), "by_category").items():
            delta = part(deltas, name)
            low, high = interval(delta.get("interval"))
            rows.append(
                (
                    model,
                    name,
                    count_of(facts, "objects"),
                    count_of(facts, "train_images"),
                    str(facts.get("frequency") or "none"),
                    str(facts.get("difficulty") or "none"),
                    points(number(facts.get("AP"))),
                    points(number(delta.get("delta"))),
                    points(low),
                    points(high),
                    number(delta.get("q")),
                    truth_of(delta.get("significant")),
                    number(delta.get("relative")),
                )
            )
    return make_table(columns, rows)


def long_table(analysis: Analysis) -> Table:
    """Return every number in long form: one row per model, seed, task, axis, bin and metric; AP and AR as 0-1."""
    rows = [
        row
        for model in analysis.models
        for iou_type in analysis.iou_types
        for row in _long_rows(analysis, model, iou_type)
    ]
    return make_table(LONG_COLUMNS, rows)


def _verdict_row(
    analysis: Analysis, model: str, iou_type: str, strata: list[tuple[Axis, str]]
) -> list[Cell]:
    scores = analysis.scores(model, iou_type)
    comparison = analysis.comparison(model, iou_type)
    delta = part(comparison, "metrics", "AP")
    low, high = interval(delta.get("interval"))
    shown = None if math.isnan(low) else f"{points(low):+.2f} to {points(high):+.2f}"
    verdict = str(comparison.get("verdict") or "")
    return [
        model,
        analysis.sparsity(model),
        count_of(analysis.info(model), "seeds"),
        *(points(number(scores.get(name))) for name in ("AP", "AP50", "AP75")),
        points(number(delta.get("delta"))),
        shown,
        number(delta.get("p_better")),
        SIGNS.get(verdict, "reference" if model == analysis.reference else None),
        *(points(number(part(scores, axis.key, name).get("AP"))) for axis, name in strata),
    ]


def _bin_cells(analysis: Analysis, model: str, iou_type: str, axis: Axis, name: str) -> list[Cell]:
    cell = part(analysis.scores(model, iou_type), axis.key, name)
    delta = part(analysis.comparison(model, iou_type), axis.key, name)
    return [
        *(points(number(cell.get(key))) for key in ("AP", "AP50", "AP75", "AR", "APn")),
        *(points(bound) for bound in interval(cell.get("interval"))),
        points(number(delta.get("delta"))),
        *(points(bound) for bound in interval(delta.get("interval"))),
        truth_of(delta.get("significant")),
        count_of(cell, "objects"),
        count_of(cell, "classes"),
        truth_of(cell.get("thin")),
    ]


def _long_rows(analysis: Analysis, model: str, iou_type: str) -> Iterator[list[Cell]]:
    scores, comparison = analysis.scores(model, iou_type), analysis.comparison(model, iou_type)
    start: list[Cell] = [model, analysis.sparsity(model), MEAN, iou_type]
    everything = (NO_BIN, NO_BIN)
    for metric, value in scores.items():
        if metric.startswith(("AP", "AR")) and not math.isnan(number(value)):
            bounds = part(scores, "intervals").get(metric)
            yield [*start, *everything, metric, *_number_and_counts(value, bounds, scores)]
    for seed, values in enumerate(seeds_of(scores)):
        for metric, value in values.items():
            place = [*start[:2], str(seed), iou_type, *everything]
            yield [*place, metric, *_number_and_counts(value, None, scores)]
    for metric, delta in part(comparison, "metrics").items():
        change = _number_and_counts(delta.get("delta"), delta.get("interval"), scores)
        yield [*start, *everything, f"{metric}_change", *change]
    for key, axis in _axis_keys(analysis, iou_type).items():
        for name, cell in part(scores, key).items():
            for metric in BIN_METRICS:
                bounds = cell.get("interval") if metric == "AP" else None
                yield [
                    *start,
                    axis,
                    name,
                    metric,
                    *_number_and_counts(cell.get(metric), bounds, cell),
                ]
        for name, delta in part(comparison, key).items():
            change = _number_and_counts(delta.get("delta"), delta.get("interval"), delta)
            yield [*start, axis, name, "AP_change", *change]


def _number_and_counts(value: object, bounds: object, counts: Values) -> list[Cell]:
    low, high = interval(bounds)
    return [number(value), low, high, count_of(counts, "objects"), count_of(counts, "classes")]


def _axis_keys(analysis: Analysis, iou_type: str) -> dict[str, str]:
    keys = {axis.key: axis.name for axis in analysis.axes(iou_type).values()}
    return keys | {"by_category": "category"}


def table_title(iou_type: str) -> str:
    """Return the heading of the tables of one IoU type: ``Box AP``."""
    return f"{task_name(iou_type)} AP"
