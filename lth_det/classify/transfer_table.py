"""The table of a transfer run: source prune rate x start x fine-tuning -> accuracy on the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth_det.classify.transfer import Cell
from lth_det.io import atomic_write, atomic_write_json
from lth_det.reports.tables import to_csv
from lth_det.reports.terminal import aligned, two_digits
from lth_det.reports.transfer_page import rows_table, write_transfer_page

FORMAT_VERSION = 1


def transfer_rows(cells: Sequence[Cell], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``transfer.json``: ``rows``, one for each cell, and what they belong to.

    A row has the keys of the CSV file: rates in 0-1, accuracies in 0-100. ``prune_rate`` counts the target's
    convolutions, ``sparsity`` all its parameters.
    """
    records = {record["stage"]: record for record in results["rounds"]}
    rows = []
    for cell in cells:
        record = records[cell.stage]
        rows.append(
            {
                "finetune": cell.finetune,
                "head_layers": cell.head_layers,
                "source_round": cell.source.record["round"],
                "source_prune_rate": cell.source.record["prune_rate"],
                "source_top1": cell.source.record["metrics"]["top1"],
                "start": cell.start,
                "prune_rate": record["prune_rate"],
                "sparsity": record["sparsity"],
                "top1": record["metrics"]["top1"],
                "top5": record["metrics"]["top5"],
                "stage": cell.stage,
            }
        )
    return {
        "format_version": FORMAT_VERSION,
        "task": results["task"],
        "architecture": results["architecture"],
        "seed": results["seed"],
        "source": results["source"],
        "dataset": results["dataset"],
        "versions": results["versions"],
        "complete": results["complete"],
        "rows": rows,
    }


def write_transfer_tables(folder: Path, table: Mapping[str, Any]) -> None:
    """Write ``transfer.json``, ``transfer.csv``, ``transfer.txt`` and the page ``report/index.html`` into ``folder``."""
    atomic_write_json(folder / "transfer.json", table)
    atomic_write(folder / "transfer.csv", to_csv(rows_table(table)))
    atomic_write(folder / "transfer.txt", transfer_text(table))
    write_transfer_page(table, folder)


def transfer_text(table: Mapping[str, Any]) -> str:
    """Return the printed table: a line for each source round and fine-tuning, a column of top-1 (0-100) for each start."""
    starts = list(dict.fromkeys(row["start"] for row in table["rows"]))
    head = ["fine-tuning", "head", "source prune rate", "source top-1", *starts]
    lines: dict[tuple[str, int, int], list[str]] = {}
    values: dict[tuple[str, int, int], dict[str, float]] = {}
    for row in table["rows"]:
        key = row["finetune"], row["head_layers"], row["source_round"]
        lines[key] = [
            row["finetune"],
            f"{row['head_layers']} fc",
            f"{100 * row['source_prune_rate']:.1f} %",
            two_digits(row["source_top1"]),
        ]
        values.setdefault(key, {})[row["start"]] = row["top1"]
    rows = [head]
    rows += [
        [*line, *(two_digits(values[key].get(s)) for s in starts)] for key, line in lines.items()
    ]
    return f"top-1 on {table['task']}, seed {table['seed']}\n{aligned(rows, left=2)}\n"
