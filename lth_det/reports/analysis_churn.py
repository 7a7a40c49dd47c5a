"""Objects that a model gained and lost against the reference, by attribute bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_det.reports.analysis_data import Analysis, Axis, Values, number, part, task_name
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("size", "frequency", "difficulty", "occlusion", "crowding", "truncation")
COLUMNS = 3


def churn(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw, per bin, the share of its objects that only the model found (up) and that only the reference found (down).

    ``None`` when the analysis counts no objects. Two equally good models gain and lose alike; a longer bar downwards
    is what a ticket costs.
    """
    models = [
        name
        for name in analysis.focus(iou_type)
        if part(analysis.comparison(name, iou_type), "objects", "by")
    ]
    if not models:
        return None
    counted = part(analysis.comparison(models[0], iou_type), "objects", "by")
    axes_shown = [
        axis
        for axis in analysis.plain_axes(iou_type)
        if axis.name in AXES and counted.get(axis.key)
    ]
    if not axes_shown:
        return None
    columns = min(COLUMNS, len(axes_shown))
    rows = math.ceil(len(axes_shown) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place < len(axes_shown):
                _panel(axes, analysis, axes_shown[place], iou_type=iou_type, models=models)
            else:
                axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel("lost (down), gained (up), %")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return render(
        f"{iou_type}_lost_gained", draw, width=max(7.2, 3.6 * columns), height=0.6 + 2.9 * rows
    )


def shares(counts: Values) -> tuple[float, float]:
    """Return the lost and the gained share (0-1) of all objects of a bin; NaN when it has none."""
    kinds = {key: number(counts.get(key)) for key in ("both", "lost", "gained", "neither")}
    total = sum(kinds.values())
    if not total > 0:
        return math.nan, math.nan
    return kinds["lost"] / total, kinds["gained"] / total


def _panel(
    axes: Axes, analysis: Analysis, axis: Axis, *, iou_type: str, models: Sequence[str]
) -> None:
    axes.set_title(f"{task_name(iou_type)}, by {axis.title}")
    step = 0.8 / len(models)
    for index, (model, style) in enumerate(zip(models, SERIES, strict=False)):
        found = part(analysis.comparison(model, iou_type), "objects", "by", axis.key)
        values = [shares(part(found, name)) for name in axis.main_bins]
        places = [place + (index - (len(models) - 1) / 2) * step for place in range(len(values))]
        for sign, heights in ((-1, [v[0] for v in values]), (1, [v[1] for v in values])):
            axes.bar(
                places,
                [sign * 100 * height for height in heights],
                width=0.92 * step,
                color=style.colour,
                hatch=style.hatch,
                edgecolor="white",
                linewidth=0,
                label=analysis.title(model) if sign < 0 else None,
            )
    axes.axhline(0, color=INK, linewidth=0.9)
    labels = [
        f"{name}\nn = {analysis.objects(iou_type, axis, name):.0f}" for name in axis.main_bins
    ]
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(visible=False, axis="x")
