"""Figures of where weights were pruned: by module group and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.run_data import LayerResult, RoundResult
from lth_det.reports.style import BLUE, INK, PALE, SEQUENTIAL_MAP, SERIES, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_TICKS = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)

MAP_ROOM = 1.25
"""The darkest colours are left unused, so that numbers can be read on all."""


def groups(models: Sequence[RoundResult]) -> Drawing | None:
    """Draw sparsity per module group for each model, and kept / pruned counts for the last one.

    Past six models, six of them are drawn, evenly spread, the first and the last included.
    ``None`` when no model has groups.
    """
    shown = [model for model in models if model.groups]
    if not shown:
        return None
    names = list(shown[-1].groups)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
        _group_dots(left, _spread_evenly(shown, len(SERIES)), names)
        _group_counts(right, shown[-1], names)
        left.set_yticks(range(len(names)), names)
        left.invert_yaxis()
        # Legends of the figure: below an axis of few groups they would cover its title.
        dots, counts = left.get_legend_handles_labels(), right.get_legend_handles_labels()
        figure.legend(*dots, loc="outside lower left", ncols=2)
        figure.legend(*counts, loc="outside lower right", ncols=3)

    return render("groups", draw, width=9.6, height=1.7 + 0.36 * len(names))


def layers(models: Sequence[RoundResult]) -> Drawing | None:
    """Draw the sparsity of every prunable layer as a heatmap, one column per model; ``None`` without layers.

    Colours follow ``sparsity_position``: equal steps of colour are equal shares of the remaining weights.
    """
    shown = [model for model in models if model.layers]
    if not shown:
        return None
    rows = [layer for layer in shown[-1].layers if layer.prunable]
    if not rows:
        return None
    values = _layer_values(shown, rows)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.vectorize(sparsity_position)(values)
        end = max(float(np.nanmax(places)), 1.0)
        image = axes.imshow(places, aspect="auto", cmap=SEQUENTIAL_MAP, vmin=0, vmax=MAP_ROOM * end)
        axes.set_xticks(range(len(shown)), [_column_title(model) for model in shown])
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(rows)), [_layer_title(layer) for layer in rows])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _write_values(axes, values, dark=0.8 * end)
        _group_rules(axes, rows)
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 8 / len(rows)), pad=0.015, aspect=12)
        ticks = [tick for tick in COLOUR_TICKS if sparsity_position(tick) <= end]
        bar.set_ticks(
            [sparsity_position(tick) for tick in ticks], labels=[f"{100 * t:g}" for t in ticks]
        )
        bar.set_label("sparsity of the layer (%)")
        bar.outline.set_visible(False)

    return render("layers", draw, width=9.6, height=1.2 + 0.215 * len(rows))


def _spread_evenly(models: Sequence[RoundResult], most: int) -> list[RoundResult]:
    if len(models) <= most:
        return list(models)
    places = np.linspace(0, len(models) - 1, most).round().astype(int)
    return [models[place] for place in places]


def _group_dots(axes: Axes, models: Sequence[RoundResult], names: Sequence[str]) -> None:
    axes.set_title("Sparsity of each module group")
    for index, model in enumerate(models):
        style = SERIES[index % len(SERIES)]
        axes.plot(
            [sparsity_position(_share(model, name)) for name in names],
            range(len(names)),
            color=style.colour,
            marker=style.marker,
            linestyle="none",
            markersize=7,
            label=f"{model.title} ({100 * model.sparsity:.1f} %)",
        )
    shares = [_share(model, name) for model in models for name in names]
    sparsity_axis(axes, max((share for share in shares if share < 1), default=0.0))
    axes.set_xlabel("sparsity of the group (%)")


def _group_counts(axes: Axes, model: RoundResult, names: Sequence[str]) -> None:
    axes.set_title(f"Parameters after {model.title}")
    counts = np.array(
        [[_count(model, name, key) for key in ("total", "prunable", "pruned")] for name in names],
        dtype=float,
    ).reshape(-1, 3)
    total, prunable, pruned = counts.T / 1e6
    places = range(len(names))
    axes.barh(places, prunable - pruned, color=BLUE, height=0.6, label="kept")
    axes.barh(
        places,
        total - prunable,
        left=prunable - pruned,
        color=SKY,
        height=0.6,
        hatch="\\\\\\\\",
        edgecolor="white",
        linewidth=0,
        label="kept, not prunable",
    )
    axes.barh(
        places,
        pruned,
        left=total - pruned,
        color=PALE,
        hatch="////",
        edgecolor="white",
        linewidth=0,
        height=0.6,
        label="pruned",
    )
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("parameters (millions)")


def _share(model: RoundResult, name: str) -> float:
    value = model.groups.get(name, {}).get("sparsity")
    return float(value) if isinstance(value, int | float) else float("nan")


def _count(model: RoundResult, name: str, key: str) -> float:
    value = model.groups.get(name, {}).get(f"{key}_parameters")
    return float(value) if isinstance(value, int | float) else 0.0


def _layer_values(models: Sequence[RoundResult], rows: Sequence[LayerResult]) -> np.ndarray:
    """Return (layers, models) sparsities (0-1), NaN where a model lacks a layer."""
    values = np.full((len(rows), len(models)), np.nan)
    for column, model in enumerate(models):
        known = {layer.name: layer for layer in model.layers}
        for row, layer in enumerate(rows):
            if layer.name in known:
                values[row, column] = known[layer.name].sparsity
    return values


def _write_values(axes: Axes, values: np.ndarray, *, dark: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if sparsity_position(value) > dark else INK
            axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour)


def _group_rules(axes: Axes, rows: Sequence[LayerResult]) -> None:
    for index in range(1, len(rows)):
        if rows[index].group != rows[index - 1].group:
            axes.axhline(index - 0.5, color="white", linewidth=2.5)


def _column_title(model: RoundResult) -> str:
    return f"{model.title}\n{100 * model.sparsity:.1f} %"


def _layer_title(layer: LayerResult) -> str:
    short = layer.name.removesuffix(".weight")
    return f"{short}  ({_short_count(layer.total_parameters)})"


def _short_count(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.1f}k" if count >= 1000 else str(count)
