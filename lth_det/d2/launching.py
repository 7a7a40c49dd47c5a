"""Processes that Detectron2's ``launch`` starts: what stops one of them reaches the user as one sentence."""

import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.engine import launch
from torch.multiprocessing.spawn import ProcessException

from lth_det.errors import LthDetError, ReportedElsewhereError

EXIT_REPORTED = 2


def launch_with_sentences(
    work: Callable[..., None],
    num_gpus: int,
    *,
    args: tuple[Any, ...],
    start: Callable[..., None] = launch,
    **machines: Any,
) -> None:
    """Run ``work(*args)`` as Detectron2's ``launch`` does, here or in a process for each GPU of this machine.

    A process that ``launch`` started can give its parent nothing but an exit code, or a traceback. So the first one
    that is stopped by an :class:`LthDetError` leaves the sentence in a file, and the parent raises it.

    Args:
        work: a function that can be pickled.
        num_gpus: processes on this machine.
        args: what ``work`` is called with.
        start: Detectron2's ``launch``, or what stands for it.
        machines: further options of ``launch``: ``num_machines``, ``machine_rank``, ``dist_url``.

    Raises:
        LthDetError: the input was wrong; from whichever process found that first.
        ProcessException: a process failed for another reason; with its traceback.
    """
    if num_gpus * machines.get("num_machines", 1) <= 1:
        start(work, num_gpus, args=args, **machines)
        return
    # Else it warns of each process that it ends, beside the sentence.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="lth_det_") as folder:
        report = Path(folder) / "sentence"
        try:
            start(_Child(work, report), num_gpus, args=args, **machines)
        except ProcessException as error:
            sentence = _sentence(report)
            if sentence:
                raise LthDetError(sentence) from error
            if getattr(error, "exit_code", None) == EXIT_REPORTED:
                # Of several machines: rank 0 failed elsewhere and said why there.
                raise ReportedElsewhereError(str(error)) from error
            raise


@dataclasses.dataclass(frozen=True)
class _Child:
    """The work of one process; sentences go into ``report``, which the first of them makes."""

    work: Callable[..., None]
    report: Path

    def __call__(self, *args: Any) -> None:
        try:
            self.work(*args)
        except ReportedElsewhereError:
            sys.exit(EXIT_REPORTED)
        except LthDetError as error:
            try:
                handle = os.open(self.report, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                sys.exit(EXIT_REPORTED)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(str(error))
            sys.exit(EXIT_REPORTED)


def _sentence(report: Path) -> str:
    return report.read_text(encoding="utf-8") if report.exists() else ""
