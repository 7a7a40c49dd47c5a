"""Estimates of time and disk: from finished runs of the same kind where there are some, else from the plan's constants."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_det.errors import RunError
from lth_det.sweeps.job import read_small
from lth_det.sweeps.model import Run, Sweep, Work
from lth_det.sweeps.state import FINISHED, SweepState

COMMAND_SECONDS = (
    6.0  # starting Python, torch and Detectron2 and checking the data; measured on 2 CPU cores
)
MEASURED, ELSEWHERE, CONSTANTS = "measured", "measured elsewhere", "plan"
_TIMES = ("seconds_per_iteration", "evaluation_seconds", "seconds")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of one run.

    Attributes:
        seconds: ``None`` when nothing is known.
        megabytes: likewise.
        basis: ``measured``, ``measured elsewhere``, ``plan`` or ``unknown``.
    """

    seconds: float | None
    megabytes: float | None
    basis: str


@dataclasses.dataclass
class Costs:
    """What trainings cost, by kind of work (the config file).

    Attributes:
        measured: kind -> ``seconds_per_iteration``, ``evaluation_seconds``, ``seconds`` (a training of unknown length),
            ``disk_mb`` (a training), ``runs``; from this sweep.
        elsewhere: the same from another sweep.
        constants: the plan's ``estimate``.
    """

    measured: dict[str, dict[str, float]]
    elsewhere: dict[str, dict[str, float]]
    constants: Mapping[str, Any]

    def of(self, run: Run) -> Estimate:
        """Return the estimate of a run from its beginning."""
        seconds = megabytes = 0.0
        known, per_iteration, basis = bool(run.work), True, MEASURED
        for work in run.work:
            cost, where = self._cost(work)
            time = _seconds(work, cost)
            if time is None:
                known = False
                continue
            seconds += time
            per_iteration = per_iteration and _by_iteration(work, cost)
            megabytes += cost.get("disk_mb", 0.0)
            basis = max(basis, where, key=(MEASURED, ELSEWHERE, CONSTANTS).index)
        if not known:
            return Estimate(None, None, "unknown")
        if per_iteration:  # times of whole runs hold the starts of their commands already
            start = float(self.constants.get("command_seconds", COMMAND_SECONDS))
            seconds += start * len(run.commands)
        return Estimate(seconds, megabytes, basis)

    def _cost(self, work: Work) -> tuple[Mapping[str, float], str]:
        for table, where in ((self.measured, MEASURED), (self.elsewhere, ELSEWHERE)):
            if work.kind in table and _seconds(work, table[work.kind]) is not None:
                return table[work.kind], where
        own = self.constants.get("by_config", {}).get(work.kind, {})
        return {
            key: value for key, value in {**self.constants, **own}.items() if key != "by_config"
        }, CONSTANTS


def _iterations(work: Work, cost: Mapping[str, float]) -> float | None:
    return cost.get("iterations") if work.iterations is None else work.iterations


def _by_iteration(work: Work, cost: Mapping[str, float]) -> bool:
    return _iterations(work, cost) is not None and "seconds_per_iteration" in cost


def _seconds(work: Work, cost: Mapping[str, float]) -> float | None:
    iterations = _iterations(work, cost)
    if iterations is not None and "seconds_per_iteration" in cost:
        return iterations * cost["seconds_per_iteration"] + cost.get("evaluation_seconds", 0.0)
    return cost.get("seconds")


def measure(sweep: Sweep, state: SweepState) -> dict[str, dict[str, float]]:
    """Return what the finished runs of a sweep cost, by kind of work."""
    sums: dict[str, dict[str, float]] = {}
    for run in sweep.runs:
        if state.state_of(run) == FINISHED and run.work:
            _add(sums, run, state.records[run.name])
    found = {}
    for kind, total in sums.items():
        cost = {"runs": total["runs"], "disk_mb": round(total["disk"] / total["trainings"], 2)}
        if total["iterations"]:
            per = (total["train"]) / total["iterations"]
            cost["seconds_per_iteration"] = round(per, 5)
            cost["evaluation_seconds"] = round(total["eval"] / total["trainings"], 3)
        if total["wall"]:
            cost["seconds"] = round(total["wall"] / total["trainings"], 3)
        found[kind] = cost
    return found


def _add(sums: dict[str, dict[str, float]], run: Run, record: Mapping[str, Any]) -> None:
    # All trainings of a run have one config.
    total = sums.setdefault(
        run.work[0].kind,
        dict.fromkeys(("runs", "trainings", "iterations", "train", "eval", "wall", "disk"), 0.0),
    )
    total["runs"] += 1
    total["trainings"] += len(run.work)
    total["disk"] += float(record.get("disk_mb") or disk_mb(run))
    total["wall"] += float(record.get("seconds") or 0.0)
    times = read_small(Path(run.folder) / "timings.json") or {}
    rows = [row for key in ("rounds", "controls") for row in times.get(key, [])]
    iterations = [work.iterations for work in run.work]
    if len(rows) == len(run.work) and None not in iterations:
        total["iterations"] += sum(number for number in iterations if number is not None)
        total["train"] += sum(float(row.get("train_seconds", 0.0)) for row in rows)
        total["eval"] += sum(float(row.get("eval_seconds", 0.0)) for row in rows)


def disk_mb(run: Run) -> float:
    """Return the size of a run's folder in MB (10^6 bytes); 0 if it is not there."""
    total = 0
    for path in Path(run.folder).rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # gone in the meantime
    return total / 1e6


def read_costs(path: str) -> dict[str, dict[str, float]]:
    """Return the costs that another sweep has measured.

    Args:
        path: its ``sweep.json`` or its folder.

    Raises:
        RunError: the file is missing, damaged, or has no measured costs.
    """
    file = Path(path) / "sweep.json" if Path(path).is_dir() else Path(path)
    value = read_small(file)
    costs = None if value is None else value.get("costs")
    good = isinstance(costs, dict) and all(isinstance(cost, dict) for cost in costs.values())
    if not isinstance(costs, dict) or not good:
        raise RunError(
            f"--timings {file} has no measured times; name the sweep.json of a sweep that has run."
        )
    return costs
