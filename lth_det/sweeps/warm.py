"""Warm start: the commands of runs are forked from a process that has done their imports once.

Python, torch and Detectron2 take seconds to import, for every command of every run, which is a good part of a short run.
The standard library's fork server imports them once per sweep. Each job is a process of that server, and forks once
per command; what is forked then does what ``python tools/....py`` does, with the same logs, exit codes and signals.

Not everything can be had this way. What libraries read while they are imported (``OMP_NUM_THREADS``,
``DETECTRON2_DATASETS``) must be the same for the server and the command, and only the tools of this repository are
known to need these imports. All else starts cold, as a new program.
"""

import atexit
import contextlib
import dataclasses
import functools
import gc
import io
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.process
import multiprocessing.util
import os
import random
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from lth_det.sweeps.job import (
    Command,
    Job,
    Launch,
    argv,
    changed,
    interrupts_ignored,
    run_job,
    start_program,
    stop_processes,
)

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PRELOAD = ("lth_det.sweeps.warm_server",)
# Read when a process first uses a GPU, which no import does; it differs between the places of a sweep.
_FREE_VARIABLES = ("CUDA_VISIBLE_DEVICES",)
# This module is imported by main processes: also the fork server, and the job's process until it has read its work.
_MAIN_PROCESS: Any = type(multiprocessing.current_process())

# The standard library has one fork server per process, whose environment stays what it was when it started.
_served: dict[str, str] | None = None


@dataclasses.dataclass
class WarmHandle:
    """A job in a process of the fork server."""

    job: Job
    process: Any
    job_id: str

    def done(self) -> bool:
        """Tell whether the job's process has ended."""
        return not self.process.is_alive()

    def stop(self) -> None:
        """End the commands, and the job's process, for which the end of this one would wait."""
        stop_processes(self.job.folder)
        self.process.terminate()


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """Starts jobs in processes that have the imports already.

    Attributes:
        tools: the folder whose Python files are run warm.
        preload: modules that the fork server imports; those that are absent are skipped.
    """

    tools: Path = TOOLS
    preload: tuple[str, ...] = PRELOAD

    def takes(self, job: Job) -> bool:
        """Tell whether the job gains by a warm start, and gets the environment that it asks for."""
        if not any(is_warm(argv(command, job.cwd), self.tools) for command in job.commands):
            return False
        return _served is None or _served == _served_environment(job)

    def start(self, job: Job) -> WarmHandle:
        """Start a job in a process of its own, which outlives this one.

        Raises:
            OSError, EOFError: the fork server cannot be started or has died.
        """
        context: Any = multiprocessing.get_context("forkserver")
        with _ready_to_serve(job):
            if _served is None:
                context.set_forkserver_preload(list(self.preload))
            multiprocessing.forkserver.ensure_running()
        if _remember(job):
            # Returns after the imports. Ctrl-C may come meanwhile, before there is a job that would be left alone.
            context.Process(target=int).start()
        process = context.Process(target=_job_process, args=(job, self.tools), name=job.name)
        with _ready_to_serve(job):
            process.start()
        return WarmHandle(job, process, str(process.pid))


def available() -> bool:
    """Tell whether this platform has a fork server."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def is_warm(words: list[str], tools: Path) -> bool:
    """Tell whether a command (as of :func:`~lth_det.sweeps.job.argv`) is a Python file of the folder ``tools``."""
    if len(words) < 2 or words[0] != sys.executable or not words[1].endswith(".py"):
        return False
    path = Path(words[1])
    return path.is_file() and path.resolve().parent == tools.resolve()


def start_command(launch: Launch, tools: Path) -> Command:
    """Start a command: a tool is forked from this process, anything else is a new program.

    Raises:
        OSError: it cannot be started.
    """
    if not is_warm(launch.argv, tools):
        return start_program(launch)
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _command_process(launch, write)
    os.close(write)
    os.read(read, 1)  # ends when the child has its process group, by which it can be stopped
    os.close(read)
    return _Forked(pid)


@dataclasses.dataclass
class _Forked:
    pid: int

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _served_environment(job: Job) -> dict[str, str]:
    changes = {key: value for key, value in job.env.items() if key not in _FREE_VARIABLES}
    return changed(os.environ, changes)


def _remember(job: Job) -> bool:
    """Note the environment of the server; return whether it was the first time."""
    global _served
    if _served is not None:
        return False
    _served = _served_environment(job)
    return True


@contextlib.contextmanager
def _ready_to_serve(job: Job) -> Iterator[None]:
    """Give a fork server that starts inside the job's environment, and let it and the jobs ignore Ctrl-C."""
    before = dict(os.environ)
    try:
        _set_environment(_served_environment(job))
        with interrupts_ignored():
            yield
    finally:
        _set_environment(before)


def _set_environment(wanted: dict[str, str]) -> None:
    for key in os.environ.keys() - wanted.keys():
        del os.environ[key]
    for key, value in wanted.items():
        if os.environ.get(key) != value:
            os.environ[key] = value


def _job_process(job: Job, tools: Path) -> None:
    """Run a job to its end, away from the scheduler's terminal: it goes on when that is closed."""
    os.setsid()
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "start.log").open("a") as log, open(os.devnull) as null:
        _redirect(null.fileno(), log.fileno(), log.fileno())
    run_job(job, functools.partial(start_command, tools=tools))


def _redirect(*descriptors: int) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)


def _command_process(launch: Launch, started: int) -> NoReturn:
    """Become the command, run it, and end this process as Python would."""
    code = 1
    try:
        os.setsid()
        os.close(started)
        _become(launch)
        code = _run_script(launch.argv[1])
        code = _clean_up(code)
    except BaseException:  # noqa: BLE001 - nothing may get back into the code of the job's process
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def _become(launch: Launch) -> None:
    """Give this process what a new interpreter would have."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(os.devnull) as null:
        _redirect(null.fileno(), launch.out.fileno(), launch.err.fileno())
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the rest of the process
    os.set_inheritable(launch.lock, True)
    _set_environment(launch.environment)
    os.chdir(launch.cwd)
    script = launch.argv[1]
    sys.argv = launch.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)
    # What multiprocessing knows about the process that this one was forked from.
    current: Any = multiprocessing.process
    current._current_process = _MAIN_PROCESS()
    current._parent_process = None
    current._children = set()
    multiprocessing.set_start_method(None, force=True)
    util: Any = multiprocessing.util
    util._finalizer_registry.clear()
    util._run_after_forkers()
    # A fork continues the random numbers of its parent: two runs would draw the same.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _run_script(script: str) -> int:
    """Run a file as the main program; return the exit code."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        return _exit_code(stop.code)
    except BaseException as error:  # noqa: BLE001 - the end of the program, whatever it is
        frames = _below(script, error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(frames), frames)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _below(script: str, frames: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the script: all of it that a new interpreter would show."""
    while frames is not None and frames.tb_frame.f_code.co_filename != script:
        frames = frames.tb_next
    return frames


def _clean_up(code: int) -> int:
    """Do what an interpreter does at its end; return the exit code."""
    shutdown: Any = threading
    shutdown._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    # An interpreter takes its modules down, which closes the files that they hold.
    for item in gc.get_objects():
        if type(item) in (io.TextIOWrapper, io.BufferedWriter):
            with contextlib.suppress(OSError, ValueError):
                item.flush()
    gc.collect()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 120  # as Python
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
