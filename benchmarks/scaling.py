#!/usr/bin/env python
"""Cost of lottery-ticket studies on paper: rounds, models, machines; and a simulated study of 1,000 runs.

    python benchmarks/scaling.py                             # seconds

The study: 40 IMP runs (5 sources x 8 seeds) of six pruned rounds, and each round's ticket trained on four targets, 960 ticket
runs. Machines with 8 GPUs take whole runs from a list; a ticket run can begin when its round is finished. Steps vary from
run to run; machines fail at random, and a failed run goes on from its last checkpoint. Nothing here is measured except the
constants, whose sources are printed; docs/scaling.md discusses the result.
"""

import dataclasses
import heapq
import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import ROOT, finish, parser, table

GIGA, HOUR = 1e9, 3600.0


@dataclasses.dataclass(frozen=True)
class Setting:
    """One detector on one machine.

    Attributes:
        name: of the detector and the machine.
        parameters: of the detector, all.
        masked: of them in a mask.
        gpus: of a machine.
        step_seconds: of one iteration of 16 images.
        iterations: of a whole training.
        source: where the step time comes from.
    """

    name: str
    parameters: int
    masked: int
    gpus: int
    step_seconds: float
    iterations: int
    source: str

    @property
    def training_hours(self) -> float:
        """Wall hours of one training."""
        return self.step_seconds * self.iterations / HOUR


SETTINGS = (
    Setting("Mask R-CNN R-50, 8x V100", 44_343_216, 41_133_248, 8, 0.261, 90_000, "Detectron2 model zoo"),
    Setting("Mask R-CNN R-18, 4x GTX 1080 Ti", 31_317_936, 30_704_832, 4, 0.58, 90_000, "logs of the paper's authors"),
    Setting("Keypoint R-CNN R-18, 4x GTX 1080 Ti", 46_107_878, 45_778_112, 4, 0.70, 90_000, "logs of the paper's authors"),
)  # fmt: skip
EVALUATION_HOURS = 0.1  # assumed: 5,000 images at 0.5 s for each of 8 GPUs' share, and COCO's AP
START_UP_HOURS = 0.05  # assumed: imports, reading COCO's annotations, first batches
ROUND_SECONDS = 5.0  # of pruning, rewinding and saving; measured by pruning_decision.py where its result is there
CHECKPOINT_HOURS = 0.36  # 5,000 iterations of 0.261 s
FAILURES_PER_MACHINE_DAY = 0.02  # assumed
RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SOURCES, SEEDS, TARGETS = 5, 8, 4


def imp_hours(
    setting: Setting, rounds: int, round_seconds: float, *, remaining: float = 1.0
) -> float:
    """Return wall hours of an IMP run: the dense training and ``rounds`` trainings of the share ``remaining``."""
    trainings = 1 + rounds * remaining
    others = (rounds + 1) * EVALUATION_HOURS + START_UP_HOURS + rounds * round_seconds / HOUR
    return trainings * setting.training_hours + others


def disk_bytes(setting: Setting, rounds: int) -> dict[str, float]:
    """Return bytes of an IMP run on disk: final weights and momentum, tickets, and compact checkpoints if exported."""
    dense = 4.0 * setting.parameters
    return {
        "checkpoints": (rounds + 1) * 2 * dense,
        "tickets": rounds * (dense + setting.masked / 8),
    }


@dataclasses.dataclass(frozen=True)
class Job:
    """One training in the study: its place in the list, its hours, and the jobs it waits for."""

    name: tuple[str, ...]
    hours: float
    needs: tuple[tuple[str, ...], ...]
    priority: float


def study(setting: Setting, round_seconds: float, dice: random.Random) -> list[Job]:
    """Return the jobs of the study; a round of an IMP run needs the round before, a ticket run its round."""
    one = setting.training_hours + EVALUATION_HOURS + START_UP_HOURS + round_seconds / HOUR
    jobs = []
    for source in range(SOURCES):
        for seed in range(SEEDS):
            run = (f"source {source}", f"seed {seed}")
            for number in range(len(RATES) + 1):
                needs = ((*run, f"round {number - 1}"),) if number else ()
                # IMP rounds first: they are the longest chain, and everything waits for them.
                jobs.append(Job((*run, f"round {number}"), one * dice.gauss(1, 0.03), needs, 0))
                if number:
                    jobs += [
                        Job(
                            (*run, f"round {number}", f"target {target}"),
                            one * dice.gauss(1, 0.03),
                            ((*run, f"round {number}"),),
                            1,
                        )
                        for target in range(TARGETS)
                    ]
    return jobs


