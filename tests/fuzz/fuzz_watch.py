"""What must not happen while hostile input is read: an audit of the calls that Python makes, a clock, a memory limit."""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator

from lth_det.errors import LthDetError

MOST_SECONDS = 5.0
HARD_SECONDS = 60.0
MORE_MEMORY = 1 << 30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree",
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.startfile",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request",
    "pickle.find_class",
}  # fmt: skip

_watching = False
_installed = False
_forbidden_calls: list[str] = []


class FindingError(Exception):
    """The input made the code do what it must never do."""


def check(read: Callable[[bytes], None], data: bytes) -> bool:
    """Give ``data`` to ``read``; return whether it was accepted.

    Raises:
        FindingError: anything but an ``LthDetError`` with one line came out, it took more than a few seconds of CPU, or a
            file was written, a process started, a connection opened or a pickle read meanwhile.
    """
    begin = time.process_time()
    accepted = True
    with _watch():
        try:
            read(data)
        except LthDetError as error:
            accepted = False
            _require_sentence(error)
        except FindingError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise FindingError(f"{type(error).__name__}: {error}") from error
    if _forbidden_calls:
        raise FindingError(f"forbidden: {', '.join(_forbidden_calls)}")
    seconds = time.process_time() - begin
    if seconds > MOST_SECONDS:
        raise FindingError(f"it took {seconds:.1f} s")
    return accepted


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Let the harness write files of its own while a reader is watched."""
    global _watching
    before, _watching = _watching, False
    try:
        yield
    finally:
        _watching = before


def limit_memory(more: int = MORE_MEMORY) -> None:
    """Let this process have only ``more`` bytes beyond what it has now."""
    with open("/proc/self/statm", encoding="ascii") as handle:
        now = int(handle.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def _require_sentence(error: LthDetError) -> None:
    text = str(error)
    if not text or "\n" in text or len(text) > 5000:
        raise FindingError(f"not one sentence: {text[:300]!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FindingError(f"cannot be printed: {text[:300]!r}") from error


@contextlib.contextmanager
def _watch() -> Iterator[None]:
    global _watching, _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _forbidden_calls.clear()
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, HARD_SECONDS)
    _watching = True
    try:
        yield
    finally:
        _watching = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_long(number: int, frame: object) -> None:
    raise FindingError(f"it took more than {HARD_SECONDS} s")


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        _, mode, flags = arguments
        if isinstance(arguments[0], str) and "__pycache__" in arguments[0]:
            return  # a module that is imported when it is first needed
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & _WRITES
        ):
            _forbidden_calls.append(f"open {arguments[0]!r} for writing")
    elif event in _FORBIDDEN:
        _forbidden_calls.append(f"{event} {arguments!r}"[:200])
