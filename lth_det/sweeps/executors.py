"""Starting jobs: processes of this machine, SLURM, or this process (``debug``); through submitit, or warm."""

import dataclasses
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lth_det.errors import ConfigError, RunError
from lth_det.sweeps.job import (
    THREAD_VARIABLES,
    Job,
    interrupts_ignored,
    is_locked,
    run_job,
    stop_processes,
)
from lth_det.sweeps.warm import WarmStart, available

logger = logging.getLogger(__name__)

_FOREVER_MINUTES = 60 * 24 * 365


class Handle(Protocol):
    """A started job."""

    job_id: str

    def done(self) -> bool:
        """Tell whether the job has ended, however."""

    def stop(self) -> None:
        """End the job now."""


class Executor(Protocol):
    """Starts jobs."""

    def start(self, job: Job) -> Handle:
        """Start a job."""

    def attach(self, job: Job, job_id: str) -> Handle | None:
        """Return the job that an earlier scheduler started, if it still runs."""


@dataclasses.dataclass
class _LocalHandle:
    """A process of submitit on this machine."""

    job: Job
    submitted: Any
    job_id: str

    def done(self) -> bool:
        """Tell whether submitit's process has ended."""
        return bool(self.submitted.done())

    def stop(self) -> None:
        """End the commands; submitit's process ends by itself then."""
        stop_processes(self.job.folder)


@dataclasses.dataclass
class _LockHandle:
    """A job that an earlier scheduler on this machine started; only its lock tells that it runs."""

    job: Job
    job_id: str

    def done(self) -> bool:
        """Tell whether all its processes have ended."""
        return not is_locked(Path(self.job.folder) / ".lock")

    def stop(self) -> None:
        """End its processes."""
        stop_processes(self.job.folder)


@dataclasses.dataclass
class _SlurmHandle:
    """A job of SLURM."""

    submitted: Any
    job_id: str

    def done(self) -> bool:
        """Ask SLURM (submitit asks at most every few seconds for all jobs together)."""
        return bool(self.submitted.done())

    def stop(self) -> None:
        """Cancel it."""
        self.submitted.cancel()


@dataclasses.dataclass
class LocalExecutor:
    """Processes of this machine.

    Attributes:
        folder: for submitit's own files.
        warm: starts the jobs that gain by it; all others, and all without it, are started by submitit.
    """

    folder: Path
    warm: WarmStart | None = None

    def start(self, job: Job) -> Handle:
        """Start a job in a process of its own, which outlives this one."""
        if self.warm is not None and self.warm.takes(job):
            try:
                return self.warm.start(job)
            except (OSError, EOFError) as error:
                logger.warning("Runs start without warm imports from now on (%s).", error)
                self.warm = None
        executor = _submitit("local", self.folder)
        executor.update_parameters(timeout_min=_FOREVER_MINUTES)
        with interrupts_ignored():
            submitted = executor.submit(run_job, job)
        return _LocalHandle(job, submitted, str(submitted.job_id))

    def attach(self, job: Job, job_id: str) -> Handle | None:
        """Return the job if its lock is held."""
        handle = _LockHandle(job, job_id)
        return None if handle.done() else handle


@dataclasses.dataclass
class DebugExecutor:
    """This process, one job after the other."""

    folder: Path

    def start(self, job: Job) -> Handle:
        """Run the job to its end."""
        submitted = _submitit("debug", self.folder).submit(run_job, job)
        try:
            submitted.result()
        except BaseException:
            stop_processes(job.folder)
            raise
        return _LocalHandle(job, submitted, str(submitted.job_id))

    def attach(self, job: Job, job_id: str) -> Handle | None:
        """Return the job if its lock is held."""
        return LocalExecutor(self.folder).attach(job, job_id)


@dataclasses.dataclass
class SlurmExecutor:
    """SLURM, one ordinary job (no array) for each run.

    Attributes:
        folder: for submitit's files; all nodes must see it.
        options: the plan's ``execution.slurm``.
        threads: CPU threads of a run.
    """

    folder: Path
    options: Mapping[str, Any]
    threads: int = 1

    def start(self, job: Job) -> Handle:
        """Submit a job.

        Raises:
            RunError: SLURM does not take it.
        """
        executor = _submitit("slurm", self.folder)
        parameters: dict[str, Any] = {
            "name": job.name,
            "timeout_min": self.options["minutes"],
            "cpus_per_task": self.options["cpus"] or self.threads,
            "slurm_additional_parameters": dict(self.options["more"]),
        }
        if self.options["gpus"]:
            parameters["gpus_per_node"] = self.options["gpus"]
        if self.options["partition"]:
            parameters["slurm_partition"] = self.options["partition"]
        if self.options["memory_gb"]:
            parameters["mem_gb"] = self.options["memory_gb"]
        executor.update_parameters(**parameters)
        try:
            submitted = executor.submit(run_job, job)
        except Exception as error:  # submitit wraps what sbatch says in several types
            raise RunError(
                f"SLURM did not take the run {job.name} ({error}); check execution.slurm in the plan."
            ) from error
        return _SlurmHandle(submitted, str(submitted.job_id))

    def attach(self, job: Job, job_id: str) -> Handle | None:
        """Return the job if SLURM still has it."""
        if not job_id:
            return None
        import submitit

        handle = _SlurmHandle(submitit.SlurmJob(folder=self.folder, job_id=job_id), job_id)
        return None if handle.done() else handle


def make_executor(execution: Mapping[str, Any], folder: Path) -> Executor:
    """Return the executor that a plan's ``execution`` names; its files go to ``folder``.

    Raises:
        ConfigError: SLURM is asked for and this machine has none.
    """
    kind = execution["executor"]
    if kind == "local":
        warm = execution.get("warm", True) and available()
        return LocalExecutor(folder, WarmStart() if warm else None)
    if kind == "debug":
        return DebugExecutor(folder)
    import submitit

    if submitit.SlurmExecutor.affinity() <= 0:
        raise ConfigError(
            "execution.executor is slurm, but srun is not found here; use --executor local, or start this on a login node."
        )
    return SlurmExecutor(folder, execution["slurm"], execution["threads"])


def environment(execution: Mapping[str, Any], slot: int) -> dict[str, str | None]:
    """Return the changes to the environment of a run in one of the places for running side by side.

    Threads are set on purpose: two runs that each take all cores are slower than one after the other. With
    ``execution.gpus`` each place has one GPU of the list.
    """
    found: dict[str, str | None] = {name: str(execution["threads"]) for name in THREAD_VARIABLES}
    if execution["executor"] != "slurm":
        gpus = execution["gpus"]
        # submitit hides all GPUs from local jobs unless told otherwise.
        found["CUDA_VISIBLE_DEVICES"] = (
            str(gpus[slot % len(gpus)]) if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        )
    return found | dict(execution["env"])


def _submitit(kind: str, folder: Path) -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Sweeps need submitit, which is not installed: pip install 'lth_det[sweep]'."
        ) from error
    classes = {
        "local": submitit.LocalExecutor,
        "debug": submitit.DebugExecutor,
    }
    if kind == "slurm":
        return submitit.AutoExecutor(folder=folder, cluster="slurm")
    return classes[kind](folder=folder)