def simulate(jobs: list[Job], machines: int, dice: random.Random) -> dict[str, float]:
    """Return wall hours, use of the machines (0-1), and hours of training that failures cost, by list scheduling."""
    waiting = {job.name: len(job.needs) for job in jobs}
    after: dict[tuple[str, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        for need in job.needs:
            after[need].append(job)
    ready = [(job.priority, index, job) for index, job in enumerate(jobs) if not job.needs]
    heapq.heapify(ready)
    running: list[tuple[float, int, Job]] = []
    now = busy = lost = 0.0
    count = len(jobs)
    while ready or running:
        while ready and len(running) < machines:
            _, _, job = heapq.heappop(ready)
            repeated = _lost_hours(job.hours, dice)
            lost += repeated
            busy += job.hours + repeated
            heapq.heappush(running, (now + job.hours + repeated, count, job))
            count += 1
        now, _, done = heapq.heappop(running)
        for job in after[done.name]:
            waiting[job.name] -= 1
            if not waiting[job.name]:
                heapq.heappush(ready, (job.priority, count, job))
                count += 1
    return {"hours": now, "use": busy / (now * machines), "lost_hours": lost}


def _lost_hours(hours: float, dice: random.Random) -> float:
    """Return the hours that failures cost a job: each repeats what was done since the last checkpoint, and starts up."""
    lost, position = 0.0, 0.0
    while True:
        position += dice.expovariate(FAILURES_PER_MACHINE_DAY / 24)
        if position > hours:
            return lost
        lost += position % CHECKPOINT_HOURS + START_UP_HOURS


def critical_hours(jobs: list[Job]) -> float:
    """Return the hours of the longest chain: no number of machines is faster."""
    end: dict[tuple[str, ...], float] = {}
    for job in jobs:  # listed after what they need
        end[job.name] = job.hours + max((end[need] for need in job.needs), default=0.0)
    return max(end.values())


def measured_round_seconds() -> tuple[float, str]:
    """Return seconds of a round between two trainings, and where they come from."""
    path = ROOT / "benchmarks/results/pruning_decision.json"
    if path.exists():
        parts = json.loads(path.read_text(encoding="utf-8"))["figures"]["round"]
        return sum(parts.values()), "measured by pruning_decision.py"
    return ROUND_SECONDS, "the target of pruning_decision.py, which has not been run here"


def compute(*, quick: bool) -> dict[str, Any]:
    """Return all figures."""
    seconds, source = measured_round_seconds()
    first = SETTINGS[0]
    jobs = study(first, seconds, random.Random(1))
    machines = (16, 64) if quick else (1, 4, 16, 64, 250)
    return {
        "round_seconds": seconds,
        "round_seconds_source": source,
        "trainings": len(jobs),
        "runs": SOURCES * SEEDS * (1 + len(RATES) * TARGETS),
        "training_hours": {s.name: s.training_hours for s in SETTINGS},
        "imp": [
            {
                "setting": setting.name,
                "rounds": rounds,
                "hours": imp_hours(setting, rounds, seconds),
                "gpu_hours": setting.gpus * imp_hours(setting, rounds, seconds),
                "pruning_share": rounds * seconds / HOUR / imp_hours(setting, rounds, seconds),
                **disk_bytes(setting, rounds),
            }
            for setting in SETTINGS
            for rounds in (1, 5, 15)
        ],
        "critical_hours": critical_hours(jobs),
        "study": [
            {"machines": number, **simulate(jobs, number, random.Random(2))} for number in machines
        ],
        "ticket_bytes": SOURCES * SEEDS * disk_bytes(first, len(RATES))["tickets"],
        "checkpoint_bytes": len(jobs) * disk_bytes(first, 0)["checkpoints"],
    }


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    cost = [
        (
            row["setting"],
            str(row["rounds"]),
            f"{row['hours']:.1f}",
            f"{row['gpu_hours']:.0f}",
            f"{100 * row['pruning_share']:.3f} %",
            f"{row['checkpoints'] / GIGA:.1f} + {row['tickets'] / GIGA:.1f}",
        )
        for row in figures["imp"]
    ]
    plan = [
        (
            str(row["machines"]),
            f"{row['hours'] / 24:.1f}",
            f"{100 * row['use']:.0f} %",
            f"{row['lost_hours']:.0f}",
        )
        for row in figures["study"]
    ]
    constants = [
        (s.name, f"{s.step_seconds:.3f}", f"{s.training_hours:.1f}", s.source) for s in SETTINGS
    ]
    return "\n\n".join(
        [
            table(("detector", "s/iteration", "hours of 90,000 iterations", "source"), constants),
            f"Between two trainings: {figures['round_seconds']:.1f} s ({figures['round_seconds_source']}).",
            table(
                (
                    "IMP run",
                    "rounds",
                    "hours",
                    "GPU hours",
                    "pruning's share",
                    "GB: checkpoints + tickets",
                ),
                cost,
            ),
            f"The study: {figures['runs']:,} runs, {figures['trainings']:,} trainings, longest chain "
            f"{figures['critical_hours'] / 24:.1f} days; {figures['checkpoint_bytes'] / GIGA:,.0f} GB of final weights with "
            f"momentum and {figures['ticket_bytes'] / GIGA:,.0f} GB of tickets.",
            table(
                ("machines of 8 V100", "days", "machines in use", "machine hours lost to failures"),
                plan,
            ),
        ]
    )


def main() -> None:
    """Compute and print."""
    arguments = parser(__doc__ or "").parse_args()
    figures = compute(quick=arguments.quick)
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
