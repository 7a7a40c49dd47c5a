"""The figures of a run: AP or accuracy against sparsity, AP by object size, sparsity by module group and layer, classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.run_data import RoundResult, RunResults
from lth_det.reports.run_scores import score_of, task_title
from lth_det.reports.style import BLUE, INK, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH = 4.6
SIZES = (("APs", "small"), ("APm", "medium"), ("APl", "large"))


def score_against_sparsity(results: RunResults) -> Drawing:
    """Draw AP or accuracy (0-100) against sparsity, a panel per task: dense line, tickets, controls as loose points."""
    tasks = results.tasks

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            _score_panel(axes, results, task)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))

    width = max(7.2, PANEL_WIDTH * len(tasks))
    name = f"{'accuracy' if results.is_classifier else 'ap'}_against_sparsity"
    return render(name, draw, width=width, height=4.1)


def ap_by_size(results: RunResults) -> Drawing | None:
    """Draw the change of AP to dense for small, medium and large objects; ``None`` when no task has it."""
    dense = results.dense
    tasks = [] if dense is None else [task for task in results.tasks if _has_sizes(dense, task)]
    if dense is None or not tasks or not results.tickets:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for axes, task in zip(panels, tasks, strict=True):
            _size_panel(axes, results, task)
        panels[0].set_ylabel("AP change to dense (points)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)

    width = max(7.2, PANEL_WIDTH * len(tasks))
    return render("ap_by_size", draw, width=width, height=3.8)


def classes(
    changes: Mapping[str, Mapping[str, tuple[float, float]]], *, name: str, title: str
) -> Drawing:
    """Draw the change of AP per class for one ticket, one panel per task, largest loss at the bottom.

    Args:
        changes: task -> class -> (AP of the dense model, change), both on the 0-100 scale.
        name: file name without suffix.
        title: name of the ticket.
    """
    longest = max(len(rows) for rows in changes.values())

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(changes), squeeze=False)[0]
        for axes, (task, rows) in zip(panels, changes.items(), strict=True):
            _class_panel(axes, rows)
            axes.set_title(f"{task_title(task)} AP: {title} - dense")

    width = max(7.2, PANEL_WIDTH * len(changes))
    return render(name, draw, width=width, height=1.2 + 0.24 * longest)


def _score_panel(axes: Axes, results: RunResults, task: str) -> None:
    score = score_of(task)
    name = score.metric
    axes.set_title(score.title)
    models = [*results.rounds, *results.controls]
    if results.dense is not None and not math.isnan(results.dense.metric(name)):
        value = results.dense.metric(name)
        axes.axhline(value, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label="dense")
        axes.plot(0, value, marker="o", color="white", markeredgecolor=INK, markeredgewidth=1.4)
    tickets = [ticket for ticket in results.tickets if not math.isnan(ticket.metric(name))]
    if tickets:
        _tickets(axes, results, tickets, name)
    for index, control in enumerate(sorted({result.control for result in results.controls})):
        points = [result for result in results.controls if result.control == control]
        style = SERIES[1 + index % (len(SERIES) - 1)]
        axes.plot(
            [sparsity_position(point.sparsity) for point in points],
            [point.metric(name) for point in points],
            color=style.colour,
            marker=style.marker,
            markerfacecolor="white",
            markeredgewidth=1.6,
            linestyle=":",
            linewidth=1.0,
            label=f"control: {control}",
        )
    axes.set_ylabel(score.axis)
    axes.margins(y=0.16)
    sparsity_axis(axes, max(model.sparsity for model in models))


def _tickets(axes: Axes, results: RunResults, tickets: Sequence[RoundResult], name: str) -> None:
    start = [] if results.dense is None else [results.dense]
    points = [*start, *tickets]
    axes.plot(
        [sparsity_position(point.sparsity) for point in points],
        [point.metric(name) for point in points],
        color=BLUE,
        marker="o",
        markevery=range(len(start), len(points)),
        label="tickets",
    )
    for ticket in tickets:
        above = results.dense is None or ticket.metric(name) >= results.dense.metric(name)
        axes.annotate(
            f"{ticket.metric(name):.1f}",
            (sparsity_position(ticket.sparsity), ticket.metric(name)),
            xytext=(0, 11 if above else -11),
            textcoords="offset points",
            ha="center",
            va="center",
            color=BLUE,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )


def _has_sizes(result: RoundResult, task: str) -> bool:
    return any(not math.isnan(result.metric(f"{task}/{key}")) for key, _ in SIZES)


def _size_panel(axes: Axes, results: RunResults, task: str) -> None:
    axes.set_title(f"{task_title(task)} AP by object size")
    axes.axhline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    for (key, label), style in zip(SIZES, SERIES, strict=False):
        dense = results.rounds[0].metric(f"{task}/{key}")
        axes.plot(
            [sparsity_position(result.sparsity) for result in results.rounds],
            [result.metric(f"{task}/{key}") - dense for result in results.rounds],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            label=label if math.isnan(dense) else f"{label} objects",
        )
    axes.margins(y=0.1)
    sparsity_axis(axes, max(result.sparsity for result in results.rounds))


def _class_panel(axes: Axes, rows: Mapping[str, tuple[float, float]]) -> None:
    ordered = sorted(rows.items(), key=lambda item: (item[1][1], item[0]))
    places = range(len(ordered))
    values = [change for _, (_, change) in ordered]
    gain, loss = SERIES[0], SERIES[1]
    axes.barh(
        places,
        values,
        height=0.66,
        color=[gain.colour if value >= 0 else loss.colour for value in values],
        hatch=["" if value >= 0 else loss.hatch for value in values],
        edgecolor="white",
        linewidth=0,
    )
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_yticks(places, [f"{name} ({dense:.1f})" for name, (dense, _) in ordered])
    axes.set_xlabel("AP change (points); AP of the dense model in brackets", color=MUTED)
    axes.grid(visible=False, axis="y")
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 0.16 * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:+.1f}",
            (value, place),
            xytext=(4 if value >= 0 else -4, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
        )
