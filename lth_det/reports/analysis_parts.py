"""The parts of an analysis report that are made once for each IoU type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_det.reports import (
    analysis_churn,
    analysis_classes,
    analysis_errors,
    analysis_lists,
    analysis_pr,
    analysis_strata,
    analysis_tables,
    html,
)
from lth_det.reports.analysis_data import MAIN_AXES, Analysis, part
from lth_det.reports.analysis_objects import lost_objects
from lth_det.reports.figure_files import add_figure
from lth_det.reports.html import Html
from lth_det.reports.plots import Drawing


@dataclass(frozen=True)
class Job:
    """What every part of the report works with: the analysis, the folder to write to, the folder of the images."""

    analysis: Analysis
    folder: Path
    image_root: Path | None


def figure(job: Job, drawing: Drawing, caption: str) -> Html:
    """Write a drawing to the folder as SVG and PNG and return it for the page."""
    return add_figure(job.folder, drawing, caption)


def attributes(job: Job, iou_type: str) -> Html:
    """Return AP by bin, over finer sizes, and crossed attributes, with their tables."""
    analysis = job.analysis
    plain = analysis.plain_axes(iou_type)
    main = [axis for axis in plain if axis.name in MAIN_AXES] or plain
    parts = []
    caption = "AP by bin with intervals; open symbols: few objects."
    bins = analysis_strata.by_bin(analysis, iou_type, main)
    if bins is not None:
        parts.append(figure(job, bins, caption))
    for axis in main:
        fine = analysis_strata.fine_sizes(analysis, iou_type, axis)
        if fine is not None:
            parts.append(figure(job, fine, "AP by finer bins."))
    caption = (
        "AP and its change; n: objects, K: classes. Hatched: few objects. Bold: the interval leaves out zero after "
        "correction. Bins without objects are left out."
    )
    maps = (
        analysis_strata.heatmap(analysis, iou_type, a) for a in analysis.axes(iou_type).values()
    )
    parts += [figure(job, drawing, caption) for drawing in maps if drawing is not None]
    for crosses, words in ((False, "Table of bins"), (True, "Table of crosses")):
        table = analysis_tables.bins_table(analysis, iou_type, crosses=crosses)
        if table.rows:
            parts.append(html.details(words, html.table(table)))
    return html.join(parts)


def classes(job: Job, iou_type: str) -> Html:
    """Return the change per class for the models in focus, with the sign test and the table."""
    analysis = job.analysis
    parts: list[Html] = []
    for model in analysis.focus(iou_type):
        drawing = analysis_classes.bars(analysis, model, iou_type)
        if drawing is not None:
            caption = (
                f"Change of AP per class, {analysis.title(model)}, with intervals. Solid: significant after correction "
                "over classes; pale: not, or few objects (hatched). Whiskers may run off the axes."
            )
            test = part(analysis.comparison(model, iou_type), "sign_test")
            words = html.paragraph(_sign_test(test), css="quiet")
            body = html.join([figure(job, drawing, caption), words])
            parts.append(html.details(analysis.title(model), body) if parts else body)
    if not parts:
        parts.append(
            html.note("Changes by class need a reference, another model, and two classes.")
        )
    table = analysis_tables.classes_table(analysis, iou_type)
    return html.join([*parts, html.details("Table of classes", html.table(table))])


def _sign_test(test: Mapping[str, Any]) -> str:
    if not test:
        return ""
    return (
        f"Classes better: {test.get('better')}, worse: {test.get('worse')}, equal: {test.get('equal')}; sign test "
        f"p = {test.get('p') if test.get('p') is None else format(test['p'], '.3g')}. {test.get('note') or ''}"
    )


def errors(job: Job, iou_type: str) -> Html:
    """Return error types and sensitivity to attributes."""
    analysis = job.analysis
    parts = []
    types = analysis_errors.error_types(analysis, iou_type)
    if types is None:
        parts.append(html.note("The analysis holds no error types."))
    else:
        first = next(iter(analysis.models))
        definition = part(analysis.scores(first, iou_type), "errors").get("definition") or ""
        parts.append(
            figure(job, types, f"Error types, with intervals where computed. {definition}")
        )
    by_name = analysis_errors.keypoints_by_name(analysis, iou_type)
    if by_name is not None:
        parts.append(figure(job, by_name, "Share of good keypoints, by keypoint."))
    ranges = analysis_errors.sensitivity(analysis, iou_type)
    if ranges is not None:
        caption = "How much each attribute matters: normalised AP of its hardest and easiest bin (Hoiem et al. 2012)."
        parts.append(figure(job, ranges, caption))
    table = analysis_lists.errors_table(analysis, iou_type)
    if table.rows:
        parts.append(html.details("Table of errors by bin", html.table(table)))
    return html.join(parts)


def precision(job: Job, iou_type: str) -> Html:
    """Return precision-recall curves, over all classes and inside bins."""
    drawing = analysis_pr.precision_recall(job.analysis, iou_type)
    if drawing is None:
        return html.note("The analysis holds no precision-recall curves.")
    parts = [
        figure(job, drawing, "Precision against recall over all classes, and AP by threshold.")
    ]
    strata = analysis_pr.strata_curves(job.analysis, iou_type)
    if strata is not None:
        caption = "Precision, mean over the thresholds, against recall inside each bin."
        parts.append(html.details("By attribute", figure(job, strata, caption)))
    return html.join(parts)


def objects(job: Job, iou_type: str) -> Html:
    """Return what was gained and lost, by bin, and pictures of lost objects."""
    analysis = job.analysis
    table = analysis_lists.objects_table(analysis, iou_type)
    if not table.rows:
        return html.note("The analysis holds no list of lost objects.")
    parts = [html.table(analysis_lists.totals(table))]
    drawing = analysis_churn.churn(analysis, iou_type)
    if drawing is not None:
        caption = (
            f"Share of the objects of each bin that only {analysis.reference} found (lost, down) and that only the model "
            "found (gained, up), at IoU 0.5 above each class's score cut."
        )
        parts.append(figure(job, drawing, caption))
    for place, model in enumerate(analysis.focus(iou_type)):
        found = lost_objects(analysis, model, iou_type, root=job.image_root, folder=job.folder)
        words = f"Objects that {analysis.title(model)} lost"
        first = place == 0 and iou_type == analysis.iou_types[0]
        parts.append(html.details(words, found, unfolded=first))
    parts.append(html.details("Table of objects by bin", html.table(table)))
    return html.join(parts)
