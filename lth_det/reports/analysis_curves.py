"""Figures of an analysis over models: verdicts, AP against sparsity, changes by attribute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_det.reports.analysis_data import (
    Analysis,
    Axis,
    Interval,
    Values,
    interval,
    number,
    part,
    points,
    task_name,
)
from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.style import BLUE, INK, MUTED, ORANGE, PALE, SERIES, SeriesStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
VERDICT_STYLES = {
    "winning": ("o", BLUE),
    "inconclusive": ("D", MUTED),
    "losing": ("s", SERIES[1].colour),
}


def verdicts(analysis: Analysis) -> Drawing | None:
    """Draw the change of AP to the reference with its interval for every model; ``None`` without comparisons."""
    names = [*analysis.compared, *analysis.controls]
    if not names or analysis.reference is None:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(analysis.iou_types), squeeze=False, sharey=True)[0]
        for axes, iou_type in zip(panels, analysis.iou_types, strict=True):
            _verdict_panel(axes, analysis, names, iou_type)
        panels[0].set_yticks(range(len(names)), [analysis.title(name) for name in names])
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        _verdict_legend(figure)

    width = max(7.2, 4.2 * len(analysis.iou_types))
    return render("verdicts", draw, width=width, height=1.7 + 0.3 * len(names))


def overall(analysis: Analysis) -> Drawing:
    """Draw AP (0-100) of all models with intervals, one panel per IoU type."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(analysis.iou_types), squeeze=False)[0]
        for axes, iou_type in zip(panels, analysis.iou_types, strict=True):
            _overall_panel(axes, analysis, iou_type)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    width = max(7.2, 4.6 * len(analysis.iou_types))
    return render("ap_overall", draw, width=width, height=4.1)


def changes(
    analysis: Analysis, iou_type: str, axes_shown: Sequence[Axis], *, name: str
) -> Drawing | None:
    """Draw the change of AP to the reference against sparsity, one panel per axis and one line per bin, with bands.

    ``None`` when there is nothing to compare.
    """
    models = analysis.compared
    if not models or not axes_shown or analysis.reference is None:
        return None
    rows = math.ceil(len(axes_shown) / COLUMNS)
    columns = min(COLUMNS, len(axes_shown))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place < len(axes_shown):
                _change_panel(axes, analysis, axes_shown[place], iou_type)
            else:
                axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel("AP change (points)")

    return render(name, draw, width=max(7.2, 3.9 * columns), height=4.2 * rows)


def place_models(analysis: Analysis, names: Sequence[str]) -> list[float]:
    """Return the places of models on the x axis: by sparsity where all have one, else 0, 1, 2 in order."""
    if analysis.has_sparsity:
        return [sparsity_position(analysis.sparsity(name)) for name in names]
    return [float(analysis.models.index(name)) for name in names]


def model_axis(axes: Axes, analysis: Analysis) -> None:
    """Make the x axis of ``axes`` one of sparsity, or of model names where a sparsity is missing."""
    if analysis.has_sparsity:
        sparsity_axis(axes, max(analysis.sparsity(name) for name in analysis.models))
    else:
        axes.set_xticks(range(len(analysis.models)), analysis.models, rotation=25, ha="right")
        axes.set_xlim(-0.6, len(analysis.models) - 0.4)


def draw_series(
    axes: Axes,
    places: Sequence[float],
    points_drawn: Sequence[tuple[float, Interval]],
    *,
    style: SeriesStyle,
    label: str,
    joined: bool,
) -> None:
    """Draw (value, interval) points with whiskers; ``joined`` by a line and a band where the places have an order."""
    values = [value for value, _ in points_drawn]
    low, high = ([band[end] for _, band in points_drawn] for end in (0, 1))
    line = style.line if joined else "none"
    axes.plot(places, values, color=style.colour, marker=style.marker, linestyle=line, label=label)
    if joined:
        axes.fill_between(places, low, high, color=style.colour, alpha=0.14, linewidth=0)
    axes.vlines(places, low, high, color=style.colour, linewidth=0.8 if joined else 1.6, alpha=0.8)


