"""Runs a training command many times and kills it (SIGKILL): ``crash_driver.py LOG ARGUMENTS... < points.json``.

The points are a list; each is ``null`` (run to the end) or ``[kind, file, count]``. Kind ``before``: as the file is about
to be renamed into place for the count-th time; ``half``: with half of it written; ``after``: right after the rename;
``call``: on a call of ``module:function``, which is what ``file`` names then.
Prints the exit codes (-9 = killed) as JSON. Each run is a process of its own, forked when the imports are done.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import lth_det.cli.train_net as command
import lth_det.d2.run  # noqa: F401 (before the fork: importing takes seconds)
from lth_det import io


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def install(kind, file, count):
    """Replace the atomic writer, or a function, by one that kills the process at its point."""
    if kind == "call":
        module, name = file.split(":")
        setattr(importlib.import_module(module), name, lambda *_, **__: die())
        return
    plain = io.atomic_path
    seen = 0

    @contextlib.contextmanager
    def deadly(path):
        nonlocal seen
        hit = Path(path).as_posix().endswith(file)
        seen += hit
        hit = hit and seen == count
        with plain(path) as temporary:
            yield temporary
            if hit and kind == "half":
                os.truncate(temporary, temporary.stat().st_size // 2)
            if hit and kind != "after":
                die()
        if hit:
            die()

    for name, module in list(sys.modules.items()):
        if name.startswith("lth_det") and getattr(module, "atomic_path", None) is plain:
            module.atomic_path = deadly


def child(point, arguments, log):
    """Be the command; never returns."""
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if point is not None:
            install(*point)
        sys.argv = ["train_net.py", *arguments]
        command.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 (a forked child must end here)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main():
    log, *arguments = sys.argv[1:]
    codes = []
    for point in json.load(sys.stdin):
        pid = os.fork()
        if pid == 0:
            child(point, arguments, log)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdout.write(json.dumps(codes) + "\n")


if __name__ == "__main__":
    main()
