"""The section that puts a paper's values beside the measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lth_det.reports import html
from lth_det.reports.html import Html
from lth_det.reports.sweep_data import Matrix
from lth_det.reports.tables import Column, Table, make_table, to_csv, to_markdown

CAPTION: Final = (
    "Published: the value in the paper, with its standard deviation over seeds where there is one. Measured: mean over the "
    "seeds of this sweep. A metric with %: change to the dense mean in percent of it. Equal values need equal data, "
    "schedule and metric: read the plan's notes before calling a difference a failure."
)


def published_table(matrix: Matrix) -> Table:
    """Return one row per published value: what it is of, the paper's value, the measured one, their difference."""
    columns = (
        Column("source", "source"),
        Column("target", "target"),
        Column("metric", "metric"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("published", "published", ".2f"),
        Column("published_std", "std", ".2f"),
        Column("measured", "measured", ".2f"),
        Column("measured_std", "seed std", ".2f"),
        Column("n", "seeds", "d"),
        Column("difference", "measured minus published", "+.2f"),
        Column("where", "where"),
        Column("note", "note"),
    )
    named = {target.name: target.label for target in matrix.targets}
    rows = [
        (
            matrix.labels.get(entry["source"], entry["source"]),
            named.get(entry["target"], entry["target"]),
            f"{entry['metric']} %" if entry["relative"] else entry["metric"],
            entry["prune_rate"],
            entry["value"],
            entry["std"],
            entry["measured"],
            entry["measured_std"],
            entry["n"],
            entry["difference"],
            entry["where"],
            entry["note"],
        )
        for entry in matrix.raw.get("published", [])
    ]
    return make_table(columns, rows)


def published_part(matrix: Matrix, work: Path) -> Html:
    """Return the table as HTML; also write ``published.csv`` and ``published.md`` into ``work``."""
    table = published_table(matrix)
    (work / "published.csv").write_text(to_csv(table), encoding="utf-8")
    (work / "published.md").write_text(to_markdown(table), encoding="utf-8")
    return html.table(table, compact=True, caption=CAPTION)
