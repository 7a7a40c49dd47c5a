"""Sections of a run's page for what its method did: transformation, gradual pruning, early-bird masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_det.errors import RunError
from lth_det.reports import html
from lth_det.reports.early_bird_part import early_bird_part
from lth_det.reports.figure_files import add_figure
from lth_det.reports.html import Html, Section
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import SERIES
from lth_det.reports.tables import Column, make_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESIDUAL = (
    "Residual: norm of the weights to be pruned / norm of all weights of the mask, that is what the hard mask takes away. "
    "If it is not small at the end, the transformation was too short or too weak."
)


def method_sections(folder: Path, work: Path) -> list[Section]:
    """Return the sections for the method of the run in ``folder``; none for plain IMP.

    Args:
        folder: the run, with ``results.json`` and perhaps ``early_bird.json``.
        work: the report's folder; figures are written there.

    Raises:
        RunError: ``early_bird.json`` is damaged.
    """
    sections = []
    for record in _read(folder / "results.json").get("rounds") or []:
        if isinstance(record.get("transform"), dict):
            body = _transform_part(record["transform"], work)
            sections.append(Section("transformation", "Transformation", body))
        if isinstance(record.get("gradual"), dict):
            body = _gradual_part(record["gradual"], work)
            sections.append(Section("gradual", "Gradual pruning", body))
    if (folder / "early_bird.json").exists():
        body = early_bird_part(_read(folder / "early_bird.json"), work)
        sections.append(Section("early-bird", "Early-bird masks", body))
    return sections


def _transform_part(transform: Mapping[str, Any], work: Path) -> Html:
    cycles = transform.get("cycles_done") or []
    columns = (
        Column("cycle", "cycle", "d"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("iterations", "iterations", ",d"),
        Column("planned", "planned", ",d"),
        Column("residual_start", "residual, start", ".4f"),
        Column("residual_end", "residual, end", ".4f"),
    )
    keys = ("cycle", "prune_rate", "iterations", "planned_iterations", "residual_start", "residual_end")  # fmt: skip
    table = make_table(columns, ([cycle.get(key) for key in keys] for cycle in cycles))
    words = (
        f"Preset {transform.get('preset')}, {transform.get('penalty')} penalty up to {transform.get('ceiling')}, "
        f"ramp {transform.get('ramp')} and hold {transform.get('hold')} iterations a cycle, ratios {transform.get('ratios')}."
    )
    curves = [
        (f"cycle {cycle.get('cycle')}", [(point[0], point[2]) for point in cycle["residuals"]])
        for cycle in cycles
    ]
    drawing = _curves("rst_residual", curves, label="residual norm")
    figure = add_figure(work, drawing, "Residual norm along the transformation.")
    return html.join(
        [
            html.paragraph(words, css="lead"),
            figure,
            html.table(table),
            html.paragraph(_RESIDUAL, css="quiet"),
        ]
    )


def _gradual_part(gradual: Mapping[str, Any], work: Path) -> Html:
    points = [(done, 100 * rate) for done, rate in gradual.get("prunings") or []]
    words = (
        f"{len(points)} prunings, one each {gradual.get('period')} iterations, from {gradual.get('begin')} to "
        f"{gradual.get('end')} of the training, along a cubic curve (Zhu & Gupta 2017)."
    )
    drawing = _curves("gradual_prune_rate", [("mask", points)], label="prune rate (%)")
    return html.join(
        [
            html.paragraph(words, css="lead"),
            add_figure(work, drawing, "Prune rate of the mask along the training."),
        ]
    )


def _curves(
    name: str, curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, label: str
) -> Drawing:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (title, points) in enumerate(curves):
            style = SERIES[index % len(SERIES)]
            axes.plot(
                [place for place, _ in points],
                [value for _, value in points],
                color=style.colour,
                marker=style.marker,
                label=title,
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("iteration")
        axes.set_ylabel(label)
        if len(curves) > 1:
            axes.legend()

    return render(name, draw, width=7.0, height=3.6)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); run the same command again.") from error
    return content if isinstance(content, dict) else {}
