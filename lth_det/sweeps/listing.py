"""Text for people about a sweep: the list of ``--dry-run``, the progress line, the failures at the end."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from lth_det.sweeps.estimate import Costs
from lth_det.sweeps.model import Run, Sweep
from lth_det.sweeps.simulate import makespan
from lth_det.sweeps.state import BLOCKED, FAILED, FINISHED, PENDING, RUNNING, SweepState


def duration(seconds: float | None) -> str:
    """Return a time for people: ``"45 s"``, ``"12 min"``, ``"3.5 h"``; ``"?"`` for ``None``.

    >>> duration(45.4), duration(720), duration(12600), duration(None)
    ('45 s', '12 min', '3.5 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(megabytes: float | None) -> str:
    """Return an amount of disk for people; ``"?"`` for ``None``.

    >>> size(0.4), size(120), size(2500), size(None)
    ('0.4 MB', '120 MB', '2.5 GB', '?')
    """
    if megabytes is None:
        return "?"
    if megabytes < 10:
        return f"{megabytes:.1f} MB"
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def dry_run_text(sweep: Sweep, state: SweepState, costs: Costs, parallel: int) -> str:
    """Return the table of all runs with their commands, and what is left in time and disk."""
    lines = [f"{sweep.name}: {len(sweep.runs)} runs in {sweep.output}", ""]
    changed = state.changed(sweep)
    for run in sweep.runs:
        found = costs.of(run)
        now = f"CHANGED ({changed[run.name]})" if run.name in changed else state.state_of(run)
        needs = f", needs {', '.join(run.needs)}" if run.needs else ""
        lines.append(
            f"{run.name}: {now}; {len(run.work)} training{'' if len(run.work) == 1 else 's'}, "
            f"{duration(found.seconds)}, {size(found.megabytes)} ({found.basis}){needs}"
        )
        lines += [f"    {shlex.join(command)}" for command in run.commands]
    return "\n".join([*lines, "", *_totals(sweep, state, costs, parallel), ""])


def _totals(sweep: Sweep, state: SweepState, costs: Costs, parallel: int) -> list[str]:
    left = [run for run in sweep.runs if state.state_of(run) != FINISHED]
    found = {run.name: costs.of(run) for run in left}
    unknown = [name for name, one in found.items() if one.seconds is None]
    seconds = {name: one.seconds or 0.0 for name, one in found.items()}
    disk = sum(one.megabytes or 0.0 for one in found.values())
    basis = Counter(one.basis for one in found.values())
    at_least = "at least " if unknown else ""
    lines = [
        f"Left: {len(left)} of {len(sweep.runs)} runs, {sum(len(run.work) for run in left)} trainings, "
        f"{at_least}{duration(sum(seconds.values()))} of work, {at_least}{size(disk)} of disk.",
        f"With {parallel} side by side: {at_least}{duration(makespan(sweep.runs, seconds, parallel))}; "
        f"not below {duration(makespan(sweep.runs, seconds, None))} (critical path).",
    ]
    if basis:
        said = ", ".join(f"{count} from {_BASIS[name]}" for name, count in sorted(basis.items()))
        lines.append(f"Estimates of runs: {said}.")
    if unknown:
        lines.append(
            f"Without an estimate: {', '.join(unknown)}; give estimate.by_config in the plan, or --timings."
        )
    return lines


_BASIS = {
    "measured": "times measured in this sweep",
    "measured elsewhere": "times measured in another sweep (--timings)",
    "plan": "the constants of the plan",
    "unknown": "nothing",
}


def progress_text(states: Mapping[str, str], eta: float | None) -> str:
    """Return the line on how far the sweep is."""
    count = Counter(states.values())
    running = [name for name, state in states.items() if state == RUNNING]
    bad = "".join(f", {count[name]} {name}" for name in (FAILED, BLOCKED) if count[name])
    now = f" | {', '.join(running)}" if running else ""
    return f"{count[FINISHED]} of {len(states)} runs finished{bad} | ETA {duration(eta)}{now}"


def failures_text(sweep: Sweep, state: SweepState) -> str:
    """Return one line for each run that failed or was blocked; empty when there is none."""
    lines = []
    for run in _in(sweep.runs, state, FAILED):
        record = state.records[run.name]
        log = str(record.get("log", "")).replace("out.log", "err.log")
        lines.append(f"failed: {run.name}: {record.get('reason')} (log: {log})")
    lines += [
        f"blocked: {run.name}: {state.records[run.name].get('reason')}"
        for run in _in(sweep.runs, state, BLOCKED)
    ]
    return "\n".join(lines)


def _in(runs: Sequence[Run], state: SweepState, which: str) -> list[Run]:
    return [run for run in runs if state.records.get(run.name, {}).get("state", PENDING) == which]
