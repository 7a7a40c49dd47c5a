"""Paired differences of a sweep with intervals: to dense and to the random control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import BLUE, INK, MUTED, VERMILION
from lth_det.reports.sweep_data import Matrix, Target, metric_title, percent, wrap
from lth_det.reports.sweep_legend import shared_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT = 0.34
PANEL_WIDTH = 4.6


@dataclass(frozen=True)
class Against:
    """What is subtracted: the key of the summary, words, and how it looks."""

    key: str
    words: str
    colour: str
    marker: str
    offset: float


DENSE_SIDE = Against("vs_dense", "minus dense", BLUE, "o", -0.16)
RANDOM_SIDE = Against("vs_random", "minus its random control", VERMILION, "s", 0.16)


def differences(matrix: Matrix) -> Drawing | None:
    """Draw every source and prune rate as a row: differences to dense and to the random control, 95 % intervals.

    Intervals use the pooled seed noise, one difference at a time; crosses are the paired differences of single seeds.
    ``None`` when nothing has a difference.
    """
    entries = [(name, rate) for name in matrix.used_sources() for rate in matrix.rates()]
    entries = [entry for entry in entries if any(_has(matrix, entry, t) for t in matrix.targets)]
    if not entries:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(matrix.targets), squeeze=False, sharey=True)[0]
        for axes, target in zip(panels, matrix.targets, strict=True):
            _panel(axes, matrix, target, entries)
        panels[0].set_yticks(range(len(entries)), _titles(matrix, entries))
        panels[0].set_ylim(len(entries) - 0.4, -0.6)
        shared_legend(figure, panels, columns=2)

    width = max(7.2, 2.4 + PANEL_WIDTH * len(matrix.targets) * 0.85)
    return render("differences", draw, width=width, height=1.5 + ROW_HEIGHT * len(entries))


def _panel(
    axes: Axes, matrix: Matrix, target: Target, entries: Sequence[tuple[str, float]]
) -> None:
    axes.set_title(f"{wrap(target.label, width=40, lines=1)}: {metric_title(target.metric)}")
    axes.axvline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    for place in range(1, len(entries)):
        if entries[place][0] != entries[place - 1][0]:
            axes.axhline(place - 0.5, color=MUTED, linewidth=0.6)
    for side in (DENSE_SIDE, RANDOM_SIDE):
        label = side.words
        for place, (name, rate) in enumerate(entries):
            row = matrix.row(name, target, rate)
            found = None if row is None else row[side.key]
            if found is not None:
                _interval(axes, place + side.offset, found, side, label=label)
                label = ""
    for place, (name, rate) in enumerate(entries):
        if matrix.row(name, target, rate) is None:
            word = matrix.empty_word(name, target, rate)
            left = axes.get_yaxis_transform()
            axes.text(0.02, place, word, transform=left, va="center", color=MUTED)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.06)
    axes.set_xlabel("difference (points)")


def _interval(
    axes: Axes, place: float, found: Mapping[str, Any], side: Against, *, label: str
) -> None:
    if found["low"] is not None:
        axes.hlines(place, found["low"], found["high"], color=side.colour, linewidth=1.8)
    if found["n"] > 1:
        seeds = list(found["values"].values())
        axes.plot(
            seeds,
            [place] * len(seeds),
            "|",
            color=side.colour,
            markersize=7,
            alpha=0.9,
            markeredgewidth=1.0,
        )
    known = found["low"] is not None
    axes.plot(
        found["mean"],
        place,
        marker=side.marker,
        color=side.colour,
        markerfacecolor=side.colour if known else "white",
        markersize=5,
        linestyle="none",
        label=label,
    )


def _titles(matrix: Matrix, entries: Sequence[tuple[str, float]]) -> list[str]:
    """Return the row titles: the source's name at its first prune rate only."""
    titles = []
    for place, (name, rate) in enumerate(entries):
        first = place == 0 or entries[place - 1][0] != name
        # Two lines, because names of controls differ at their end only.
        source = wrap(matrix.labels[name], width=34, lines=2) if first else ""
        titles.append(f"{source}   {percent(rate)}")
    return titles


def _has(matrix: Matrix, entry: tuple[str, float], target: Target) -> bool:
    row = matrix.row(entry[0], target, entry[1])
    return row is not None and (row["vs_dense"] is not None or row["vs_random"] is not None)
