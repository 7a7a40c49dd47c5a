"""Keep exactly the wanted number of elements with the highest scores."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import ScopeError
from lth_det.pruning.keys import Flags, KeyArray, KeyStream
from lth_det.pruning.threshold import MAX_KEY, MIN_KEY, Threshold, kth_largest
from lth_det.tickets.differences import require_equal_shapes
from lth_det.tickets.mask import Mask, PackedBits


def select_keep(
    scores: Mapping[str, Tensor], keep_count: int, previous: Mask | None = None
) -> dict[str, Tensor]:
    """Return what to keep so that exactly ``keep_count`` elements with the highest scores are kept.

    All parameters compete with each other. Of equal scores (-0.0 equals 0.0) those are kept that come first in the
    order of the names in ``scores``, then of the flat (C order) index. The tensors are never joined; beside the
    result the memory needed is a few MB, whatever their size.

    Args:
        scores: Finite scores by parameter name, any shape, device and floating dtype, compared as float32.
        keep_count: How many to keep over all parameters.
        previous: Elements that this mask prunes stay pruned, whatever their score.

    Returns:
        Bool CPU tensors of the same shapes, true = keep.

    Raises:
        ScopeError: a score is NaN or infinite, or ``keep_count`` is negative or more than there is to keep.
        MaskMismatchError: ``previous`` lacks a parameter or has another shape.

    >>> select_keep({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([1.0])}, 2)
    {'a': tensor([True, True]), 'b': tensor([False])}
    """
    if previous is not None:
        require_equal_shapes(
            {name: tuple(value.shape) for name, value in scores.items()},
            {name: shape for name, shape in previous.shapes.items() if name in scores},
            what="The previous mask does not fit the scores",
        )
    stream = KeyStream(scores, list(scores), previous=previous)
    return {
        name: torch.from_numpy(
            np.unpackbits(bits, count=scores[name].numel()).view(np.bool_)
        ).reshape(scores[name].shape)
        for name, bits in select_packed(stream, keep_count).items()
    }


def select_packed(stream: KeyStream, keep_count: int, what: str = "scope") -> dict[str, PackedBits]:
    """Return the same as :func:`select_keep` as packed bits (see ``Mask.from_packed``), for a stream of keys.

    Args:
        stream: The keys of the parameters that compete.
        keep_count: How many to keep.
        what: The scope's name, for the error.

    Raises:
        ScopeError: as :func:`select_keep`.
    """
    available = stream.count
    if not 0 <= keep_count <= available:
        raise ScopeError(
            f"The {what} cannot keep {keep_count} weights: {available} are there that are not "
            "pruned yet; choose another prune rate."
        )
    threshold = _threshold(stream, keep_count, available)
    packed: dict[str, PackedBits] = {}
    ties_left = threshold.ties_kept
    kept = 0
    for name in stream.names:
        bits = np.empty((stream.size(name) + 7) // 8, np.uint8)
        start = 0
        for keys, alive in stream.pieces(name):
            keep, ties_left = _keep(keys, alive, threshold.key, ties_left)
            kept += int(np.count_nonzero(keep))
            part = np.packbits(keep)
            bits[start : start + part.size] = part
            start += part.size
        bits.flags.writeable = False
        packed[name] = bits
    if kept != keep_count:
        raise ScopeError(
            f"The scores of the {what} change from one reading to the next; a criterion must not do that."
        )
    return packed


def _threshold(stream: KeyStream, keep_count: int, available: int) -> Threshold:
    if keep_count == 0:
        return Threshold(key=MAX_KEY, ties_kept=0)  # above the key of every finite score
    if keep_count == available:
        return Threshold(key=MIN_KEY, ties_kept=0)  # below the key of every finite score
    return kth_largest(stream, keep_count)


def _keep(keys: KeyArray, alive: Flags | None, threshold: int, ties_left: int) -> tuple[Flags, int]:
    keep = keys > np.int32(threshold)
    if alive is not None:
        keep &= alive
    if ties_left:
        equal = keys == np.int32(threshold)
        if alive is not None:
            equal &= alive
        ties = np.flatnonzero(equal)[:ties_left]
        keep[ties] = True
        ties_left -= ties.size
    return keep, ties_left
