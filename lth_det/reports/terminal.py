"""The table of a run's rounds as text, for the terminal."""

from collections.abc import Mapping
from typing import Any

METRICS = ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50", "keypoints/AP", "keypoints/AP50")


def rounds_text(results: Mapping[str, Any]) -> str:
    """Return the rounds and controls of ``results.json`` as an aligned text table.

    Rates and sparsity in percent, AP in 0-100; "-" where a value is not computable.
    """
    rows = [*results["rounds"], *results.get("controls", [])]
    metrics = [name for name in METRICS if any(name in row["metrics"] for row in rows)]
    header = ["round", "prune rate", "sparsity", *metrics]
    lines = [header]
    for row in rows:
        label = str(row["round"]) + (f" {row['name']}" if "name" in row else "")
        values = [_number(row["metrics"].get(name)) for name in metrics]
        lines.append(
            [label, f"{100 * row['prune_rate']:.2f} %", f"{100 * row['sparsity']:.2f} %", *values]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _number(value: Any) -> str:
    # NaN is unequal to itself: "not computable" in memory; null in a file.
    return "-" if value is None or value != value else f"{value:.2f}"
