"""Run a plan of many trainings and compare tickets: sources x targets x prune rates x seeds, with controls."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lth_det.cli.common import (
    EXIT_BAD_INPUT,
    EXIT_DEFECT,
    EXIT_OK,
    run_tool,
    write_json_option,
)
from lth_det.cli.sweep_output import SweepOutput, write_matrix
from lth_det.errors import ConfigError
from lth_det.io import atomic_write
from lth_det.sweeps.estimate import Costs, measure, read_costs
from lth_det.sweeps.executors import make_executor
from lth_det.sweeps.listing import dry_run_text, failures_text
from lth_det.sweeps.model import Sweep
from lth_det.sweeps.plan import load_plan
from lth_det.sweeps.plan_keys import EXECUTORS
from lth_det.sweeps.published import measured_run_values, run_values_text
from lth_det.sweeps.scheduler import DEFAULT_PARALLEL, Scheduler
from lth_det.sweeps.state import FAILED, FINISHED, SweepState

EXAMPLE = """
examples:
  what would be run, how long, how much disk:
    tools/compare_tickets.py --config-file configs/compare/shapes.yaml --dry-run
  run it, two trainings side by side; the same command again goes on after a stop:
    tools/compare_tickets.py --config-file configs/compare/shapes.yaml --parallel 2
  on SLURM, with the partition and times of the plan:
    tools/compare_tickets.py --config-file configs/compare/coco_transfer.yaml --executor slurm --parallel 16

docs/sweeps.md explains plans. Results: OUTPUT/report/index.html, OUTPUT/matrix.json, a folder per run in OUTPUT/runs.
Exit code: 0 complete; 2 the plan or the input of a run was wrong; 1 a run failed for another reason.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="compare_tickets.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", metavar="PLAN", required=True, help="the plan, a YAML file")
    add("--output", metavar="DIR", help="folder of the sweep, in place of the plan's")
    add("--dry-run", action="store_true", help="list runs, estimates and commands; run nothing")
    add("--parallel", type=int, metavar="N", help="runs side by side; default: the plan's, else 2")
    add("--executor", choices=EXECUTORS, help="in place of the plan's; debug: this process")
    add(
        "--timings",
        metavar="FILE",
        help="sweep.json of another sweep, whose measured times serve for estimates",
    )
    add(
        "--redo-changed",
        action="store_true",
        help="delete and do again the runs whose commands or configs have changed, and those that need them",
    )
    add("--report-only", action="store_true", help="collect and report what is there; run nothing")
    add("--json", metavar="PATH", help="write the matrix as JSON; - for standard output")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for; return the exit code.

    Raises:
        LthDetError: the plan or the folder is wrong.
    """
    if arguments.parallel is not None and arguments.parallel < 1:
        raise ConfigError(f"--parallel is {arguments.parallel}, but at least one run must go on.")
    sweep = load_plan(arguments.config_file, arguments.output)
    if arguments.json and (arguments.dry_run or not sweep.cells):
        raise ConfigError("--json writes the matrix; a dry run and a plan of kind runs have none.")
    execution = dict(sweep.execution)
    if arguments.executor:
        execution["executor"] = arguments.executor
    parallel = arguments.parallel or execution["parallel"] or DEFAULT_PARALLEL
    sweep = Sweep(**{**vars(sweep), "execution": execution})
    state = SweepState.load(sweep.output)
    elsewhere = read_costs(arguments.timings) if arguments.timings else {}
    costs = Costs(measure(sweep, state), elsewhere, sweep.estimate)
    if arguments.dry_run:
        sys.stdout.write(dry_run_text(sweep, state, costs, parallel))
        return EXIT_OK
    with state.lock():
        # Once more: another sweep may have written between the first look and the lock.
        state = SweepState.load(sweep.output)
        if not arguments.report_only:
            _run_all(sweep, state, costs, parallel, redo_changed=arguments.redo_changed)
        return _finish(sweep, state, arguments)


def _run_all(
    sweep: Sweep, state: SweepState, costs: Costs, parallel: int, *, redo_changed: bool
) -> None:
    output = SweepOutput(Path(sweep.output))
    again = state.claim(sweep, redo_changed=redo_changed)
    if again:
        output.tell(f"Done again, because the plan has changed: {', '.join(again)}.")
    folder = Path(sweep.output).resolve() / "jobs" / "submitit"
    scheduler = Scheduler(
        sweep,
        state,
        make_executor(sweep.execution, folder),
        parallel,
        costs,
        output.tell,
        on_finished=lambda: output.partial(sweep, state),
        on_turn=output.progress,
    )
    with _terminable():
        scheduler()
    output.end()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the children too, as Ctrl-C does."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _finish(sweep: Sweep, state: SweepState, arguments: argparse.Namespace) -> int:
    """Write the matrix and the report, say what failed, and return the exit code."""
    if sweep.cells:
        matrix, page = write_matrix(sweep, state, again=arguments.report_only)
        for verdict in matrix.get("verdicts", []):
            sys.stderr.write(f"{verdict['target']}, {verdict['metric']}: {verdict['sentence']}\n")
        if arguments.json:
            write_json_option(arguments.json, matrix)
        sys.stderr.write(f"Report: {page}\n")
    elif sweep.facts.get("published"):
        text = run_values_text(measured_run_values(sweep.facts["published"], sweep.output))
        atomic_write(Path(sweep.output) / "published.md", text)
        sys.stdout.write(text)
    unfinished = [run for run in sweep.runs if state.state_of(run) != FINISHED]
    if not unfinished:
        return EXIT_OK
    text = failures_text(sweep, state)
    if text:
        sys.stderr.write(text + "\n")
    words = "mend what failed and run" if text else "run"
    without = " without --report-only" if arguments.report_only else ""
    sys.stderr.write(
        f"error: {len(unfinished)} of {len(sweep.runs)} runs are not finished; {words} the same command again{without}.\n"
    )
    codes = [
        state.records[run.name].get("exit_code")
        for run in unfinished
        if state.records.get(run.name, {}).get("state") == FAILED
    ]
    # Runs that have not been tried yet are no wrong input.
    wrong = bool(codes) and all(code == EXIT_BAD_INPUT for code in codes)
    return EXIT_BAD_INPUT if wrong else EXIT_DEFECT


def main() -> None:
    """Entry point of ``tools/compare_tickets.py`` and ``lth-compare-tickets``."""
    # submitit's own remarks are about pickles and job numbers.
    logging.getLogger("submitit").setLevel(logging.ERROR)
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    run_tool(lambda: run(build_parser().parse_args()))
