"""The table of a run's rounds as text, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    **{
        f"{task}/{name}": f"{task}/{name}"
        for task in ("bbox", "segm", "keypoints")
        for name in ("AP", "AP50")
    },
    "top1": "top-1",
    "top5": "top-5",
}
"""Metric -> heading of its column, in this order."""


def rounds_text(results: Mapping[str, Any]) -> str:
    """Return the rounds and controls of ``results.json`` as an aligned text table.

    Rates and sparsity in percent, AP and accuracy in 0-100; "-" where a value is not computable.
    """
    records = [*results["rounds"], *results.get("controls", [])]
    metrics = [name for name in TITLES if any(name in record["metrics"] for record in records)]
    rows = [["round", "prune rate", "sparsity", *(TITLES[name] for name in metrics)]]
    for record in records:
        label = str(record["round"]) + (f" {record['name']}" if "name" in record else "")
        rates = [f"{100 * record[key]:.2f} %" for key in ("prune_rate", "sparsity")]
        rows.append([label, *rates, *(two_digits(record["metrics"].get(name)) for name in metrics)])
    return aligned(rows)


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
    return "\n".join(lines)


def two_digits(value: float | None) -> str:
    """Return ``value`` with two digits, or "-" where it is not computable."""
    # NaN is unequal to itself: "not computable" in memory; null in a file.
    return "-" if value is None or value != value else f"{value:.2f}"
