"""Figures of an analysis inside models: AP by attribute bin, crossed attributes as heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_det.reports.analysis_data import (
    Analysis,
    Axis,
    interval,
    number,
    part,
    points,
    task_name,
)
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import DIVERGING_MAP, INK, REFERENCE, SEQUENTIAL_MAP, SERIES, SeriesStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


def by_bin(analysis: Analysis, iou_type: str, axes_shown: Sequence[Axis]) -> Drawing | None:
    """Draw AP (0-100) by bin with intervals: one panel per axis, models side by side; ``None`` without axes."""
    if not axes_shown:
        return None
    models = shown_models(analysis, iou_type)
    columns = min(COLUMNS, len(axes_shown))
    rows = math.ceil(len(axes_shown) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(axes_shown):
                _bin_panel(axes, analysis, axes_shown[place], iou_type=iou_type, models=models)
            else:
                axes.set_visible(False)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    name = f"{iou_type}_by_bin"
    return render(name, draw, width=max(7.2, 3.9 * columns), height=0.6 + 3.0 * rows)


def heatmap(analysis: Analysis, iou_type: str, cross: Axis) -> Drawing | None:
    """Draw a cross of two axes: AP of the reference (or first model), then the change for up to three models.

    Every cell names the value, the number of objects n and of classes K; cells with few objects are hatched, and
    changes whose interval leaves out zero are bold. Rows and columns without objects are left out. ``None`` when fewer than two of either remain.
    """
    if len(cross.parts) != 2:
        return None
    rows, columns = (_filled(analysis, iou_type, cross, place) for place in (0, 1))
    if min(len(rows), len(columns)) < 2:
        return None
    base = analysis.reference or analysis.models[0]
    models = analysis.focus(iou_type) if analysis.reference else ()
    first = _cells(analysis.scores(base, iou_type), cross, rows, columns)
    deltas = [_cells(analysis.comparison(m, iou_type), cross, rows, columns) for m in models]
    changes = [abs(points(number(cell.get("delta")))) for cells in deltas for cell in cells.flat]
    limit = max((value for value in changes if not math.isnan(value)), default=1.0) or 1.0

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 1 + len(models), squeeze=False, sharey=True)[0]
        _heat_panel(panels[0], first, key="AP", limits=(0.0, 130.0))
        panels[0].set_title(f"{task_name(iou_type)} AP, {base}")
        for axes, name, cells in zip(panels[1:], models, deltas, strict=True):
            _heat_panel(axes, cells, key="delta", limits=(-limit, limit))
            axes.set_title(f"change, {analysis.title(name)}")
        for axes in panels:
            axes.set_xticks(range(len(columns)), columns)
            axes.set_xlabel(cross.parts[1])
        panels[0].set_yticks(range(len(rows)), rows)
        panels[0].set_ylabel(cross.parts[0])

    width = max(7.2, 1.2 + (1 + len(models)) * 0.95 * max(len(columns), 3))
    return render(f"{iou_type}_{cross.name}", draw, width=width, height=1.2 + 0.7 * len(rows))


def _filled(analysis: Analysis, iou_type: str, cross: Axis, place: int) -> list[str]:
    """Return, in their order, the bins of one part of a cross that have objects."""
    full = {
        name.split("/")[place] for name in cross.bins if analysis.objects(iou_type, cross, name) > 0
    }
    return [
        name
        for name in dict.fromkeys(bin_name.split("/")[place] for bin_name in cross.bins)
        if name in full
    ]


def fine_sizes(analysis: Analysis, iou_type: str, axis: Axis) -> Drawing | None:
    """Draw AP over the finer bins of an axis, one line per model; ``None`` with fewer than two that have objects."""
    bins = [name for name in axis.fine_bins if analysis.objects(iou_type, axis, name) > 0]
    if len(bins) < 2:
        return None
    models = shown_models(analysis, iou_type)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _fine_panel(axes, analysis, axis, iou_type=iou_type, models=models, bins=bins)
        axes.legend(loc="best")

    return render(f"{iou_type}_fine_{axis.name}", draw, width=8.0, height=3.6)


def shown_models(analysis: Analysis, iou_type: str) -> tuple[str, ...]:
    """Return the reference and the models in focus; all models (up to the number of styles) without a reference."""
    if analysis.reference is None:
        return analysis.models[: len(SERIES)]
    return (analysis.reference, *analysis.focus(iou_type))


def styles_of(analysis: Analysis, models: Sequence[str]) -> dict[str, SeriesStyle]:
    """Return a style for each model; the reference is black wherever it appears."""
    others = [model for model in models if model != analysis.reference]
    found = dict(zip(others, SERIES, strict=False))
    return {model: found.get(model, REFERENCE) for model in models}


def whiskers(value: float, bounds: tuple[float, float]) -> list[list[float]]:
    """Return the distances of an interval from its value as matplotlib's ``errorbar`` takes them; 0 where there is none."""
    low, high = bounds
    return [
        [0.0 if math.isnan(low) else max(value - low, 0.0)],
        [0.0 if math.isnan(high) else max(high - value, 0.0)],
    ]


