"""What a sweep shows while it runs, and the files it writes from the results of its runs."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from lth_det.env import package_versions
from lth_det.errors import LthDetError, MaskMismatchError
from lth_det.io import atomic_write_json
from lth_det.sweeps.collect import collect
from lth_det.sweeps.job import read_small
from lth_det.sweeps.listing import progress_text
from lth_det.sweeps.model import Sweep
from lth_det.sweeps.scheduler import Scheduler
from lth_det.sweeps.state import SweepState

_LOG_PERIOD = 60.0  # seconds between progress lines where there is no terminal
_REPORT_PERIOD = (
    60.0  # between reports of an unfinished sweep, which take seconds of the CPU that the runs want
)


@dataclasses.dataclass
class SweepOutput:
    """Lines on standard error and in ``sweep.log``; on a terminal a last line that changes in place.

    Attributes:
        folder: of the sweep.
    """

    folder: Path
    _line: str = dataclasses.field(default="", init=False)
    _last: float = dataclasses.field(default=0.0, init=False)
    _reported: float = dataclasses.field(default=0.0, init=False)

    def tell(self, text: str) -> None:
        """Show and log one event."""
        self._clear()
        stamped = f"{time.strftime('%H:%M:%S')} {text}\n"
        sys.stderr.write(stamped)
        sys.stderr.flush()
        self._log(stamped)

    def progress(self, scheduler: Scheduler) -> None:
        """Show how far the sweep is: in place on a terminal, now and then as a line elsewhere."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._last < (1.0 if terminal else _LOG_PERIOD):
            return
        self._last = now
        text = progress_text(scheduler.states(), scheduler.eta())
        if not terminal:
            self.tell(text)
            return
        self._clear()
        self._line = text[:160]
        sys.stderr.write(self._line)
        sys.stderr.flush()

    def partial(self, sweep: Sweep, state: SweepState) -> None:
        """Write matrix and report of what is there; a report that fails now must not end the sweep."""
        if not sweep.cells or time.monotonic() - self._reported < _REPORT_PERIOD:
            return
        self._reported = time.monotonic()
        try:
            write_matrix(sweep, state)
        except LthDetError as error:
            self.tell(f"The report of the runs so far was left out: {error}")

    def end(self) -> None:
        """Leave the terminal on a new line."""
        self._clear()

    def _clear(self) -> None:
        if self._line:
            sys.stderr.write("\r" + " " * len(self._line) + "\r")
            self._line = ""

    def _log(self, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "sweep.log").open("a", encoding="utf-8") as handle:
            handle.write(text)


def write_matrix(
    sweep: Sweep, state: SweepState, *, again: bool = True
) -> tuple[dict[str, Any], Path]:
    """Write ``cells.json``, ``matrix.json``, ``overlap.json`` and the report; return the matrix and the page.

    Args:
        sweep: the plan.
        state: what is known about its runs.
        again: write them even when the cells are those of the last time.

    Raises:
        LthDetError: a file cannot be written, or results are damaged.
    """
    from lth_det.reports.sweep_report import write_comparison
    from lth_det.sweeps.summary import summarise

    folder = Path(sweep.output)
    cells = collect(sweep, state, package_versions())
    known, page = read_small(folder / "matrix.json"), folder / "report" / "index.html"
    if not again and known and page.exists() and cells == read_small(folder / "cells.json"):
        return known, page
    atomic_write_json(folder / "cells.json", cells)
    matrix = summarise(cells)
    atomic_write_json(folder / "matrix.json", matrix)
    overlap = _overlap(sweep, cells) if cells["complete"] else None
    if overlap is not None:
        atomic_write_json(folder / "overlap.json", overlap)
    return matrix, Path(write_comparison(matrix, folder, overlap=overlap))


def _overlap(sweep: Sweep, cells: dict[str, Any]) -> dict[str, Any] | None:
    """Return how much the tickets of one target at the lowest prune rate have in common, over sources and seeds."""
    tickets = {} if sweep.kind == "modules" else overlap_tickets(cells, Path(sweep.output))
    if len(tickets) < 2:
        return None
    from lth_det.experiments.overlap_matrix import overlap_matrix

    try:
        return overlap_matrix(tickets)
    except MaskMismatchError as error:  # a part of the page; the numbers do not depend on it
        sys.stderr.write(f"The overlap of the tickets is left out: {error}\n")
        return None


def overlap_tickets(cells: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Return label -> ticket file of the first target at the lowest prune rate; controls that keep a mask are left out."""
    target, rate = cells["targets"][0]["name"], min(cells["prune_rates"])
    labels = {source["name"]: source["label"] for source in cells["sources"]}
    sources = {source["name"]: source for source in cells["sources"]}
    found = {}
    for cell in cells["cells"]:
        here = cell["target"] == target and cell["prune_rate"] == rate and cell["ticket"]
        kind = sources.get(cell["source"], {}).get("kind")
        if here and kind not in ("random_reinit", "dense_rewound", "dense_same_budget"):
            found[f"{labels[cell['source']]}, seed {cell['seed']}"] = folder / cell["ticket"]
    return found
