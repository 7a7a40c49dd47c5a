"""Module-wise pruning: the table of the paper's Table 3 in shape, and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lth_det.reports.plots import Drawing, render
from lth_det.reports.run_data import GROUP_ORDER
from lth_det.reports.style import BLUE, INK, MUTED, ORANGE, PALE
from lth_det.reports.sweep_data import DENSE, Matrix, Target, metric_title, percent, wrap
from lth_det.reports.tables import Cell, Column, Table, make_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

YES, NO = "x", "-"


def module_entries(matrix: Matrix, target: Target) -> list[Mapping[str, Any]]:
    """Return the rows of ``target`` in its own metric: dense first, then by share of parameters."""
    rows = [
        row
        for row in matrix.raw.get("modules", [])
        if (row["target"], row["metric"]) == (target.name, target.metric)
    ]
    return sorted(
        rows,
        key=lambda row: (row["source"] != DENSE, row["parameter_share"] or 0.0, row["prune_rate"]),
    )


def modules_table(matrix: Matrix, target: Target) -> Table:
    """Return one row per module subset: which groups, share of parameters, sparsity, mean and std, difference to dense."""
    rows = module_entries(matrix, target)
    rank = {group: place for place, group in enumerate(GROUP_ORDER)}
    groups = sorted(
        {group for row in rows for group in row["groups_pruned"]},
        key=lambda group: (rank.get(group, len(rank)), group),
    )
    columns = [
        *(Column(group, group) for group in groups),
        Column("parameter_share", "parameters", ".2%"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("sparsity", "sparsity", ".2%"),
        Column("n", "seeds", "d"),
        Column("mean", metric_title(target.metric), ".2f"),
        Column("std", "seed std", ".2f"),
        Column("minus_dense", "minus dense", "+.2f"),
        Column("low", "from", "+.2f"),
        Column("high", "to", "+.2f"),
        Column("p_holm", "p, corrected", ".2g"),
    ]
    return make_table(columns, [_row(row, groups) for row in rows])


def modules_figure(matrix: Matrix, target: Target, *, name: str) -> Drawing | None:
    """Draw the difference to dense of every subset with its 95 % interval, beside its share of the parameters.

    ``None`` without a subset that can be compared with dense.
    """
    rows = [row for row in module_entries(matrix, target) if row["vs_dense"] is not None]
    if not rows:
        return None

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.5))
        _shares(left, rows)
        _changes(right, rows)
        many = len({row["prune_rate"] for row in rows}) > 1
        titles = [_title(row, with_rate=many) for row in rows]
        left.set_yticks(range(len(rows)), titles)
        left.set_ylim(len(rows) - 0.4, -0.6)
        right.set_title(f"{metric_title(target.metric)} minus dense")
        figure.legend(loc="outside lower center", ncols=4)

    return render(name, draw, width=9.6, height=1.5 + 0.34 * len(rows))


def _row(row: Mapping[str, Any], groups: Sequence[str]) -> list[Cell]:
    against = row["vs_dense"] or {}
    return [
        *(YES if group in row["groups_pruned"] else NO for group in groups),
        row["parameter_share"],
        row["prune_rate"],
        row["sparsity"],
        row["n"],
        row["mean"],
        row["std"],
        against.get("mean"),
        against.get("low"),
        against.get("high"),
        row["p_holm"],
    ]


def _shares(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Share of the network")
    places = range(len(rows))
    shares = [100 * (row["parameter_share"] or 0.0) for row in rows]
    axes.barh(places, shares, color=PALE, height=0.62, label="prunable weights of the groups")
    sparsity = [100 * (row["sparsity"] or 0.0) for row in rows]
    axes.barh(places, sparsity, color=ORANGE, height=0.28, label="sparsity of the network")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 104)
    axes.set_xlabel("all parameters (%)")


def _changes(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.axvline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    labels = {"mean": "difference to dense, 95 % interval", "seed": "one seed"}
    for place, row in enumerate(rows):
        found = row["vs_dense"]
        if found["low"] is not None:
            axes.hlines(place, found["low"], found["high"], color=BLUE, linewidth=1.8)
        seeds = list(found["values"].values()) if found["n"] > 1 else []
        if seeds:
            label = labels.pop("seed", "")
            axes.plot(seeds, [place] * len(seeds), "|", color=MUTED, markersize=8, label=label)
        axes.plot(
            found["mean"],
            place,
            marker="o",
            color=BLUE,
            markerfacecolor="white" if found["low"] is None else BLUE,
            linestyle="none",
            label=labels.pop("mean", ""),
        )
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    axes.set_xlabel("difference (points)")


def _title(row: Mapping[str, Any], *, with_rate: bool) -> str:
    # Two lines, because the last group of a subset says as much as the first.
    name = wrap(str(row["label"]), width=40, lines=2)
    return f"{name}  {percent(row['prune_rate'])}" if with_rate else name
