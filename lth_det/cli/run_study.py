"""Run several plans of tools/compare_tickets.py as one study: each part in a folder of its own, then a page of answers."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lth_det.cli import compare_tickets
from lth_det.cli.common import EXIT_OK, run_tool
from lth_det.cli.publish_study import Given, publish_study
from lth_det.cli.report_comparison import verdict_text
from lth_det.errors import ConfigError
from lth_det.io import atomic_write
from lth_det.sweeps.job import read_small
from lth_det.sweeps.plan_keys import EXECUTORS
from lth_det.sweeps.scheduler import DEFAULT_PARALLEL
from lth_det.sweeps.study import Study, left_of, left_text, load_parts, load_study
from lth_det.sweeps.study_answers import answers, answers_text

EXAMPLE = """
examples:
  what would be run, how long, how much disk:
    tools/run_study.py --config-file configs/study/study.yaml --dry-run
  run it; the same command goes on after a stop:
    tools/run_study.py --config-file configs/study/study.yaml
  one part of it:
    tools/run_study.py --config-file configs/study/study.yaml --only modules
  a page with answers, figures and every number, from what is there; complete or not:
    tools/run_study.py --config-file configs/study/study.yaml --report-only --publish docs/study

Each part's results are in OUTPUT/PART, as tools/compare_tickets.py leaves them; OUTPUT/study.md has all answers.
Exit code: 0 complete; 2 a plan or the input of a run was wrong; 1 a run failed for another reason.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="run_study.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", metavar="STUDY", required=True, help="the study, a YAML file")
    add("--output", metavar="DIR", help="folder of the study, in place of the file's")
    add("--only", metavar="PART", action="append", help="this part alone; may be given again")
    add("--dry-run", action="store_true", help="list runs, estimates and commands; run nothing")
    add("--parallel", type=int, metavar="N", help="runs side by side; default: each plan's, else 2")
    add("--executor", choices=EXECUTORS, help="in place of the plans'; debug: this process")
    add("--redo-changed", action="store_true", help="do again what the plans have changed")
    add("--report-only", action="store_true", help="collect and report what is there; run nothing")
    add("--publish", metavar="DIR", help="write pages, figures and tables there; run nothing")
    add("--hardware", metavar="TEXT", help="for --publish: what the runs ran on, if not here")
    add("--commit", metavar="TEXT", help="for --publish: commit of the code that the runs used")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for; return the exit code.

    Raises:
        LthDetError: the study, a plan or a folder is wrong.
    """
    whole = load_study(arguments.config_file, arguments.output)
    if arguments.publish and (arguments.dry_run or arguments.only):
        raise ConfigError("--publish is for the whole study; leave out --dry-run and --only.")
    if arguments.publish and not arguments.report_only:
        return _publish(whole, arguments)
    study = _chosen(whole, arguments.only)
    sweeps = load_parts(study)  # a mistake in the last plan is told before the first is run
    codes = [_part(study, part, arguments) for part in study.parts]
    if arguments.dry_run:
        parallel = arguments.parallel or DEFAULT_PARALLEL
        left = [left_of(part, sweep, parallel) for part, sweep in sweeps.items()]
        sys.stdout.write(left_text(study, left, parallel))
    else:
        sys.stderr.write(f"Answers: {_write_answers(whole)}\n")
    if arguments.publish:
        _publish(whole, arguments)
    failed = [code for code in codes if code != EXIT_OK]
    return min(failed) if failed else EXIT_OK


def _publish(study: Study, arguments: argparse.Namespace) -> int:
    command = f"tools/run_study.py --config-file {arguments.config_file}"
    given = Given(command, arguments.hardware, arguments.commit)
    sys.stdout.write(f"Published: {publish_study(study, Path(arguments.publish), given)}\n")
    return EXIT_OK


def _chosen(study: Study, only: Sequence[str] | None) -> Study:
    for part in only or ():
        if part not in study.parts:
            raise ConfigError(f"--only {part} is no part; choose from {', '.join(study.parts)}.")
    parts = {name: plan for name, plan in study.parts.items() if not only or name in only}
    return dataclasses.replace(study, parts=parts)


def _part(study: Study, part: str, arguments: argparse.Namespace) -> int:
    words = ["--config-file", study.parts[part], "--output", study.folder(part)]
    for flag in ("dry_run", "redo_changed", "report_only"):
        words += [f"--{flag.replace('_', '-')}"] if getattr(arguments, flag) else []
    for option in ("parallel", "executor"):
        value = getattr(arguments, option)
        words += [] if value is None else [f"--{option}", str(value)]
    timings = _timings(study, part)
    if timings is not None:
        words += ["--timings", timings]
    return compare_tickets.run(compare_tickets.build_parser().parse_args(words))


def _write_answers(study: Study) -> Path:
    """Write ``study.md``: of every part with results the answers, the verdicts and the place of its report."""
    lines = [f"# {study.name}", ""]
    for part in study.parts:
        matrix = read_small(Path(study.folder(part)) / "matrix.json")
        lines += [f"## {part}", ""]
        if matrix is None:
            lines += ["No results yet.", ""]
            continue
        missing = len(matrix.get("missing", []))
        state = "complete" if matrix.get("complete") else f"{missing} cells are missing"
        lines += [f"{state}; figures and numbers: {part}/report/index.html", ""]
        lines += [answers_text(answers(matrix, study.margin), study.margin), verdict_text(matrix)]
    target = Path(study.output) / "study.md"
    atomic_write(target, "\n".join(lines))
    return target


def _timings(study: Study, part: str) -> str | None:
    """Return the state of the first part, whose measured times serve the others; ``None`` if there is none yet."""
    first = next(iter(study.parts))
    file = Path(study.folder(first)) / "sweep.json"
    known = read_small(file) if part != first and file.exists() else None
    return str(file) if known and known.get("costs") else None


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/run_study.py``; ends the process with 0, 1 or 2."""
    run_tool(lambda: run(build_parser().parse_args(argv)))
