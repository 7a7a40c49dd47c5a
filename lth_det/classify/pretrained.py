"""Weights of another training as a start."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lth_det.errors import MaskMismatchError
from lth_det.tickets.checkpoint_file import load_checkpoint_weights


def overlay_state(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` with the values of the file ``path``, all of it except a head of another task.

    Args:
        path: a state dict with torchvision's names.
        state: the model's own.

    Raises:
        MaskMismatchError: outside the head ``fc`` a name is missing or a shape differs; all are named.
        RunError: the file cannot be read.
    """
    given = load_checkpoint_weights(path)
    result, wrong = dict(state), []
    for name, value in state.items():
        other = given.get(name)
        if other is not None and other.shape == value.shape:
            result[name] = other.to(value.dtype).clone()
        elif not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            had = "missing" if other is None else f"{tuple(other.shape)}"
            wrong.append(f"{name} {tuple(value.shape)}: {had}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MaskMismatchError(
            f"{path} is of another network ({'; '.join(wrong[:5])}{more}); check model.name and the file."
        )
    return result
