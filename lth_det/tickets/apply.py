"""Put a mask on parameters in place, and count what has come back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lth_det.tickets.differences import require_equal_shapes
from lth_det.tickets.mask import Mask


@torch.no_grad()
def apply_mask_(params: Mapping[str, Tensor], mask: Mask) -> None:
    """Set the pruned elements of ``params`` to exactly +0.0, whatever they were (NaN and -0.0 too).

    Args:
        params: Parameters or tensors by name, on any device; names that are not in the mask stay as
            they are.
        mask: The mask; each of its names must be in ``params`` with the same shape.

    Raises:
        MaskMismatchError: a name is missing or a shape differs; all of them are named and nothing is
            changed.
    """
    require_fit(params, mask)
    for name, keep in mask.items():
        parameter = params[name]
        # Filling, not multiplying: nan * 0 is nan and -1 * 0 is -0.0.
        parameter.masked_fill_(keep.logical_not_().to(parameter.device), 0.0)


@torch.no_grad()
def count_revived(params: Mapping[str, Tensor], mask: Mask) -> int:
    """Return how many pruned elements of ``params`` are not zero (NaN counts, -0.0 does not).

    Waits for the device once per tensor: for checks, not for the training step.

    Raises:
        MaskMismatchError: a name is missing or a shape differs.
    """
    require_fit(params, mask)
    revived = 0
    for name, keep in mask.items():
        parameter = params[name]
        pruned = keep.logical_not_().to(parameter.device)
        revived += int(torch.count_nonzero(pruned.logical_and_(parameter != 0)))
    return revived


def require_fit(params: Mapping[str, Tensor], mask: Mask) -> None:
    """Do nothing if each name of the mask is in ``params`` with the same shape.

    Raises:
        MaskMismatchError: a name is missing or a shape differs; all of them are named.
    """
    require_equal_shapes(
        mask.shapes,
        {name: tuple(params[name].shape) for name in mask if name in params},
        what="The mask does not fit the parameters",
    )