def _bin_panel(
    axes: Axes, analysis: Analysis, axis: Axis, *, iou_type: str, models: Sequence[str]
) -> None:
    axes.set_title(f"{task_name(iou_type)} AP by {axis.title}")
    names = axis.main_bins
    step = 0.7 / len(models)
    for index, (model, style) in enumerate(styles_of(analysis, models).items()):
        for place, name in enumerate(names):
            cell = part(analysis.scores(model, iou_type), axis.key, name)
            value = points(number(cell.get("AP")))
            low, high = interval(cell.get("interval"))
            axes.errorbar(
                place + (index - (len(models) - 1) / 2) * step,
                value,
                yerr=None if math.isnan(value) else whiskers(value, (points(low), points(high))),
                color=style.colour,
                marker=style.marker,
                markerfacecolor="white" if cell.get("thin") else style.colour,
                capsize=2,
                linewidth=1.3,
                linestyle="none",
                label=analysis.title(model) if place == 0 else None,
            )
    counts = [f"n = {analysis.objects(iou_type, axis, name):.0f}" for name in names]
    labels = [f"{name}\n{count}" for name, count in zip(names, counts, strict=True)]
    axes.set_xticks(range(len(names)), labels)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")


def _fine_panel(
    axes: Axes,
    analysis: Analysis,
    axis: Axis,
    *,
    iou_type: str,
    models: Sequence[str],
    bins: Sequence[str],
) -> None:
    axes.set_title(f"{task_name(iou_type)} AP by {axis.title}, finer bins")
    for model, style in styles_of(analysis, models).items():
        cells = [part(analysis.scores(model, iou_type), axis.key, name) for name in bins]
        axes.plot(
            range(len(bins)),
            [points(number(cell.get("AP"))) for cell in cells],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            label=analysis.title(model),
        )
    counts = [f"n = {analysis.objects(iou_type, axis, name):.0f}" for name in bins]
    labels = [f"{name}\n{count}" for name, count in zip(bins, counts, strict=True)]
    axes.set_xticks(range(len(bins)), labels)
    axes.set_ylabel("AP (0-100)")
    axes.set_ylim(bottom=0)


def _cells(values: Any, cross: Axis, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Return (rows, columns) cells of a cross as objects; empty ones where the analysis has none."""
    grid = np.empty((len(rows), len(columns)), dtype=object)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            grid[i, j] = part(values, cross.key, f"{row}/{column}")
    return grid


def _heat_panel(axes: Axes, cells: np.ndarray, *, key: str, limits: tuple[float, float]) -> None:
    change = key == "delta"
    values = np.array([[points(number(cell.get(key))) for cell in row] for row in cells])
    axes.imshow(
        np.ma.masked_invalid(values),
        cmap=DIVERGING_MAP if change else SEQUENTIAL_MAP,
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
    )
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        cell = cells[row, column]
        if cell.get("thin"):
            _hatch(axes, row, column)
        axes.text(
            column,
            row,
            _cell_text(value, cell, change=change),
            ha="center",
            va="center",
            color=_ink(value, change=change, limit=limits[1]),
            fontweight="bold" if change and cell.get("significant") else "normal",
        )


def _cell_text(value: float, cell: Any, *, change: bool) -> str:
    shown = "n/a" if math.isnan(value) else f"{value:+.1f}" if change else f"{value:.1f}"
    objects, classes = number(cell.get("objects")), number(cell.get("classes"))
    count = "" if math.isnan(objects) else f"\nn {objects:.0f}"
    return shown + count + ("" if math.isnan(classes) else f", K {classes:.0f}")


def _ink(value: float, *, change: bool, limit: float) -> str:
    if math.isnan(value):
        return INK
    dark = abs(value) > 0.7 * limit if change else value > 75
    return "white" if dark else INK


def _hatch(axes: Axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    frame = Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, hatch="///", edgecolor="#9aa5b1", linewidth=0
    )
    axes.add_patch(frame)
