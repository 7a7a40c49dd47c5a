"""Precision against recall, and AP against the IoU threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_det.reports.analysis_data import Analysis, number, part, points, task_name
from lth_det.reports.analysis_strata import shown_models, styles_of
from lth_det.reports.plots import Drawing, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"50": "IoU 0.5", "75": "IoU 0.75", "mean": "mean of the thresholds"}
COLUMNS = 3


def precision_recall(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw precision against recall at 0.5, 0.75 and the mean, and AP by IoU threshold; ``None`` without curves."""
    models = _with_curves(analysis, iou_type)
    if not models:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 1 + len(KINDS))
        for axes, (kind, title) in zip(panels, KINDS.items(), strict=False):
            _curves(axes, analysis, iou_type, models=models, stratum="all", kind=kind)
            axes.set_title(f"{task_name(iou_type)}, {title}")
        panels[0].set_ylabel("precision (%)")
        _by_threshold(panels[-1], analysis, iou_type, models=models)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return render(f"{iou_type}_precision_recall", draw, width=11.0, height=3.7)


def strata_curves(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw mean precision against recall inside every stratum of the analysis; ``None`` when it has none."""
    models = _with_curves(analysis, iou_type)
    known = part(analysis.scores(models[0], iou_type), "curves", "precision") if models else {}
    strata = [
        f"{axis.name}/{name}"
        for axis in analysis.plain_axes(iou_type)
        for name in axis.bins
        if f"{axis.name}/{name}" in known
    ]
    if not strata:
        return None
    rows = math.ceil(len(strata) / COLUMNS)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place >= len(strata):
                axes.set_visible(False)
                continue
            _curves(axes, analysis, iou_type, models=models, stratum=strata[place], kind="mean")
            axes.set_title(strata[place].replace("/", ": "))
        for row in grid:
            row[0].set_ylabel("precision (%)")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return render(f"{iou_type}_precision_recall_strata", draw, width=10.8, height=0.7 + 2.7 * rows)


def _with_curves(analysis: Analysis, iou_type: str) -> list[str]:
    return [
        name
        for name in shown_models(analysis, iou_type)
        if part(analysis.scores(name, iou_type), "curves", "precision")
    ]


def _curves(
    axes: Axes, analysis: Analysis, iou_type: str, *, models: Sequence[str], stratum: str, kind: str
) -> None:
    for model, style in styles_of(analysis, models).items():
        curves = part(analysis.scores(model, iou_type), "curves")
        recall = curves.get("recall") or []
        precision = part(curves, "precision", stratum).get(kind) or []
        if len(recall) != len(precision):
            continue
        axes.plot(
            [100 * number(value) for value in recall],
            [100 * number(value) for value in precision],
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markevery=(10, 20),
            markersize=4.5,
            label=analysis.title(model),
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall (%)")


def _by_threshold(axes: Axes, analysis: Analysis, iou_type: str, *, models: Sequence[str]) -> None:
    thresholds = part(analysis.raw, "parameters").get("iou_thresholds") or []
    for model, style in styles_of(analysis, models).items():
        values = analysis.scores(model, iou_type).get("ap_by_threshold") or []
        if len(values) == len(thresholds):
            axes.plot(
                [number(value) for value in thresholds],
                [points(number(value)) for value in values],
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                markersize=4.5,
            )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("OKS threshold" if iou_type == "keypoints" else "IoU threshold")
    axes.set_title("AP (0-100) by threshold")
