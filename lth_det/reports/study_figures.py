"""The answers of a study as figures: what was measured with its interval, and beside it what was published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import BLUE, INK, MUTED, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT: Final = 0.24
COLOURS: Final = {"agrees": BLUE, "differs": VERMILION}
MARKERS: Final = {"agrees": "o", "differs": "s"}


@dataclass(frozen=True)
class Row:
    """One comparison at one prune rate.

    Attributes:
        label: at the left.
        mean: measured difference.
        low, high: ends of its interval; NaN if there is none.
        published: the published difference, or ``None``.
        mark: ``agrees``, ``differs`` or anything else.
    """

    label: str
    mean: float
    low: float
    high: float
    published: float | None
    mark: str


def answers_figure(name: str, rows: Sequence[Row], *, unit: str, threshold: float) -> Drawing:
    """Return a row per comparison: interval, mean, and a diamond for what was published.

    Args:
        name: file name without suffix.
        rows: measured ones, from top to bottom; at least one.
        unit: of the differences.
        threshold: a loss of this much matters; a dotted line stands there unless it is 0.
    """

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        for place, row in enumerate(rows):
            colour = COLOURS.get(row.mark, MUTED)
            if not math.isnan(row.low):
                axes.plot((row.low, row.high), (place, place), color=colour, linewidth=1.8)
            marker = MARKERS.get(row.mark, "o")
            hollow = row.mark not in MARKERS
            face = "white" if hollow else colour
            axes.plot(row.mean, place, marker, color=colour, markerfacecolor=face, markersize=5)
            if row.published is not None:
                axes.plot(
                    row.published, place, "D", color=INK, markerfacecolor="none", markersize=5
                )
        axes.axvline(0.0, color=INK, linewidth=1.0, linestyle="--")
        if threshold:
            axes.axvline(threshold, color=MUTED, linewidth=1.0, linestyle=":")
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"difference ({unit})")
        _legend(figure, rows)

    return render(name, draw, width=7.6, height=1.1 + ROW_HEIGHT * len(rows))


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    seen = {row.mark for row in rows}
    handles = [
        Line2D([], [], color=COLOURS[mark], marker=MARKERS[mark], markersize=5, label=mark)
        for mark in COLOURS
        if mark in seen
    ]
    if seen - set(COLOURS):
        style = {"color": MUTED, "marker": "o", "markerfacecolor": "white", "markersize": 5}
        handles.append(Line2D([], [], label="not decidable, or no claim", **style))  # type: ignore[arg-type]  # plain style keys
    if any(row.published is not None for row in rows):
        hollow = {"color": INK, "marker": "D", "markerfacecolor": "none", "markersize": 5}
        handles.append(Line2D([], [], linestyle="", label="published", **hollow))  # type: ignore[arg-type]  # plain style keys
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
