"""The tables of a sweep: one row per source, target, prune rate and metric; and the matrix of means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lth_det.reports.sweep_data import (
    DENSE,
    NO_RESULT,
    Matrix,
    Target,
    metric_title,
    percent,
)
from lth_det.reports.tables import Cell, Column, Table, escape_latex, make_table

LATEX_RULE = (
    "Mean over seeds $\\pm$ seed standard deviation ($n - 1$). Bold: highest mean of the column among the tickets and "
    "controls of like network sparsity. A star: it leads the second by more than seed noise (Tukey--Kramer 95 \\% interval above 0). "
    "A dash: the plan has no such cell."
)


def all_rows(matrix: Matrix, *, metrics: Sequence[str] = ()) -> Table:
    """Return one row per source, target, prune rate and metric; ``metrics`` empty: all of them.

    Differences carry the interval by pooled noise and the one by their own pairs (``unpooled``).
    """
    columns = [
        Column("source", "source"),
        Column("target", "target"),
        Column("metric", "metric"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("sparsity", "sparsity", ".1%"),
        Column("n", "seeds", "d"),
        Column("mean", "mean", ".2f"),
        Column("std", "seed std", ".2f"),
        *_difference_columns("dense"),
        *_difference_columns("random"),
    ]
    named = {target.name: target.label for target in matrix.targets}
    rows = [
        (
            matrix.labels.get(row["source"], row["source"]),
            named.get(row["target"], row["target"]),
            row["metric"],
            row["prune_rate"],
            row["sparsity_mean"],
            row["n"],
            row["mean"],
            row["std"],
            *_difference_cells(row["vs_dense"]),
            *_difference_cells(row["vs_random"]),
        )
        for row in matrix.rows.values()
        if not metrics or row["metric"] in metrics
    ]
    return make_table(columns, rows)


def shown_rows(matrix: Matrix) -> Table:
    """Return the rows in the targets' own metrics without the unpooled intervals, for the page and the Markdown file."""
    own = {(target.label, target.metric) for target in matrix.targets}
    table = all_rows(matrix)
    place = {column.key: index for index, column in enumerate(table.columns)}
    kept = [
        i for i, c in enumerate(table.columns) if "unpooled" not in c.key and c.key != "n_random"
    ]
    rows = [
        [row[index] for index in kept]
        for row in table.rows
        if (row[place["target"]], row[place["metric"]]) in own
    ]
    return make_table([table.columns[index] for index in kept], rows)


def values_table(matrix: Matrix) -> Table:
    """Return every single value: one row per source, target, prune rate, metric and seed."""
    columns = (
        Column("source", "source"),
        Column("target", "target"),
        Column("metric", "metric"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("seed", "seed", "d"),
        Column("value", "value", ".2f"),
    )
    rows = [
        (row["source"], row["target"], row["metric"], row["prune_rate"], int(seed), value)
        for row in matrix.rows.values()
        for seed, value in row["values"].items()
    ]
    return make_table(columns, rows)


def wide_table(matrix: Matrix) -> Table:
    """Return the matrix for people: one row per source, one column per target and prune rate, ``mean +- std (n)``.

    ``no result`` stands where the plan has a cell that no seed has finished, a dash where it has none.
    """
    places = _places(matrix)
    columns = [Column("source", "source")]
    for target, rate in places:
        title = f"{target.label}, {metric_title(target.metric)}, {percent(rate)}"
        columns.append(Column(f"{target.name}@{rate:g}", title))
    rows: list[list[Cell]] = []
    for name in [DENSE, *matrix.used_sources()]:
        cells = [_mean_std(matrix, name, target, rate) for target, rate in places]
        rows.append([matrix.labels[name], *cells])
    return make_table(columns, rows)


def to_latex_matrix(matrix: Matrix) -> str:
    """Return the matrix as a LaTeX ``table`` with ``booktabs`` rules, its rule for bold in the caption."""
    places = _places(matrix)
    rates = matrix.rates()
    head = " & ".join(
        ["", *(rf"\multicolumn{{{len(rates)}}}{{c}}{{{_latex_title(t)}}}" for t in matrix.targets)]
    )
    rules = " ".join(
        rf"\cmidrule(lr){{{2 + i * len(rates)}-{1 + (i + 1) * len(rates)}}}"
        for i in range(len(matrix.targets))
    )
    below = ["source", *(escape_latex(percent(rate)) for _, rate in places)]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex_caption(matrix)}}}"]
    lines += [rf"\label{{tab:{_label(matrix)}}}", rf"\begin{{tabular}}{{l{'c' * len(places)}}}"]
    lines += [r"\toprule", head + r" \\", rules, " & ".join(below) + r" \\", r"\midrule"]
    for name in [DENSE, *matrix.used_sources()]:
        cells = [_latex_cell(matrix, name, target, rate) for target, rate in places]
        lines.append(" & ".join([escape_latex(matrix.labels[name]), *cells]) + r" \\")
        if name == DENSE:
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _difference_columns(name: str) -> list[Column]:
    return [
        Column(f"minus_{name}", f"minus {name}", "+.2f"),
        Column(f"low_{name}", "from", "+.2f"),
        Column(f"high_{name}", "to", "+.2f"),
        Column(f"n_{name}", "pairs", "d"),
        Column(f"low_unpooled_{name}", "from (unpooled)", "+.2f"),
        Column(f"high_unpooled_{name}", "to (unpooled)", "+.2f"),
    ]


def _difference_cells(found: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    keys = ("mean", "low", "high", "n", "low_unpooled", "high_unpooled")
    return (None,) * len(keys) if found is None else tuple(found[key] for key in keys)


def _places(matrix: Matrix) -> list[tuple[Target, float]]:
    return [(target, rate) for target in matrix.targets for rate in matrix.rates()]


def _found(matrix: Matrix, name: str, target: Target, rate: float) -> Mapping[str, Any] | None:
    return matrix.dense(target) if name == DENSE else matrix.row(name, target, rate)


def _mean_std(matrix: Matrix, name: str, target: Target, rate: float) -> str:
    row = _found(matrix, name, target, rate)
    if row is None:
        return matrix.empty_word(name, target, rate)
    spread = "" if row["std"] is None else f" \u00b1 {row['std']:.2f}"
    return f"{row['mean']:.2f}{spread} ({row['n']})"


def _latex_cell(matrix: Matrix, name: str, target: Target, rate: float) -> str:
    row = _found(matrix, name, target, rate)
    if row is None:
        word = matrix.empty_word(name, target, rate)
        return word if word == NO_RESULT else "--"
    spread = "" if row["std"] is None else rf" \pm {row['std']:.2f}"
    won = matrix.won(name, target, rate)
    if won is None:
        return f"${row['mean']:.2f}{spread}$"
    star = r"^{*}" if won["larger_than_seed_noise"] else ""
    return rf"$\mathbf{{{row['mean']:.2f}}}{spread}{star}$"


def _latex_title(target: Target) -> str:
    return escape_latex(f"{target.label}: {metric_title(target.metric)}")


def _latex_caption(matrix: Matrix) -> str:
    name = escape_latex(str(matrix.raw.get("name") or "sweep"))
    return f"Tickets by source, target and prune rate ({name}). {LATEX_RULE}"


def _label(matrix: Matrix) -> str:
    name = str(matrix.raw.get("name") or "sweep")
    return "matrix-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
