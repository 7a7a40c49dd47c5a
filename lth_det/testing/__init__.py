"""Checks that lottery-ticket training is right, to run on a model and a configuration of one's own.

Rewinding and masks go wrong silently: training goes on, the numbers look plausible, and the ticket was none. Each
check below fails loudly in such a case; it raises :class:`BrokenInvariantError` (an ``AssertionError``) with one
sentence.

As a pytest run, on the data set of the configuration (``--lth-options`` may make it smaller)::

    pytest -p lth_det.testing.plugin --pyargs lth_det.testing.invariants --lth-config my.yaml

As functions, in tests of one's own::

    from lth_det.testing import check_rewind_is_a_clone, check_files_hold_zeros

    check_rewind_is_a_clone(model, step=lambda: train_one_step(model))
    check_files_hold_zeros(folder.glob("*.pth"), ticket.mask)

``lth_det.testing.checks`` needs torch only; ``lth_det.testing.detector`` drives Detectron2 and holds what the pytest
run checks.
"""

from lth_det.testing.checks import (
    BrokenInvariantError,
    check_files_hold_zeros,
    check_frozen,
    check_holds_zeros,
    check_nested,
    check_same_weights,
    check_shared_once,
    check_training_holds_zeros,
    check_wrong_model_is_refused,
)
from lth_det.testing.rewind_check import check_rewind_is_a_clone

__all__ = [
    "BrokenInvariantError",
    "check_files_hold_zeros",
    "check_frozen",
    "check_holds_zeros",
    "check_nested",
    "check_rewind_is_a_clone",
    "check_same_weights",
    "check_shared_once",
    "check_training_holds_zeros",
    "check_wrong_model_is_refused",
]
