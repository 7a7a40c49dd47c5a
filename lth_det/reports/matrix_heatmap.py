"""The transfer matrix as a heatmap: source x target, one panel per prune rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import DIVERGING_MAP, INK, MUTED, PALE
from lth_det.reports.sweep_data import (
    DENSE,
    NO_RESULT,
    Matrix,
    Target,
    metric_title,
    percent,
    signed,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

CELL_WIDTH, CELL_HEIGHT = 1.16, 0.47
MOST_COLUMNS = 8
MAP_ROOM = 1.3
"""The darkest colours are left unused, so that numbers can be read on all."""
SMALLEST_SCALE = 1.0
"""Points at the end of the colour scale, at least: smaller differences must look small."""


def transfer_matrix(matrix: Matrix) -> Drawing | None:
    """Draw mean and seed std of every source on every target, coloured by the difference to dense.

    The dense model stands in the first row without colour; a cell without a result is hatched, a dash stands where the
    plan has no cell, and sources without a cell at the prune rates of a row of panels are left out there. Bold: highest
    mean of its column among the sources of like network sparsity; a star: it leads the second by more than seed noise.
    ``None`` without any ticket.
    """
    rates, sources = matrix.rates(), matrix.used_sources()
    if not rates or not sources:
        return None
    per_row = max(1, min(len(rates), MOST_COLUMNS // len(matrix.targets)))
    bands = math.ceil(len(rates) / per_row)
    per_row = math.ceil(len(rates) / bands)
    end = _scale(matrix, rates, sources)
    shown = [
        [DENSE, *_with_cells(matrix, sources, rates[start : start + per_row])]
        for start in range(0, len(rates), per_row)
    ]
    heights = [CELL_HEIGHT * len(names) + 0.75 for names in shown]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(bands, per_row, squeeze=False, height_ratios=heights)
        image = None
        for place, axes in enumerate(panels.flat):
            if place >= len(rates):
                axes.set_visible(False)
                continue
            names = shown[place // per_row]
            image = _panel(axes, matrix, names, rates[place], end)
            labels = [wrap(matrix.labels[name]) for name in names]
            axes.set_yticks(range(len(labels)), labels if place % per_row == 0 else [])
        if image is not None:
            bar = figure.colorbar(image, ax=panels, shrink=min(1.0, 0.75), pad=0.012, aspect=24)
            bar.set_label("difference to dense (points)")
            bar.outline.set_visible(False)

    width = 3.4 + CELL_WIDTH * per_row * len(matrix.targets) + 0.2 * per_row
    return render("transfer_matrix", draw, width=max(width, 6.4), height=sum(heights) + 0.15)


def _with_cells(matrix: Matrix, sources: Sequence[str], rates: Sequence[float]) -> list[str]:
    """Return the sources that have, or will have, a result on some target at one of ``rates``."""
    places = [(target, rate) for target in matrix.targets for rate in rates]
    return [
        name
        for name in sources
        if any(
            matrix.row(name, *place) is not None or matrix.empty_word(name, *place) == NO_RESULT
            for place in places
        )
    ]


def _panel(axes: Axes, matrix: Matrix, names: Sequence[str], rate: float, end: float) -> AxesImage:
    values = np.array(
        [[_change(matrix, name, target, rate) for target in matrix.targets] for name in names]
    )
    image = axes.imshow(
        values, aspect="auto", cmap=DIVERGING_MAP, vmin=-MAP_ROOM * end, vmax=MAP_ROOM * end
    )
    axes.set_title(f"prune rate {percent(rate)}", pad=8)
    titles = [f"{wrap(t.label, width=16)}\n{metric_title(t.metric)}" for t in matrix.targets]
    axes.set_xticks(range(len(titles)), titles)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for column, target in enumerate(matrix.targets):
        for row, name in enumerate(names):
            _cell(axes, (column, row), matrix, (name, target, rate), dark=0.8 * end)
    axes.axhline(0.5, color=INK, linewidth=1.2)
    for row in range(1, len(names)):
        axes.axhline(row + 0.5, color="white", linewidth=1.5)
    for column in range(1, len(matrix.targets)):
        axes.axvline(column - 0.5, color="white", linewidth=3)
    return image


def _cell(
    axes: Axes,
    place: tuple[int, int],
    matrix: Matrix,
    of: tuple[str, Target, float],
    *,
    dark: float,
) -> None:
    name, target, rate = of
    found = matrix.dense(target) if name == DENSE else matrix.row(name, target, rate)
    column, row = place
    if found is None and matrix.empty_word(name, target, rate) != NO_RESULT:
        word = matrix.empty_word(name, target, rate)
        axes.text(column, row, word, ha="center", va="center", color=MUTED)
        return
    if found is None:
        from matplotlib.patches import Rectangle

        hatched = Rectangle(
            (column - 0.5, row - 0.5),
            1,
            1,
            facecolor="white",
            edgecolor=PALE,
            hatch="////",
            linewidth=0,
        )
        axes.add_patch(hatched)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(column, row, NO_RESULT, ha="center", va="center", color=MUTED, bbox=box)
        return
    change = _change(matrix, name, target, rate)
    wins = matrix.won(name, target, rate)
    star = " *" if wins is not None and wins["larger_than_seed_noise"] else ""
    text = f"{found['mean']:.1f}"
    text += f" \u00b1 {found['std']:.1f}" if found["std"] is not None else ""
    text += star if math.isnan(change) else f"\n({signed(change)}){star}"
    colour = "white" if not math.isnan(change) and abs(change) > dark else INK
    weight = "bold" if wins else "normal"
    axes.text(column, row, text, ha="center", va="center", color=colour, weight=weight)


def _change(matrix: Matrix, name: str, target: Target, rate: float) -> float:
    row = None if name == DENSE else matrix.row(name, target, rate)
    against = None if row is None else row["vs_dense"]
    return math.nan if against is None else float(against["mean"])


def _scale(matrix: Matrix, rates: Sequence[float], sources: Sequence[str]) -> float:
    changes = [_change(matrix, n, t, r) for r in rates for t in matrix.targets for n in sources]
    return max([SMALLEST_SCALE, *(abs(change) for change in changes if not math.isnan(change))])
