"""AP against sparsity for the sources of a sweep: means with bands of one seed std, and every seed as a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.style import INK, SERIES, SeriesStyle
from lth_det.reports.sweep_data import Matrix, Target, metric_title, wrap
from lth_det.reports.sweep_legend import shared_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH = 5.0
CROWDED = 14
"""Points of a panel past which only the first and the last of a series carry their prune rate."""


def curves(matrix: Matrix) -> Drawing | None:
    """Draw metric against network sparsity, one column per target, at most six sources in a row of panels.

    Small numbers at the points are prune rates in percent. ``None`` when no ticket has a sparsity.
    """
    drawn = [
        name
        for name in matrix.used_sources()
        if any(_points(matrix, name, t) for t in matrix.targets)
    ]
    if not drawn:
        return None
    chunks = [drawn[start : start + len(SERIES)] for start in range(0, len(drawn), len(SERIES))]

    def draw(figure: Figure) -> None:
        bands = figure.subfigures(len(chunks), 1, squeeze=False)[:, 0]
        for band, names in zip(bands, chunks, strict=True):
            panels = band.subplots(1, len(matrix.targets), squeeze=False)[0]
            for axes, target in zip(panels, matrix.targets, strict=True):
                _panel(axes, matrix, target, names)
            shared_legend(band, panels, columns=3 if len(matrix.targets) > 1 else 2)

    width = max(7.2, PANEL_WIDTH * len(matrix.targets))
    return render("ap_against_sparsity", draw, width=width, height=4.7 * len(chunks))


def _panel(axes: Axes, matrix: Matrix, target: Target, names: Sequence[str]) -> None:
    axes.set_title(f"{wrap(target.label, width=44, lines=1)}: {metric_title(target.metric)}")
    axes.set_ylabel(metric_title(target.metric))
    dense = matrix.dense(target)
    series = {name: _points(matrix, name, target) for name in names}
    every = [point for points in series.values() for point in points]
    end = max((point["sparsity_mean"] for point in every), default=0.0)
    if dense is not None:
        axes.axhline(dense["mean"], color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label="dense")
        if dense["std"] is not None:
            low, high = dense["mean"] - dense["std"], dense["mean"] + dense["std"]
            axes.axhspan(low, high, color=INK, alpha=0.08, linewidth=0)
    for style, (name, points) in zip(SERIES, series.items(), strict=False):
        if points:
            _line(
                axes,
                points,
                style,
                label=wrap(matrix.labels[name], width=44),
                hollow=name in matrix.controls,
            )
            _rates(axes, points, style, ends_only=len(every) > CROWDED)
    axes.margins(y=0.14)
    sparsity_axis(axes, end)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.05 * (high - low))  # room for the last prune rate


def _line(
    axes: Axes, points: Sequence[Mapping[str, Any]], style: SeriesStyle, *, label: str, hollow: bool
) -> None:
    places = [sparsity_position(point["sparsity_mean"]) for point in points]
    means = [point["mean"] for point in points]
    axes.plot(
        places,
        means,
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        markerfacecolor="white" if hollow else style.colour,
        markeredgewidth=1.5,
        label=label,
        zorder=3,
    )
    stds = [math.nan if point["std"] is None else point["std"] for point in points]
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    axes.fill_between(places, low, high, color=style.colour, alpha=0.15, linewidth=0)
    # A band between two points is a line without a width where there is only one point.
    axes.vlines(places, low, high, color=style.colour, alpha=0.45, linewidth=3)
    for place, point in zip(places, points, strict=True):
        if point["n"] > 1:
            seeds = list(point["values"].values())
            axes.plot([place] * len(seeds), seeds, "_", color=style.colour, markersize=7, alpha=0.9)


def _rates(
    axes: Axes, points: Sequence[Mapping[str, Any]], style: SeriesStyle, *, ends_only: bool
) -> None:
    from matplotlib.patheffects import withStroke

    shown = [points[0], points[-1]] if ends_only and len(points) > 2 else points
    for point in shown:
        if not point["sparsity_mean"]:
            continue  # a control that is not pruned, such as the dense model trained again
        first = point is points[0] and len(points) > 1
        axes.annotate(
            f"{100 * point['prune_rate']:.4g}",
            (sparsity_position(point["sparsity_mean"]), point["mean"]),
            xytext=(-7 if first else 7, 0),
            textcoords="offset points",
            ha="right" if first else "left",
            va="center",
            color=style.colour,
            fontsize=7.5,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
            zorder=4,
        )


def _points(matrix: Matrix, name: str, target: Target) -> list[Mapping[str, Any]]:
    return [row for row in matrix.series(name, target) if row["sparsity_mean"] is not None]
