"""What happens to one run when its turn comes: its commands one after the other, logs, and how it ended."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from lth_det.io import atomic_write_json

BUSY = 75  # as EX_TEMPFAIL: another process has the job; it writes the outcome
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One start of a run.

    Attributes:
        name: of the run.
        commands: argument lists.
        folder: where logs, lock and outcome go; absolute.
        cwd: working folder of the commands.
        env: changes to the environment; ``None`` removes a variable.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    folder: str
    cwd: str
    env: Mapping[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What the commands wrote to standard output."""
        return Path(self.folder) / "out.log"

    @property
    def errors(self) -> Path:
        """What they wrote to standard error."""
        return Path(self.folder) / "err.log"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """One command that is about to start.

    Attributes:
        argv: what is executed.
        cwd: its working folder.
        environment: all of its environment.
        out: receives its standard output.
        err: receives its standard error.
        lock: descriptor of the job's lock, which the command keeps open.
    """

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    out: IO[str]
    err: IO[str]
    lock: int


class Command(Protocol):
    """A command that works, in a process group of its own."""

    pid: int

    def wait(self) -> int:
        """Return the exit code when it has ended; negative for a signal."""


def start_program(launch: Launch) -> Command:
    """Start a command as a new program.

    Raises:
        OSError: there is no such program.
    """
    return subprocess.Popen(
        launch.argv,
        cwd=launch.cwd,
        env=launch.environment,
        stdin=subprocess.DEVNULL,
        stdout=launch.out,
        stderr=launch.err,
        start_new_session=True,
        pass_fds=(launch.lock,),
    )


def changed(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return an environment with changes; ``None`` removes a variable."""
    merged = {**environment, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def argv(command: tuple[str, ...], cwd: str) -> list[str]:
    """Return what is executed for a command: Python and Python files by this interpreter, our tools also from elsewhere.

    ``tools/...py`` that is not below ``cwd`` is taken from the repository that this package lies in.
    """
    first = command[0]
    if first in ("python", "python3"):
        return [sys.executable, *command[1:]]
    if not first.endswith(".py"):
        return list(command)
    path = Path(cwd) / first
    beside = Path(__file__).resolve().parents[2] / first
    if not path.exists() and first.startswith("tools/") and beside.exists():
        path = beside
    return [sys.executable, str(path), *command[1:]]


def run_job(job: Job, start: Callable[[Launch], Command] = start_program) -> int:
    """Run the commands until one fails; write ``outcome.json``; return the exit code of the last that ran.

    The lock ``.lock`` of the job's folder is held until the last process of the commands has ended, even when this one
    is killed before: nobody starts a run that is still working. This function runs in a process of the job's own.

    Args:
        job: the run.
        start: starts a command.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return BUSY
        started, code = time.time(), 0
        with job.log.open("w") as out, job.errors.open("w") as err:
            for command in job.commands:
                launch = Launch(
                    argv=argv(command, job.cwd),
                    cwd=job.cwd,
                    environment=changed(os.environ, job.env),
                    out=out,
                    err=err,
                    lock=lock.fileno(),
                )
                code = _run_command(folder, command, launch, start)
                if code:
                    break
        outcome = {"exit_code": code, "seconds": round(time.time() - started, 3)}
        atomic_write_json(folder / "outcome.json", outcome)
    return code


def _run_command(
    folder: Path, command: tuple[str, ...], launch: Launch, start: Callable[[Launch], Command]
) -> int:
    launch.out.write(f"$ {shlex.join(command)}\n")
    launch.out.flush()
    try:
        process = start(launch)
    except OSError as error:
        launch.err.write(
            f"error: {command[0]} cannot be started ({error.strerror}); check the command.\n"
        )
        return 127
    facts = {"group": process.pid, "host": os.uname().nodename}
    atomic_write_json(folder / "process.json", facts)
    return process.wait()


def read_outcome(job: Job) -> dict[str, Any] | None:
    """Return how the job ended (``exit_code``, ``seconds``); ``None`` when it was killed before it could say."""
    return read_small(Path(job.folder) / "outcome.json")


def read_small(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file that may be absent or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def sentence(job: Job, code: int | None) -> str:
    """Return why a job failed: the ``error:`` line of its standard error, else its last line, else the exit code."""
    if code is not None and code < 0:
        return f"ended by signal {-code} ({signal.strsignal(-code)})"
    lines = []
    with contextlib.suppress(OSError):
        text = job.errors.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")]
    if said:
        return said[-1].removeprefix("error: ")
    if lines:
        return lines[-1]
    return "ended without a word" if code is None else f"exit code {code}"


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock file ``path`` (an absent file is free)."""
    try:
        handle = path.open("r+")
    except OSError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Let processes started inside ignore Ctrl-C: the scheduler ends them in order, with their children."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


def stop_processes(folder: str, patience: float = 10.0) -> None:
    """End the processes of a job on this machine: SIGTERM, and SIGKILL for what is left after ``patience`` seconds."""
    lock = Path(folder) / ".lock"
    facts = read_small(Path(folder) / "process.json")
    # Without the lock the number may be somebody else's by now.
    if facts is None or facts.get("host") != os.uname().nodename or not is_locked(lock):
        return
    deadline = time.monotonic() + patience
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.killpg(int(facts["group"]), number)
        while is_locked(lock) and time.monotonic() < deadline:
            time.sleep(0.05)
        deadline = time.monotonic() + 2.0
        if not is_locked(lock):
            return
