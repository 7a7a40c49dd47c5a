"""The table of a classifier's rounds as text, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def results_text(results: Mapping[str, Any]) -> str:
    """Return the rounds and controls of ``results.json``: rates and accuracies in percent, "-" where there is none."""
    rows = [["round", "prune rate", "sparsity", "top-1", "top-5"]]
    for record in [*results["rounds"], *results.get("controls", [])]:
        label = str(record["round"]) + (f" {record['name']}" if "name" in record else "")
        metrics = record["metrics"]
        rates = [f"{100 * record[key]:.2f} %" for key in ("prune_rate", "sparsity")]
        rows.append([label, *rates, percent(metrics.get("top1")), percent(metrics.get("top5"))])
    return aligned(rows)


def percent(value: float | None) -> str:
    """Return a value in 0-100 with two digits, or "-"."""
    return "-" if value is None or value != value else f"{value:.2f}"


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return rows of cells as lines with aligned columns, the first ``left`` of them flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"
