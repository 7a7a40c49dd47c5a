"""What the commands of sweeps import, imported once in the process that they are forked from; see ``warm``.

Only names: a sweep knows neither torch nor Detectron2, and goes on without them. A module that is absent, or fails, is
left to the command that needs it, which says so in its own log.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

NAMES = (
    # The job's process unpickles its work from these.
    "lth_det.cli.compare_tickets",
    "lth_det.sweeps.warm",
    # tools/train_net.py
    "lth_det.cli.train_net",
    "lth_det.d2.distributed",
    "lth_det.d2.launching",
    "lth_det.d2.preflight",
    "lth_det.d2.run",
    "torch.utils.tensorboard",
    # tools/transfer_ticket.py
    "lth_det.cli.transfer_ticket",
    "lth_det.d2.transfer",
    "lth_det.transfer.compose",
    "lth_det.transfer.report",
    "lth_det.transfer.source",
    # tools/train_classifier.py
    "lth_det.cli.train_classifier",
    "lth_det.classify.dry_run",
    "lth_det.classify.run",
    "lth_det.classify.transfer_run",
    "lth_det.classify.transfer_table",
    "lth_det.reports.terminal",
)


def import_all(names: Sequence[str] = NAMES) -> None:
    """Import what can be imported, in silence: the process belongs to no run, and outlives the scheduler's terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    # "python -c" finds modules in the working folder, which a tool does not.
    sys.path[:] = [entry for entry in sys.path if entry]
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
