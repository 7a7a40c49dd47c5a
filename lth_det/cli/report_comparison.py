"""Rebuild the matrix and the report of a sweep from its cells.json, without running anything."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lth_det.cli.common import EXIT_OK, read_json, run_tool, write_json_option
from lth_det.errors import RunError
from lth_det.io import atomic_write_json
from lth_det.reports.sweep_report import write_comparison
from lth_det.sweeps.summary import summarise

EXAMPLE = """
examples:
  the report of a sweep, again (after an update, or with cells.json from another machine):
    tools/report_comparison.py --sweep outputs/compare
  the numbers for a script:
    tools/report_comparison.py --sweep outputs/compare --json - | python -m json.tool
  with an early-bird record of one of its runs:
    tools/report_comparison.py --sweep outputs/compare --early-bird outputs/compare/runs/own/early_bird.json

DIR/overlap.json is shown when it is there. Exit code: 0 done, 2 the input was wrong.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="report_comparison.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sweep", metavar="DIR", required=True, help="folder of the sweep, which holds cells.json")
    add("--early-bird", metavar="F", action="append", default=[], help="early_bird.json of a run")
    add("--json", metavar="PATH", help="write the matrix as JSON; - for standard output")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write ``matrix.json`` and ``report/`` into the sweep's folder, and print the verdicts.

    Raises:
        LthDetError: the input is wrong.
    """
    folder = Path(arguments.sweep)
    matrix = summarise(_object(folder / "cells.json"))
    overlap = _object(folder / "overlap.json") if (folder / "overlap.json").exists() else None
    birds = {path: _object(Path(path)) for path in arguments.early_bird}
    atomic_write_json(folder / "matrix.json", matrix)
    page = write_comparison(matrix, folder, early_bird=birds or None, overlap=overlap)
    if arguments.json != "-":
        sys.stdout.write(verdict_text(matrix) + f"Report: {page}\n")
    if arguments.json:
        write_json_option(arguments.json, matrix)
    return EXIT_OK


def verdict_text(matrix: dict[str, Any]) -> str:
    """Return one line per verdict in the targets' own metrics; for a module-wise sweep one per subset."""
    lines = []
    for target in matrix["targets"]:
        metric = target.get("metric") or matrix.get("metric")
        for entry in [*matrix["verdicts"], *matrix["modules"]]:
            own = (entry["target"], entry["metric"]) == (target["name"], metric)
            if own and "sentence" in entry:
                label = target.get("label") or target["name"]
                lines.append(f"{label}, prune rate {entry['prune_rate']:g}: {entry['sentence']}")
    return "".join(f"{line}\n" for line in lines) or "No verdict: no ticket has a result yet.\n"


def _object(path: Path) -> dict[str, Any]:
    value = read_json(str(path))
    if not isinstance(value, dict):
        raise RunError(
            f"{path} holds no JSON object; write it again with tools/compare_tickets.py."
        )
    return value


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/report_comparison.py``; ends the process with 0, 1 or 2."""
    run_tool(lambda: run(build_parser().parse_args(argv)))
