"""The early-bird curve: overlap of the mask along training with the final mask, beside chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lth_det.reports import html
from lth_det.reports.figure_files import add_figure
from lth_det.reports.html import Html
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import GREEN, INK, MUTED, SERIES
from lth_det.reports.sweep_data import percent
from lth_det.reports.tables import Column, Table, make_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEPT, PRUNED = SERIES[0], SERIES[1]
LEFT_OUT: Final = ("iteration", "groups", "ticket", "to")

METHOD = (
    "IoU of the mask at an iteration with the final mask, separately for the kept and for the pruned weights. At a high "
    "prune rate two random masks already share most of their pruned weights: the dashed lines are the IoU that chance "
    "gives. Kappa corrects for it: 0 is chance, 1 is the final mask; where chance keeps the densities of every layer, it is "
    "lower."
)


def early_bird_part(found: Mapping[str, Any], folder: Path, *, name: str = "early_bird") -> Html:
    """Return the curve, what it says in a sentence, and its table, from the content of ``early_bird.json``.

    The figure is written to ``folder`` as ``name`` with its suffixes; a file without points becomes a note.
    """
    points = _points(found)
    if not points:
        return html.note("The early-bird record has no point.")
    drawing = early_bird_figure(found, name=name)
    caption = "Overlap of the mask with the final mask along training. Dashed: chance level."
    table = early_bird_table(found)
    parts = [
        html.paragraph(stable_sentence(found), css="lead"),
        add_figure(folder, drawing, caption),
    ]
    parts += [
        html.paragraph(METHOD, css="quiet"),
        html.details("Table of all points", html.table(table)),
    ]
    return html.join(parts)


def stable_sentence(found: Mapping[str, Any]) -> str:
    """Return in words when the mask became stable."""
    final, stable = found.get("final_iteration"), found.get("stable_at")
    rate = found.get("prune_rate")
    what = (
        f"The mask at prune rate {percent(rate)}" if isinstance(rate, int | float) else "The mask"
    )
    if stable is None:
        return f"{what} did not become stable in the {final or 'recorded'} iterations."
    share = f", {100 * stable / final:.0f} % of the way to the final mask" if final else ""
    return f"{what} is stable from iteration {stable} on{share}."


def early_bird_figure(found: Mapping[str, Any], *, name: str) -> Drawing:
    """Draw IoU of kept and pruned sets with their chance levels, and kappa; over all parameters, and kappa by group."""
    points = _points(found)
    groups = sorted({group for point in points for group in _groups(point)})

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 3 if groups else 2)
        _overlap(axes[0], points)
        _kappa(axes[1], points, [""], title="Kappa: overlap beyond chance")
        if groups:
            _kappa(axes[2], points, groups, title="Kappa by module group")
        for panel in axes:
            panel.set_xlabel("iteration")
            _stable(panel, found)
            panel.set_ylim(top=1.03)
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, handlelength=2.4)

    return render(name, draw, width=12.0 if groups else 9.0, height=4.3 + 0.16 * (len(groups) // 2))


def early_bird_table(found: Mapping[str, Any]) -> Table:
    """Return one row per recorded iteration."""
    points = _points(found)
    keys = [
        key
        for key in dict.fromkeys(key for point in points for key in point)
        if key not in LEFT_OUT and any(isinstance(point.get(key), int | float) for point in points)
    ]
    columns = [Column("iteration", "iteration", "d")]
    columns += [Column(key, key.replace("_", " "), ".3f") for key in keys]
    rows = [[point["iteration"], *(point.get(key) for key in keys)] for point in points]
    return make_table(columns, rows)


def _overlap(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("IoU with the final mask")
    places = [point["iteration"] for point in points]
    for style, part in ((KEPT, "kept"), (PRUNED, "pruned")):
        values = _column(points, f"iou_{part}")
        axes.plot(places, values, color=style.colour, marker=style.marker, label=f"{part} weights")
        chance = _column(points, f"chance_{part}")
        axes.plot(
            places,
            chance,
            color=style.colour,
            linestyle=(0, (4, 3)),
            linewidth=1.2,
            label=f"{part}, chance",
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("IoU")


def _kappa(
    axes: Axes, points: Sequence[Mapping[str, Any]], groups: Sequence[str], *, title: str
) -> None:
    axes.set_title(title)
    places = [point["iteration"] for point in points]
    for index, group in enumerate(groups):
        chosen = [point if not group else _groups(point).get(group, {}) for point in points]
        style = SERIES[index % len(SERIES)] if group else SERIES[2]
        axes.plot(
            places,
            _column(chosen, "kappa"),
            color=style.colour if index < len(SERIES) else MUTED,
            marker=style.marker,
            linestyle=style.line if group else "-",
            markersize=5,
            label=group or "all prunable weights",
        )
    layered = _column(points, "layer_kappa")
    if not any(groups) and not all(math.isnan(value) for value in layered):
        look = SERIES[3]
        label = "beyond equal layer densities"
        axes.plot(
            places, layered, color=look.colour, marker=look.marker, linestyle=":", label=label
        )
    axes.axhline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.0, label="chance")


def _stable(axes: Axes, found: Mapping[str, Any]) -> None:
    stable = found.get("stable_at")
    if stable is not None:
        axes.axvline(
            stable, color=GREEN, linewidth=1.4, linestyle=(0, (1, 1)), label=f"stable at {stable}"
        )


def _points(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = found.get("points")
    known = [p for p in listed if isinstance(p, Mapping)] if isinstance(listed, list) else []
    points = [p for p in known if isinstance(p.get("iteration"), int | float)]
    return sorted(points, key=lambda point: point["iteration"])


def _groups(point: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    groups = point.get("groups")
    return groups if isinstance(groups, Mapping) else {}


def _column(points: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    values = [point.get(key) for point in points]
    return [float(v) if isinstance(v, int | float) else math.nan for v in values]
