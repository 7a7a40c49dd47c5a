"""What every command shares: exit codes and the form of error messages."""

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from lth_det.errors import LthDetError, ReportedElsewhereError
from lth_det.io import atomic_write, to_json

EXIT_OK = 0
EXIT_DEFECT = 1
EXIT_BAD_INPUT = 2

# What the operating system says when the person, not the program, has to act.
_USER_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
)


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run ``main`` and leave the process with exit code 0 (done), 2 (the input was wrong) or 1 (a defect of ours).

    An :class:`~lth_det.errors.LthDetError` and an operating system error that only the user can mend (disk full,
    no permission) are printed as one line on standard error, without a traceback; anything else keeps its traceback.
    """
    try:
        code = main() or EXIT_OK
    except ReportedElsewhereError:
        code = EXIT_BAD_INPUT
    except LthDetError as error:
        code = _fail(str(error))
    except OSError as error:
        if error.errno not in _USER_ERRNOS:
            raise
        code = _fail(
            f"{error.filename or 'A file'}: {error.strerror}; check space and permissions."
        )
    except KeyboardInterrupt:
        code = 130
        sys.stderr.write("Interrupted; the same command goes on from the last finished stage.\n")
    sys.exit(code)


def leave_at_once(code: int) -> NoReturn:
    """End the process without the interpreter's clean-up, after everything written has been flushed.

    For one of several processes: the threads of a process group that was not left (a failed process must not wait for
    the others) make the clean-up abort now and then, and the abort's signal would hide the exit code.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fail(sentence: str) -> int:
    sys.stderr.write(f"error: {' '.join(sentence.split())}\n")
    return EXIT_BAD_INPUT


def write_json_option(target: str, value: Any) -> None:
    """Write ``value`` as JSON to the file ``target``, or to standard output when ``target`` is ``-``.

    Raises:
        RunError: the file cannot be written.
    """
    if target == "-":
        sys.stdout.write(to_json(value))
    else:
        atomic_write(target, to_json(value))


def read_json(path: str) -> Any:
    """Return the JSON value in the file ``path``.

    Raises:
        LthDetError: the file is missing or is not JSON.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            return json.load(handle)
    except (OSError, ValueError, RecursionError) as error:
        raise LthDetError(f"{path} cannot be read as JSON ({error}); check the path.") from error
