"""The one scheduler of all sweeps: starts what may start, watches what runs, goes on when something fails."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lth_det.sweeps.estimate import Costs, disk_mb, measure
from lth_det.sweeps.executors import Executor, Handle, environment
from lth_det.sweeps.job import Job, is_locked, read_outcome, sentence
from lth_det.sweeps.model import Run, Sweep, order
from lth_det.sweeps.simulate import makespan, tails
from lth_det.sweeps.state import BLOCKED, FAILED, FINISHED, PENDING, RUNNING, SweepState

DEFAULT_PARALLEL = 2


@dataclasses.dataclass
class _Started:
    handle: Handle
    job: Job
    slot: int
    since: float


@dataclasses.dataclass
class Scheduler:
    """Runs a sweep to its end.

    A run starts when every run it needs is finished and one of ``parallel`` places is free, the one with the longest
    chain behind it first. When a run fails, those that need it are marked as blocked and all others go on. Finished
    runs are never started again. A run that a killed scheduler left working is waited for, not started a second time.

    Attributes:
        sweep: the runs.
        state: the claimed folder, locked by the caller.
        executor: starts jobs.
        parallel: runs side by side.
        costs: for the order and the ETA.
        tell: called with one line for people at every event.
        on_finished: called after runs have finished and the next ones have started.
        on_turn: called at every poll, for a progress line.
        poll_seconds: between two looks at the running jobs.
    """

    sweep: Sweep
    state: SweepState
    executor: Executor
    parallel: int
    costs: Costs
    tell: Callable[[str], None]
    on_finished: Callable[[], None] = lambda: None
    on_turn: Callable[["Scheduler"], None] = lambda _: None
    poll_seconds: float = 0.5
    _started: dict[str, _Started] = dataclasses.field(default_factory=dict, init=False)
    _news: bool = dataclasses.field(default=False, init=False)
    _told: set[str] = dataclasses.field(default_factory=set, init=False)

    def __call__(self) -> None:
        """Run everything that can run; jobs are ended when this is interrupted.

        Raises:
            RunError: the folder cannot be written, or SLURM takes no jobs; running jobs are ended.
        """
        self._prepare()
        try:
            while self._turn():
                time.sleep(self.poll_seconds)
        except BaseException:
            self._stop()
            raise
        finally:
            self._save()

    def states(self) -> dict[str, str]:
        """Return run name -> state."""
        return {run.name: self._record(run)["state"] for run in self.sweep.runs}

    def eta(self) -> float | None:
        """Return the estimated seconds until everything has ended; ``None`` when a time is unknown."""
        left: dict[str, float] = {}
        for run in self.sweep.runs:
            if self._record(run)["state"] in (PENDING, RUNNING):
                seconds = self.costs.of(run).seconds
                if seconds is None:
                    return None
                left[run.name] = seconds
        now = time.monotonic()
        running = {name: now - started.since for name, started in self._started.items()}
        return makespan(self.sweep.runs, left, self.parallel, running=running)

    def _record(self, run: Run) -> dict[str, Any]:
        return self.state.records[run.name]

    def _prepare(self) -> None:
        for run in self.sweep.runs:
            before = self.state.state_of(run)
            record = self.state.records.setdefault(run.name, {})
            attempt = {"state": FINISHED} if before == FINISHED else {"state": PENDING}
            record.update(
                attempt,
                sha256=run.sha256,
                commands=[list(command) for command in run.commands],
                identity=dict(run.identity),
                needs=list(run.needs),
                folder=run.folder,
            )
            record.pop("reason", None)
            if before == RUNNING:
                self._attach(run, record)
        self._save()

    def _attach(self, run: Run, record: dict[str, Any]) -> None:
        job = self._job(run, 0)
        handle = self.executor.attach(job, str(record.get("job_id", "")))
        if handle is not None:
            record["state"] = RUNNING
            slot = self._free_slot()
            self._started[run.name] = _Started(handle, job, slot, time.monotonic())
            self.tell(f"{run.name} still runs from an earlier start of this sweep: waiting for it.")
        elif run.is_done():
            record["state"] = FINISHED if self.state.state_of(run) == FINISHED else PENDING

    def _turn(self) -> bool:
        for name in [name for name, started in self._started.items() if started.handle.done()]:
            self._end(name)
        self._block()
        waiting = self._start_ready()
        # After the next runs have started: a report takes seconds.
        if self._news:
            self._news = False
            self.on_finished()
        self.on_turn(self)
        return bool(self._started or waiting)

    def _start_ready(self) -> bool:
        """Start what may start; return whether something may start later."""
        states = self.states()
        ready = [
            run
            for run in self.sweep.runs
            if states[run.name] == PENDING and all(states[need] == FINISHED for need in run.needs)
        ]
        if not ready or len(self._started) >= self.parallel:
            return bool(ready)
        left = {
            run.name: self.costs.of(run).seconds or 1.0
            for run in self.sweep.runs
            if states[run.name] == PENDING
        }
        ranks = tails(self.sweep.runs, left)
        for run in sorted(ready, key=lambda run: -ranks[run.name]):
            if len(self._started) >= self.parallel:
                break
            if not self._in_use(run):
                self._start(run)
        return bool(ready)

    def _in_use(self, run: Run) -> bool:
        """Tell whether somebody else works in the run's folder: a person, or what a killed scheduler left."""
        used = is_locked(Path(run.folder) / ".lock") or is_locked(
            self.state.job_folder(run.name) / ".lock"
        )
        if used and run.name not in self._told:
            self._told.add(run.name)
            self.tell(f"{run.name}: {run.folder} is in use by another process: waiting for it.")
        return used

    def _job(self, run: Run, slot: int) -> Job:
        return Job(
            name=run.name,
            commands=run.commands,
            folder=str(self.state.job_folder(run.name)),
            cwd=os.getcwd(),
            env=environment(self.sweep.execution, slot),
        )

    def _free_slot(self) -> int:
        taken = {started.slot for started in self._started.values()}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _start(self, run: Run) -> None:
        slot = self._free_slot()
        job = self._job(run, slot)
        record = self._record(run)
        with contextlib.suppress(FileNotFoundError):
            (Path(job.folder) / "outcome.json").unlink()
        record.update(state=RUNNING, log=str(job.log), job_id="", host=os.uname().nodename)
        # Before the start: a scheduler killed right after it must know that this run may be working.
        self._save()
        self.tell(f"{run.name} starts.")
        since = time.monotonic()
        handle = self.executor.start(job)
        record["job_id"] = handle.job_id
        self._started[run.name] = _Started(handle, job, slot, since)
        self._save()

    def _end(self, name: str) -> None:
        started = self._started.pop(name)
        run = next(run for run in self.sweep.runs if run.name == name)
        record = self._record(run)
        outcome = read_outcome(started.job)
        code = None if outcome is None else int(outcome["exit_code"])
        record["exit_code"] = code
        record["seconds"] = None if outcome is None else outcome["seconds"]
        if code is None and is_locked(Path(started.job.folder) / ".lock"):
            # Another process has the job, or this one's commands outlived it: wait, then go on with --resume.
            record.update(state=PENDING)
            self._save()
            return
        if run.is_told(code) and run.is_done():
            record.update(state=FINISHED, disk_mb=round(disk_mb(run), 3))
            self.costs.measured = measure(self.sweep, self.state)
            self._save()
            self.tell(f"{name} is finished.")
            self._news = True
            return
        reason = sentence(started.job, code)
        if code == 0:
            reason = f"its commands ended without an error, but {run.folder}/{run.done_file} is missing or incomplete"
        record.update(state=FAILED, reason=reason)
        self._save()
        self.tell(f"{name} FAILED: {reason} (log: {started.job.errors})")

    def _block(self) -> None:
        states = self.states()
        if not {FAILED, BLOCKED} & set(states.values()):
            return
        for run in order(self.sweep.runs):
            bad = [need for need in run.needs if states[need] in (FAILED, BLOCKED)]
            if states[run.name] == PENDING and bad:
                states[run.name] = BLOCKED
                self._record(run).update(state=BLOCKED, reason=f"needs {', '.join(bad)}")
                self.tell(f"{run.name} is blocked: it needs {', '.join(bad)}.")

    def _stop(self) -> None:
        if self._started:
            self.tell(f"Ending {', '.join(self._started)} ...")
        for name, started in self._started.items():
            with contextlib.suppress(Exception):
                started.handle.stop()
            self.state.records[name]["state"] = PENDING
        self._started.clear()

    def _save(self) -> None:
        self.state.save(self.sweep, costs=self.costs.measured)