def _verdict_panel(axes: Axes, analysis: Analysis, names: Sequence[str], iou_type: str) -> None:
    axes.set_title(f"{task_name(iou_type)} AP, change to {analysis.reference}")
    margin = points(number(part(analysis.raw, "statistics").get("margin")))
    if not math.isnan(margin):
        axes.axvspan(-margin, 0, color=PALE, alpha=0.6, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.0)
    for place, name in enumerate(names):
        comparison = analysis.comparison(name, iou_type)
        delta = part(comparison, "metrics", "AP")
        low, high = interval(delta.get("interval"))
        marker, colour = VERDICT_STYLES.get(str(comparison.get("verdict")), ("x", MUTED))
        hollow = bool(analysis.control(name))
        axes.hlines(place, points(low), points(high), color=colour, linewidth=2)
        axes.plot(
            points(number(delta.get("delta"))),
            place,
            marker=marker,
            color=colour,
            markerfacecolor="white" if hollow else colour,
            markersize=8,
        )
    axes.set_xlabel("AP change (points)")


def _verdict_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=8, label=verdict)
        for verdict, (marker, colour) in VERDICT_STYLES.items()
    ]
    margin = Patch(color=PALE, label="non-inferiority margin")
    figure.legend(handles=[*handles, margin], loc="outside lower center", ncols=4)


def _overall_panel(axes: Axes, analysis: Analysis, iou_type: str) -> None:
    axes.set_title(f"{task_name(iou_type)} AP")
    axes.set_ylabel("AP (0-100)")
    reference = analysis.reference
    if reference is not None:
        value, (low, high) = _overall_value(analysis.scores(reference, iou_type))
        axes.axhline(value, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label=reference)
        axes.axhspan(low, high, color=MUTED, alpha=0.13, linewidth=0)
    names = analysis.compared or analysis.models
    found = [_overall_value(analysis.scores(name, iou_type)) for name in names]
    draw_series(
        axes,
        place_models(analysis, names),
        found,
        style=SERIES[0],
        label="tickets" if analysis.has_sparsity else "models",
        joined=analysis.has_sparsity,
    )
    for kind in sorted({analysis.control(name) for name in analysis.controls}):
        controls = [name for name in analysis.controls if analysis.control(name) == kind]
        _control_points(axes, analysis, controls, iou_type)
    axes.margins(y=0.12)
    model_axis(axes, analysis)


def _control_points(axes: Axes, analysis: Analysis, names: Sequence[str], iou_type: str) -> None:
    found = [_overall_value(analysis.scores(name, iou_type)) for name in names]
    axes.plot(
        place_models(analysis, names),
        [value for value, _ in found],
        marker="s",
        color=ORANGE,
        markerfacecolor="white",
        markeredgewidth=1.6,
        linestyle=":",
        label=f"control: {analysis.control(names[0])}",
    )


def _overall_value(scores: Values) -> tuple[float, Interval]:
    low, high = interval(part(scores, "intervals").get("AP"))
    return points(number(scores.get("AP"))), (points(low), points(high))


def _change_panel(axes: Axes, analysis: Analysis, axis: Axis, iou_type: str) -> None:
    models = analysis.compared
    axes.set_title(f"{task_name(iou_type)} AP by {axis.title}")
    axes.axhline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    joined = analysis.has_sparsity
    # A curve starts at the reference; loose points of one model stand side by side.
    names = [str(analysis.reference), *models] if joined else list(models)
    step = 0.0 if joined else 0.6 / len(axis.main_bins)
    for index, (name, style) in enumerate(zip(axis.main_bins, SERIES, strict=False)):
        shift = (index - (len(axis.main_bins) - 1) / 2) * step
        draw_series(
            axes,
            [place + shift for place in place_models(analysis, names)],
            [_change(analysis, model, iou_type, axis=axis, name=name) for model in names],
            style=style,
            label=_bin_label(analysis, axis, name, iou_type),
            joined=joined,
        )
    axes.legend(loc="lower left")
    axes.margins(y=0.08)
    model_axis(axes, analysis)


def _change(
    analysis: Analysis, model: str, iou_type: str, *, axis: Axis, name: str
) -> tuple[float, Interval]:
    if model == analysis.reference:
        return 0.0, (0.0, 0.0)
    delta = part(analysis.comparison(model, iou_type), axis.key, name)
    low, high = interval(delta.get("interval"))
    return points(number(delta.get("delta"))), (points(low), points(high))


def _bin_label(analysis: Analysis, axis: Axis, name: str, iou_type: str) -> str:
    scores = part(analysis.scores(str(analysis.reference), iou_type), axis.key, name)
    thin = ", few" if scores.get("thin") else ""
    return f"{name} (n = {analysis.objects(iou_type, axis, name):.0f}{thin})"
