"""Bars of the change per class, sorted by frequency and by difficulty (the paper's Figure 5, with intervals)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lth_det.reports.analysis_data import (
    Analysis,
    Interval,
    interval,
    number,
    part,
    points,
    task_name,
)
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FADED = 0.38
WHISKER_ROOM = 1.3
FEW = 12
MOST_LABELS = 120


@dataclass(frozen=True)
class ClassChange:
    """The change of one class for one model.

    Attributes:
        name: class name.
        change: AP points (0-100 scale); NaN when not computable.
        bounds: its interval in points.
        significant: after correction over classes.
        thin: few objects.
        objects: objects in the evaluated set.
        count: images of the training set with the class; objects of the evaluated set when that is not known.
        reference_ap: AP of the reference, 0-100.
    """

    name: str
    change: float
    bounds: Interval
    significant: bool
    thin: bool
    objects: float
    count: float
    reference_ap: float


def class_changes(analysis: Analysis, model: str, iou_type: str) -> list[ClassChange]:
    """Return the change of every class of which ``model`` and the reference have an AP."""
    deltas = part(analysis.comparison(model, iou_type), "by_category")
    classes = part(analysis.scores(str(analysis.reference), iou_type), "by_category")
    found = []
    for name, delta in deltas.items():
        facts = part(classes, name)
        low, high = interval(part(delta).get("interval"))
        change = points(number(part(delta).get("delta")))
        if math.isnan(change):
            continue
        found.append(
            ClassChange(
                name=name,
                change=change,
                bounds=(points(low), points(high)),
                significant=part(delta).get("significant") is True,
                thin=bool(part(delta).get("thin")),
                objects=number(facts.get("objects")),
                count=_count(facts),
                reference_ap=points(number(part(delta).get("reference"))),
            )
        )
    return found


def bars(analysis: Analysis, model: str, iou_type: str) -> Drawing | None:
    """Draw the change per class twice: rare to frequent, and hard to easy (past ``MOST_LABELS`` classes without names); ``None`` with fewer than two classes."""
    found = class_changes(analysis, model, iou_type)
    if len(found) < 2:
        return None
    counted = "training images" if _has_training(analysis) else "evaluated objects"

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharey=True)
        # Whiskers of classes with few objects can be many times the bars; they may run off the axes.
        largest = max(abs(item.change) for item in found) or 1.0
        upper.set_ylim(-WHISKER_ROOM * largest, WHISKER_ROOM * largest)
        title = f"{task_name(iou_type)} AP change per class, {analysis.title(model)}"
        by_count = sorted(found, key=lambda c: (_last_if_nan(c.count), c.name))
        _panel(upper, by_count, [f"{c.name} ({c.count:.0f})" for c in by_count])
        upper.set_title(f"{title}: rare to frequent ({counted} in brackets)")
        by_ap = sorted(found, key=lambda c: (_last_if_nan(c.reference_ap), c.name))
        _panel(lower, by_ap, [f"{c.name} ({c.reference_ap:.0f})" for c in by_ap])
        lower.set_title(f"{title}: hard to easy (AP of {analysis.reference} in brackets)")
        _legend(figure)

    width = min(18.0, max(7.2, 0.19 * len(found) + 1.4))
    name = f"{iou_type}_classes_{file_name(model)}"
    return render(name, draw, width=width, height=8.2)


def file_name(text: str) -> str:
    """Return ``text`` with everything but letters, digits and hyphens as ``_``, for the name of a file."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else "_" for c in text)


def _has_training(analysis: Analysis) -> bool:
    return bool(part(analysis.raw, "inputs").get("train_gt"))


def _count(facts: Mapping[str, object]) -> float:
    count = number(facts.get("train_images"))
    return number(facts.get("objects")) if math.isnan(count) else count


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _panel(axes: Axes, classes: Sequence[ClassChange], labels: Sequence[str]) -> None:
    places, values = range(len(classes)), [item.change for item in classes]
    bars = axes.bar(places, values, width=0.78, color=[_colour(item) for item in classes])
    for bar, item in zip(bars, classes, strict=True):
        if item.thin:
            bar.set(hatch="////", edgecolor="white", linewidth=0)
    bounds = [item.bounds for item in classes]
    axes.vlines(
        places, [low for low, _ in bounds], [high for _, high in bounds], color=INK, linewidth=0.8
    )
    axes.axhline(0, color=INK, linewidth=0.9)
    if len(classes) > MOST_LABELS:
        labels = [""] * len(classes)
    few = len(classes) <= FEW
    axes.set_xticks(
        places,
        labels,
        rotation=25 if few else 90,
        ha="right" if few else "center",
        rotation_mode="anchor" if few else "default",
    )
    axes.set_xlim(-0.7, len(classes) - 0.3)
    axes.set_ylabel("AP change (points)")
    axes.grid(visible=False, axis="x")


def _colour(item: ClassChange) -> tuple[str, float]:
    style = SERIES[0] if item.change >= 0 else SERIES[1]
    # With few objects the bootstrap sees too few images to vary: no such class is shown as significant.
    return style.colour, 1.0 if item.significant and not item.thin else FADED


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    gain, loss = SERIES[0].colour, SERIES[1].colour
    figure.legend(
        handles=[
            Patch(color=gain, label="gain, significant"),
            Patch(color=gain, alpha=FADED, label="gain, not significant"),
            Patch(color=loss, label="loss, significant"),
            Patch(color=loss, alpha=FADED, label="loss, not significant"),
            Patch(facecolor="white", edgecolor=INK, hatch="////", linewidth=0, label="few objects"),
        ],
        loc="outside lower center",
        ncols=3,
    )
