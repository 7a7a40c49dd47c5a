"""Messages of the parts that detectors share, in the words of a classifier's configuration."""

import contextlib
import re
from collections.abc import Iterator

from lth_det.errors import LthDetError

_KEYS = {
    "LTH.GROUP_PRUNE_RATE": "pruning.groups",
    "LTH.PRUNE_ONLY": "pruning.groups",
    # Not to be chosen here: those of the plan.
    "LTH.SENSITIVITY.RATES": "the rates that pruning.scope sensitivity measures",
    "LTH.CRITERION_BATCHES": "pruning.criterion_batches",
    "LTH.CRITERION": "pruning.criterion",
    "LTH.SCOPE": "pruning.scope",
    "LTH.LAYER_RATIOS": "pruning.layer_ratios",
    "LTH.MASK_FROM": "pruning.mask_from",
    "LTH.TARGETS": "pruning.targets",
    "LTH.CONTROL_ROUNDS": "control_rounds",
    "LTH.CONTROLS": "controls",
    "LTH.METHOD": "method",
    "LTH.RST": "rst",
    "OUTPUT_DIR": "output",
}
_KNOWN = re.compile(rf"({'|'.join(map(re.escape, _KEYS))})(\.[A-Z0-9_]+)?(?![A-Z_])")


@contextlib.contextmanager
def own_key_names() -> Iterator[None]:
    """Let errors for people name the keys of this configuration, not those of a detector's."""
    try:
        yield
    except LthDetError as error:
        text = translated(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error


def translated(text: str) -> str:
    """Return ``text`` with our keys in place of a detector's.

    Example:
        >>> translated("LTH.GROUP_PRUNE_RATE.STEM is 0.5; see LTH.SCOPE.")
        'pruning.groups.stem is 0.5; see pruning.scope.'
    """
    return _KNOWN.sub(lambda found: _KEYS[found[1]] + (found[2] or "").lower(), text)
