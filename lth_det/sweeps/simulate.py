"""How long runs take side by side, and which should start first: list scheduling by the longest way to the end."""

from collections.abc import Mapping, Sequence

from lth_det.sweeps.model import Run, order


def tails(runs: Sequence[Run], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return, per run, the seconds from its start to the end of the longest chain of runs that need it.

    Args:
        runs: the runs.
        seconds: run name -> duration; absent counts as 0 (finished).
    """
    found: dict[str, float] = {}
    for run in reversed(order(runs)):
        after = [found[other.name] for other in runs if run.name in other.needs]
        found[run.name] = seconds.get(run.name, 0.0) + max(after, default=0.0)
    return found


def makespan(
    runs: Sequence[Run],
    seconds: Mapping[str, float],
    slots: int | None,
    *,
    running: Mapping[str, float] | None = None,
) -> float:
    """Return the seconds until all runs have ended, started as the scheduler starts them.

    Args:
        runs: the runs; those without an entry in ``seconds`` are finished.
        seconds: run name -> duration of those that are left.
        slots: how many run side by side; ``None``: no limit (the critical path).
        running: run name -> seconds that it has run already.
    """
    ranks = tails(runs, seconds)
    waiting = [run for run in order(runs) if run.name in seconds]
    waiting.sort(key=lambda run: -ranks[run.name])
    done = {run.name for run in runs if run.name not in seconds}
    now = 0.0
    busy = {
        name: max(0.0, seconds[name] - passed)
        for name, passed in (running or {}).items()
        if name in seconds
    }
    waiting = [run for run in waiting if run.name not in busy]
    while waiting or busy:
        for run in list(waiting):
            if slots is not None and len(busy) >= slots:
                break
            if done.issuperset(run.needs):
                busy[run.name] = now + seconds[run.name]
                waiting.remove(run)
        if not busy:
            break  # what is left needs runs that will not be done
        first = min(busy, key=lambda name: busy[name])
        now = busy.pop(first)
        done.add(first)
    return now
