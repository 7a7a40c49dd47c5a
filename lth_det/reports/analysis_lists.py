"""Tables of an analysis about objects: found and lost by bin, the lost ones, error types by bin."""

from __future__ import annotations

from lth_det.reports.analysis_data import Analysis, count_of, number, part, points
from lth_det.reports.analysis_objects import bins_of
from lth_det.reports.tables import Cell, Column, Table, make_table

NO_BIN = "all"


def objects_table(analysis: Analysis, iou_type: str) -> Table:
    """Return, per model and in all and per bin, how many objects both, only one, and neither model found."""
    kinds = ("both", "lost", "gained", "neither")
    columns = (
        Column("model", "model"),
        Column("axis", "attribute"),
        Column("bin", "bin"),
        Column("both", "found by both", ",d"),
        Column("lost", "lost", ",d"),
        Column("gained", "gained", ",d"),
        Column("neither", "found by neither", ",d"),
        Column("p", "p (McNemar)", ".2g"),
    )
    rows: list[list[Cell]] = []
    for model in analysis.others:
        found = part(analysis.comparison(model, iou_type), "objects")
        if not found:
            continue
        rows.append(
            [model, NO_BIN, NO_BIN, *(count_of(found, k) for k in kinds), number(found.get("p"))]
        )
        for axis, bins in part(found, "by").items():
            rows += [
                [model, axis.removeprefix("by_"), name, *(count_of(counts, k) for k in kinds), None]
                for name, counts in part(bins).items()
            ]
    return make_table(columns, rows)


def totals(table: Table) -> Table:
    """Return the rows of ``objects_table`` that count all objects, without the columns of attribute and bin."""
    return Table(
        (table.columns[0], *table.columns[3:]),
        tuple((row[0], *row[3:]) for row in table.rows if row[1] == NO_BIN),
    )


def lost_table(analysis: Analysis, iou_type: str) -> Table:
    """Return the listed objects that each model lost."""
    columns = (
        Column("model", "model"),
        Column("file_name", "image"),
        Column("image_id", "image id", "d"),
        Column("annotation_id", "object id", "d"),
        Column("category", "class"),
        Column("area", "area (px)", ",.0f"),
        Column("reference_score", "score of the reference", ".2f"),
        Column("best_score", "best score", ".2f"),
        Column("best_iou", "best IoU", ".2f"),
        Column("best_category", "best class"),
        Column("bins", "bins"),
    )
    rows = []
    for model in analysis.others:
        listed = analysis.comparison(model, iou_type).get("lost_objects")
        for item in listed if isinstance(listed, list) else []:
            best = part(item.get("model_best"))
            rows.append(
                (
                    model,
                    str(item.get("file_name")),
                    count_of(item, "image_id"),
                    count_of(item, "annotation_id"),
                    str(item.get("category")),
                    number(item.get("area")),
                    number(item.get("reference_score")),
                    number(best.get("score")),
                    number(best.get("iou")),
                    str(best.get("category") or "none"),
                    bins_of(item),
                )
            )
    return make_table(columns, rows)


def errors_table(analysis: Analysis, iou_type: str) -> Table:
    """Return, per model, bin and error type, the count and what it costs: AP50 points (TIDE) or the share (keypoints)."""
    columns = (
        Column("model", "model"),
        Column("axis", "attribute"),
        Column("bin", "bin"),
        Column("type", "error type"),
        Column("count", "count", ",d"),
        Column("dAP50", "dAP50 (points)", ".2f"),
        Column("share", "share", ".1%"),
    )
    rows: list[list[Cell]] = []
    for model in analysis.models:
        errors = part(analysis.scores(model, iou_type), "errors")
        for kind, values in (*part(errors, "types").items(), *part(errors, "special").items()):
            rows.append([model, NO_BIN, NO_BIN, kind, *_error_cells(values)])
        for axis in analysis.plain_axes(iou_type):
            bins = part(errors, axis.key)
            rows += [
                [model, axis.name, name, kind, *_error_cells(values)]
                for name in axis.bins
                for kind, values in part(bins, name).items()
            ]
    return make_table(columns, rows)


def _error_cells(values: object) -> list[Cell]:
    found = part(values)
    return [count_of(found, "count"), points(number(found.get("dAP"))), number(found.get("share"))]
