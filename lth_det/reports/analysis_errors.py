"""Figures of error types: TIDE for boxes and masks, keypoint errors, and sensitivity to attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_det.reports.analysis_data import Analysis, interval, number, part, points, task_name
from lth_det.reports.analysis_strata import shown_models, styles_of, whiskers
from lth_det.reports.plots import Drawing, render
from lth_det.reports.style import INK, MUTED, SEQUENTIAL_MAP, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIDE_TYPES = {
    "cls": "classification",
    "loc": "localisation",
    "both": "both",
    "dupe": "duplicate",
    "bkg": "background",
    "miss": "missed",
}
SPECIAL_TYPES = {"false_positive": "false positives", "false_negative": "false negatives"}
DARK_SHARE = 75.0
"""Percent past which the colour of a cell asks for white letters."""
KEYPOINT_TYPES = ("good", "jitter", "inversion", "swap", "miss")


def error_types(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw the error types of the shown models; ``None`` when the analysis has none."""
    models = [
        name
        for name in shown_models(analysis, iou_type)
        if part(analysis.scores(name, iou_type), "errors")
    ]
    if not models:
        return None
    kind = part(analysis.scores(models[0], iou_type), "errors").get("kind")
    return (_keypoints if kind == "keypoints" else _tide)(analysis, iou_type, models)


def sensitivity(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw, per attribute, the lowest and highest normalised AP over its bins (Hoiem et al. 2012), models side by side."""
    models = shown_models(analysis, iou_type)
    names = list(part(analysis.scores(models[0], iou_type), "sensitivity"))
    if not names:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        step = 0.7 / len(models)
        for index, (model, style) in enumerate(styles_of(analysis, models).items()):
            ranges = part(analysis.scores(model, iou_type), "sensitivity")
            shift = (index - (len(models) - 1) / 2) * step
            for place, name in enumerate(names):
                _range(axes, place + shift, ranges.get(name), colour=style.colour)
            axes.plot([], [], color=style.colour, linewidth=2, label=analysis.title(model))
        axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("normalised AP (0-100)")
        axes.set_title(f"{task_name(iou_type)}: lowest and highest bin of each attribute")
        figure.legend(loc="outside lower center", ncols=4)

    return render(f"{iou_type}_sensitivity", draw, width=max(7.2, 1.25 * len(names)), height=3.8)


def keypoints_by_name(analysis: Analysis, iou_type: str) -> Drawing | None:
    """Draw the share of good keypoints, one row per keypoint and one column per model; ``None`` without keypoints."""
    models = shown_models(analysis, iou_type)
    found = [part(analysis.scores(m, iou_type), "errors", "by_keypoint") for m in models]
    names = list(found[0])
    if not names:
        return None
    values = [
        [100 * number(part(by_name, name).get("good")) for by_name in found] for name in names
    ]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(values, cmap=SEQUENTIAL_MAP, vmin=0, vmax=130, aspect="auto")
        for row, shares in enumerate(values):
            for column, share in enumerate(shares):
                text = "n/a" if math.isnan(share) else f"{share:.0f}"
                colour = "white" if share > DARK_SHARE else INK
                axes.text(column, row, text, ha="center", va="center", color=colour)
        axes.set_xticks(range(len(models)), [analysis.title(name) for name in models])
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.set_title("Good keypoints (%)")

    return render(f"{iou_type}_by_keypoint", draw, width=7.2, height=1.2 + 0.27 * len(names))


def _tide(analysis: Analysis, iou_type: str, models: Sequence[str]) -> Drawing:
    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 1.15), sharey=True)
        _tide_bars(left, analysis, iou_type, models=models, group="types", names=TIDE_TYPES)
        _tide_bars(right, analysis, iou_type, models=models, group="special", names=SPECIAL_TYPES)
        left.set_title(f"{task_name(iou_type)}: AP50 that each error type costs (TIDE)")
        right.set_title("in all")
        left.set_ylabel("dAP50 (points)")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return render(f"{iou_type}_errors", draw, width=9.6, height=3.9)


def _tide_bars(
    axes: Axes,
    analysis: Analysis,
    iou_type: str,
    *,
    models: Sequence[str],
    group: str,
    names: dict[str, str],
) -> None:
    step = 0.8 / len(models)
    for index, (model, style) in enumerate(styles_of(analysis, models).items()):
        values = part(analysis.scores(model, iou_type), "errors", group)
        for place, name in enumerate(names):
            cost = points(number(part(values, name).get("dAP")))
            low, high = interval(part(values, name).get("interval"))
            if math.isnan(cost):
                continue
            axes.bar(
                place + (index - (len(models) - 1) / 2) * step,
                cost,
                width=0.92 * step,
                color=style.colour,
                hatch=style.hatch,
                edgecolor="white",
                linewidth=0,
                yerr=None if math.isnan(low) else whiskers(cost, (points(low), points(high))),
                error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 1.5},
                label=analysis.title(model) if place == 0 else None,
            )
    axes.set_xticks(range(len(names)), list(names.values()))
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.grid(visible=False, axis="x")


def _keypoints(analysis: Analysis, iou_type: str, models: Sequence[str]) -> Drawing:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = [0.0] * len(models)
        for kind, style in zip(KEYPOINT_TYPES, SERIES, strict=False):
            shares = [
                number(part(analysis.scores(m, iou_type), "errors", "types", kind).get("share"))
                for m in models
            ]
            widths = [0.0 if math.isnan(share) else 100 * share for share in shares]
            bars = axes.barh(
                range(len(models)),
                widths,
                left=left,
                height=0.62,
                color=style.colour,
                hatch=style.hatch,
                edgecolor="white",
                linewidth=0,
                label=kind,
            )
            axes.bar_label(
                bars,
                [f"{width:.0f}" if width >= 4 else "" for width in widths],
                label_type="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(models)), [analysis.title(name) for name in models])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the labelled keypoints of matched objects (%)", color=MUTED)
        axes.set_title("Keypoints: what happened to them")
        figure.legend(loc="outside lower center", ncols=5)

    return render(f"{iou_type}_errors", draw, width=8.4, height=1.7 + 0.45 * len(models))


def _range(axes: Axes, place: float, found: object, *, colour: str) -> None:
    """Draw one attribute of one model from ``{"lowest": [bin, APn], "highest": [bin, APn]}``."""
    ends = [part(found).get(key) for key in ("lowest", "highest")]
    values = [
        points(number(end[1])) if isinstance(end, list | tuple) and len(end) == 2 else math.nan
        for end in ends
    ]
    if any(math.isnan(value) for value in values):
        return
    axes.vlines(place, values[0], values[1], color=colour, linewidth=2)
    axes.plot(place, values[0], marker="v", color=colour, markersize=5)
    axes.plot(place, values[1], marker="^", color=colour, markersize=5)
