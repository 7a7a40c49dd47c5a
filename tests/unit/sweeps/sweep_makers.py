"""Sweeps and executors for tests: no processes, a clock of turns."""

import json
from pathlib import Path

from lth_det.sweeps.estimate import Costs
from lth_det.sweeps.model import Run, Sweep, Work
from lth_det.sweeps.scheduler import Scheduler
from lth_det.sweeps.state import SweepState

EXECUTION = {
    "executor": "local",
    "threads": 1,
    "gpus": [],
    "env": {},
    "parallel": None,
    "slurm": {},
}


def make_run(root, name, needs=(), commands=(("x",),), done_file="done", **more):
    folder = str(Path(root) / "runs" / name)
    return Run(
        name=name, folder=folder, commands=tuple(map(tuple, commands)), needs=tuple(needs),
        done_file=done_file, **more,
    )  # fmt: skip


def make_sweep(root, runs, **more):
    values = {"name": "s", "kind": "runs", "output": str(root), "execution": EXECUTION, **more}
    return Sweep(runs=tuple(runs), **values)


class FakeHandle:
    job_id = "1"

    def __init__(self, executor, job, turns):
        self.executor, self.job, self.turns = executor, job, turns

    def done(self):
        self.turns -= 1
        if self.turns > 0:
            return False
        self.executor.finish(self.job)
        return True

    def stop(self):
        self.executor.stopped.append(self.job.name)


class FakeExecutor:
    """Ends a job after some polls; writes what a real job would."""

    def __init__(self, runs, *, turns=None, codes=None, interrupt_after=None):
        self.runs = {run.name: run for run in runs}
        self.turns, self.codes = turns or {}, codes or {}
        self.interrupt_after = interrupt_after
        self.started, self.ended, self.stopped, self.most = [], [], [], 0
        self.working = set()

    def start(self, job):
        for need in self.runs[job.name].needs:
            assert need in self.ended or self.runs[need].is_done(), f"{job.name} before {need}"
        self.started.append(job.name)
        self.working.add(job.name)
        self.most = max(self.most, len(self.working))
        if self.interrupt_after is not None and len(self.started) > self.interrupt_after:
            raise KeyboardInterrupt
        return FakeHandle(self, job, self.turns.get(job.name, 1))

    def finish(self, job):
        code = self.codes.get(job.name, 0)
        folder, run = Path(job.folder), self.runs[job.name]
        folder.mkdir(parents=True, exist_ok=True)
        if code is not None:
            (folder / "outcome.json").write_text(json.dumps({"exit_code": code, "seconds": 1.0}))
        if code == 0:
            Path(run.folder).mkdir(parents=True, exist_ok=True)
            (Path(run.folder) / run.done_file).write_text("{}")
        else:
            (folder / "err.log").write_text("some noise\nerror: no luck today.\n")
        self.ended.append(job.name)
        self.working.discard(job.name)

    def attach(self, job, job_id):
        return None


def run_sweep(sweep, executor, parallel=2, **more):
    """Run as the command does; return the state and the lines told."""
    state = SweepState.load(sweep.output)
    told = []
    with state.lock():
        state.claim(sweep, redo_changed=more.pop("redo_changed", False))
        Scheduler(
            sweep, state, executor, parallel, Costs({}, {}, sweep.estimate), told.append,
            poll_seconds=0.0, **more,
        )()  # fmt: skip
    return state, told


def work(kind, iterations):
    return Work(kind, iterations)
