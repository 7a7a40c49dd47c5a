"""Overlap of several tickets as heatmaps: kappa in colour, IoU beside its chance level as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_det.reports import html
from lth_det.reports.figure_files import add_figure
from lth_det.reports.html import Html
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import DIVERGING_MAP, INK
from lth_det.reports.sweep_data import wrap
from lth_det.reports.tables import Column, Table, make_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

ALL = "all"
MAP_ROOM = 1.3
MOST_WRITTEN = 14
"""Tickets past which a panel is too dense for numbers; the table has them."""
PANELS_IN_ROW = 3

METHOD = (
    "Kappa is the agreement of two masks beyond what masks of the same densities share by chance: 0 is chance, 1 is "
    "equal, below 0 they avoid each other. The second number is the IoU of the kept weights, in brackets its chance "
    'level. "Layers" is kappa against random masks with the same density in every layer: masks of alike layer ratios overlap '
    "without one weight chosen alike. Only parameters that both masks have are compared."
)


def overlap_part(found: Mapping[str, Any], folder: Path) -> Html:
    """Return the heatmaps and the table of ``overlap_matrix``'s result; figures are written to ``folder``."""
    names = [str(name) for name in found.get("names") or []]
    pairs = [pair for pair in found.get("pairs") or [] if isinstance(pair, Mapping)]
    if len(names) < 2 or not pairs:
        return html.note("The overlap needs two tickets or more.")
    groups = [str(group) for group in found.get("groups") or [ALL]]
    parts = [html.paragraph(METHOD, css="quiet")]
    first = ALL if ALL in groups else groups[0]
    caption = "Kappa, IoU of the kept weights (its chance level), over all parameters that both masks have."
    parts.append(add_figure(folder, _heatmaps(found, [first], name="overlap"), caption))
    others = [group for group in groups if group != first]
    if others:
        drawing = _heatmaps(found, others, name="overlap_by_group")
        words = "Kappa by module group. Empty: no prunable parameters of this group in both masks."
        parts.append(html.details("By module group", add_figure(folder, drawing, words)))
    parts.append(html.details("Table of all pairs", html.table(overlap_table(found))))
    return html.join(parts)


def overlap_table(found: Mapping[str, Any]) -> Table:
    """Return one row per pair and group."""
    columns = (
        Column("first", "first"),
        Column("second", "second"),
        Column("group", "module group"),
        Column("kappa", "kappa", ".3f"),
        Column("layer_kappa", "kappa, layers", ".3f"),
        Column("iou", "IoU, kept", ".3f"),
        Column("chance", "IoU by chance", ".3f"),
        Column("density_first", "density of first", ".1%"),
        Column("density_second", "density of second", ".1%"),
    )
    rows = [
        [pair.get(column.key) for column in columns]
        for pair in found["pairs"]
        if pair.get("first") != pair.get("second")
    ]
    return make_table(columns, rows)


def _heatmaps(found: Mapping[str, Any], groups: Sequence[str], *, name: str) -> Drawing:
    names = [str(title) for title in found["names"]]
    single = len(groups) == 1
    across = 1 if single else min(PANELS_IN_ROW, len(groups))
    down = math.ceil(len(groups) / across)
    many = len(names) > MOST_WRITTEN
    detailed = single and not many
    # Of many tickets the names would run into each other below a panel: there their numbers stand.
    rows = (
        [f"{t} [{i}]" for i, t in enumerate(names, 1)]
        if many
        else [wrap(t, width=24) for t in names]
    )
    columns = [str(i) for i in range(1, len(names) + 1)] if many else rows
    turn: dict[str, Any] = (
        {"rotation": 90, "fontsize": 7} if many else {"rotation": 40, "ha": "right"}
    )
    side = (0.95 if detailed else 0.5) * len(names)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(down, across, squeeze=False)
        image = None
        for place, axes in enumerate(panels.flat):
            if place >= len(groups):
                axes.set_visible(False)
                continue
            image = _panel(axes, found, groups[place], detailed=single)
            axes.set_yticks(range(len(names)), rows if place % across == 0 else [])
            bottom = place + across >= len(groups)
            axes.set_xticks(range(len(names)), columns if bottom else [], **turn)
        if image is not None:
            bar = figure.colorbar(image, ax=panels, shrink=0.8, pad=0.015, aspect=24)
            bar.set_label("kappa (0: chance, 1: equal)")
            bar.outline.set_visible(False)

    width = max(6.4, 3.2 + across * side)
    height = 1.9 + down * ((0.62 if detailed else 0.38) * len(names) + 0.35)
    return render(name, draw, width=min(width, 13.0), height=height)


def _panel(axes: Axes, found: Mapping[str, Any], group: str, *, detailed: bool) -> AxesImage:
    names = [str(name) for name in found["names"]]
    known = _pairs(found, group)
    size = len(names)
    values = np.full((size, size), math.nan)
    for row in range(size):
        for column in range(size):
            pair = known.get((names[row], names[column]), {})
            values[row, column] = 1.0 if row == column else _number(pair.get("kappa"))
    image = axes.imshow(values, aspect="auto", cmap=DIVERGING_MAP, vmin=-MAP_ROOM, vmax=MAP_ROOM)
    axes.set_title("all parameters" if group == ALL else group)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if size > MOST_WRITTEN:
        return image
    for row in range(size):
        for column in range(size):
            if row != column and not math.isnan(values[row, column]):
                pair = known[names[row], names[column]]
                colour = "white" if abs(values[row, column]) > 0.7 else INK
                text = _text(pair, detailed=detailed)
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return image


def _text(pair: Mapping[str, Any], *, detailed: bool) -> str:
    if not detailed:
        return f"{_number(pair.get('kappa')):.2f}"
    overlap = f"{_number(pair.get('iou')):.2f} ({_number(pair.get('chance')):.2f})"
    layered = _number(pair.get("layer_kappa"))
    below = "" if math.isnan(layered) else f"\nlayers {layered:.2f}"
    return f"{_number(pair.get('kappa')):.2f}\n{overlap}{below}"


def _pairs(found: Mapping[str, Any], group: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the pairs of ``group`` in both orders; overlap is symmetric."""
    pairs = {}
    for pair in found["pairs"]:
        if pair.get("group") == group:
            pairs[str(pair["first"]), str(pair["second"])] = pair
            pairs[str(pair["second"]), str(pair["first"])] = pair
    return pairs


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
