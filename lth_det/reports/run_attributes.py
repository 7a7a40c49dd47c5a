"""AP by object attribute in the metrics of a run: ``bbox/AP-size-small``, written by the attribute evaluator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.run_data import RunResults
from lth_det.reports.run_scores import task_title
from lth_det.reports.style import INK, SERIES
from lth_det.reports.tables import Column, Table, make_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "AP-"
COLUMNS = 3
MOST_PANELS = 6
COARSE_SIZES = ("small", "medium", "large")
# Files hold metrics by name; the order of bins is that of the analysis.
BIN_ORDER = {
    "size": COARSE_SIZES,
    "frequency": ("rare", "common", "frequent"),
    "difficulty": ("hard", "medium", "easy"),
    "occlusion": ("bare", "partial", "heavy"),
    "crowding": ("alone", "few", "many"),
    "truncation": ("inside", "truncated"),
    "aspect": ("very_tall", "tall", "square", "wide", "very_wide"),
    "size_rel": ("XS", "S", "M", "L", "XL"),
    "thinness": ("thin", "slender", "full"),
    "kitti": ("easy", "moderate", "hard"),
}


def class_names(results: RunResults) -> frozenset[str]:
    """Return the class names of the dataset; without them every ``AP-`` metric counts as one of a class."""
    names = results.dataset.get("classes")
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()


def attributes(results: RunResults, task: str) -> dict[str, list[str]]:
    """Return axis -> bins of the metrics ``AP-axis-bin`` of ``task``, axes and bins in the order of the analysis."""
    classes = class_names(results)
    found: dict[str, set[str]] = {}
    for result in results.rounds if classes else ():
        for metric in result.metrics:
            owner, _, name = metric.partition("/")
            axis, _, bin_name = name.removeprefix(PREFIX).partition("-")
            named = name.startswith(PREFIX) and name.removeprefix(PREFIX) not in classes
            if owner == task and named and bin_name:
                found.setdefault(axis, set()).add(bin_name)
    rank = {axis: place for place, axis in enumerate(BIN_ORDER)}
    axes = sorted(found, key=lambda axis: (rank.get(axis, len(rank)), axis))
    return {axis: _ordered(axis, found[axis]) for axis in axes}


def attribute_changes(results: RunResults, task: str) -> Drawing | None:
    """Draw the change of AP to dense against sparsity by attribute; ``None`` when the metrics hold none."""
    dense = results.dense
    axes_shown = [
        (axis, shown)
        for axis, bins in attributes(results, task).items()
        if len(shown := _main(axis, bins)) > 1
    ][:MOST_PANELS]
    if dense is None or not results.tickets or not axes_shown:
        return None
    columns = min(COLUMNS, len(axes_shown))
    rows = math.ceil(len(axes_shown) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, panel in enumerate(grid.flat):
            if place < len(axes_shown):
                _panel(panel, results, task, axis=axes_shown[place][0], bins=axes_shown[place][1])
            else:
                panel.set_visible(False)
        for row in grid:
            row[0].set_ylabel("AP change to dense (points)")

    name = f"{task}_attributes"
    return render(name, draw, width=max(7.2, 3.9 * columns), height=4.0 * rows)


def attributes_table(results: RunResults) -> Table:
    """Return one row per model, task, axis and bin: AP (0-100) and its change to dense."""
    columns = (
        Column("model", "model"),
        Column("sparsity", "sparsity", ".1%"),
        Column("task", "task"),
        Column("axis", "attribute"),
        Column("bin", "bin"),
        Column("AP", "AP", ".1f"),
        Column("AP_change", "AP change", "+.1f"),
    )
    rows = []
    for model in (*results.rounds, *results.controls):
        for task in results.tasks:
            for axis, bins in attributes(results, task).items():
                for name in bins:
                    key = f"{task}/{PREFIX}{axis}-{name}"
                    base = math.nan if results.dense is None else results.dense.metric(key)
                    change = math.nan if model is results.dense else model.metric(key) - base
                    start = (model.title, model.sparsity, task_title(task), axis, name)
                    rows.append((*start, model.metric(key), change))
    return make_table(columns, rows)


def _panel(axes: Axes, results: RunResults, task: str, *, axis: str, bins: list[str]) -> None:
    axes.set_title(f"{task_title(task)} AP by {axis.replace('_', ' ')}")
    axes.axhline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    for name, style in zip(bins, SERIES, strict=False):
        key = f"{task}/{PREFIX}{axis}-{name}"
        base = results.rounds[0].metric(key)
        axes.plot(
            [sparsity_position(result.sparsity) for result in results.rounds],
            [result.metric(key) - base for result in results.rounds],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            label=name.replace("_", " "),
        )
    axes.margins(y=0.1)
    sparsity_axis(axes, max(result.sparsity for result in results.rounds))
    # All curves begin at 0 at the left, and may rise or fall from there.
    axes.legend(loc="best")


def _main(axis: str, bins: list[str]) -> list[str]:
    coarse = [name for name in COARSE_SIZES if name in bins]
    return coarse if axis == "size" and coarse else bins[: len(SERIES)]


def _ordered(axis: str, bins: set[str]) -> list[str]:
    rank = {name: place for place, name in enumerate(BIN_ORDER.get(axis, ()))}

    def place(name: str) -> tuple[int, float, str]:
        digits = name.split("-")[0].rstrip("px+")
        return rank.get(name, len(rank)), float(digits) if digits.isdigit() else math.inf, name

    return sorted(bins, key=place)
