"""Scores as integers of the same order, read in small pieces.

The bit pattern of a float32, read as int32, has the order of the values from 0 upwards; for negative values the order
is reversed, and flipping all bits but the sign puts it right. So an exact threshold can be found by counting integers,
without sorting or joining tensors, and for scores that are not negative (magnitudes) the key costs nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lth_det.errors import ScopeError
from lth_det.tickets.mask import Mask

KeyArray = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

CHUNK = 1 << 16
"""Elements handled at once: 256 kB of keys stay in a core's cache. A multiple of 8, for packed bits."""

_SAMPLE_STEP = 127  # odd, so that it does not fall in step with the sizes of kernels and channels
_INFINITY = 0x7F800000

ElementScore = Callable[[str, Tensor, int, int], Tensor]
"""(name, values, start, step) -> scores of the elements start, start + step, ... of the flattened tensor."""


def order_keys(scores: Tensor, name: str) -> KeyArray:
    """Return int32 keys with the order of the scores; -0.0 and 0.0 get the same key.

    Args:
        scores: 1-D CPU tensor of a floating dtype, compared as float32.
        name: The parameter, for the error.

    Returns:
        The keys, which may share the memory of the scores: not to be changed.

    Raises:
        ScopeError: a score is NaN or infinite.
    """
    values = scores.detach().to(torch.float32).contiguous().numpy()
    # As unsigned numbers, infinity, NaN and all negative values lie above the finite positive ones.
    if values.size == 0 or int(values.view(np.uint32).max()) < _INFINITY:
        return values.view(np.int32)
    if not np.isfinite(values).all():
        raise ScopeError(
            f"The scores of {name} are not finite (NaN or infinity), so nothing can be ranked; "
            "check the weights: the training has probably diverged."
        )
    # Adding 0.0 turns -0.0, which has the sign bit, into 0.0.
    keys: KeyArray = (values + np.float32(0.0)).view(np.int32)
    keys ^= (keys >> 31) & np.int32(0x7FFFFFFF)
    return keys


class KeyStream:
    """The keys of some parameters, in the order of the names and of the flat index.

    Nothing is computed or copied before it is asked for, and then in pieces of :data:`CHUNK` elements; only a
    tensor that is not contiguous is copied as a whole, one at a time.

    Args:
        tensors: Scores, or weights together with ``score``, by name, on any device.
        names: The parameters of the stream, in the order that decides ties.
        previous: Elements that this mask prunes are not in the stream.
        score: Turns pieces of the tensors into scores; None if the tensors are scores.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        names: Sequence[str],
        *,
        previous: Mask | None = None,
        score: ElementScore | None = None,
    ) -> None:
        self._tensors = tensors
        self._previous = previous
        self._score = score
        self.names = tuple(names)

    def size(self, name: str) -> int:
        """Return the number of elements of a parameter, those out of the stream too."""
        return self._tensors[name].numel()

    @property
    def count(self) -> int:
        """Number of keys in the stream."""
        if self._previous is None:
            return sum(self.size(name) for name in self.names)
        return sum(self._previous.kept_in(name) for name in self.names)

    def pieces(self, name: str) -> Iterator[tuple[KeyArray, Flags | None]]:
        """Yield the keys of all elements of a parameter and which of them are in the stream (None: all)."""
        flat = self._flat(name)
        for start in range(0, flat.numel(), CHUNK):
            keys = self._keys(name, flat[start : start + CHUNK], start, 1)
            yield keys, self._alive(name, start, keys.size)

    def read(self) -> Iterator[KeyArray]:
        """Yield the keys in the stream, piece by piece."""
        for name in self.names:
            for keys, alive in self.pieces(name):
                yield keys if alive is None else keys[alive]

    def sample(self) -> KeyArray:
        """Return about one key in 127 of the stream, evenly spread."""
        parts = []
        for name in self.names:
            flat = self._flat(name)
            keys = self._keys(name, flat[::_SAMPLE_STEP], 0, _SAMPLE_STEP)
            if self._previous is not None:
                positions = np.arange(0, flat.numel(), _SAMPLE_STEP)
                packed = self._previous.packed(name)[positions >> 3]
                keys = keys[(packed >> (7 - (positions & 7)).astype(np.uint8)) & 1 == 1]
            parts.append(keys)
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def _flat(self, name: str) -> Tensor:
        return self._tensors[name].detach().reshape(-1)

    def _keys(self, name: str, values: Tensor, start: int, step: int) -> KeyArray:
        values = values.cpu()
        if self._score is not None:
            values = self._score(name, values, start, step)
        return order_keys(values, name)

    def _alive(self, name: str, start: int, count: int) -> Flags | None:
        if self._previous is None:
            return None
        packed = self._previous.packed(name)[start >> 3 : (start + count + 7) >> 3]
        return np.unpackbits(packed, count=count).view(np.bool_)
