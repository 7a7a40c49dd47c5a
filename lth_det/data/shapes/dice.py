"""Random numbers that stay the same for every NumPy version."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_BLOCK = 256


class Dice:
    """Random source seeded by a key of non-negative integers.

    Only the raw 64-bit stream of PCG64 is used: NumPy guarantees that stream, while the methods of
    ``numpy.random.Generator`` may change between versions (NEP 19).

    Args:
        key: Any number of non-negative integers, for example (seed, version, split, image).
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))
        self._block: list[int] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a float in ``[low, high)``, from the upper 53 bits of one draw."""
        if not self._block:
            self._block = (self._bits.random_raw(_BLOCK) >> np.uint64(11)).tolist()
        return low + (high - low) * (self._block.pop() * 2.0**-53)

    def log_uniform(self, low: float, high: float) -> float:
        """Return a float in ``[low, high)`` whose logarithm is uniform; both bounds are positive."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """Return an integer in ``[low, high)``; ``high`` must exceed ``low``."""
        return low + int(self.uniform() * (high - low))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability (a fraction)."""
        return self.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items, all equally likely; ``items`` must not be empty."""
        return items[self.integer(0, len(items))]

    def weighted(self, weights: Sequence[float]) -> int:
        """Return an index with probability proportional to its non-negative weight."""
        sums = [0.0]
        for weight in weights:
            sums.append(sums[-1] + weight)
        return min(bisect_right(sums, self.uniform(0.0, sums[-1])), len(weights)) - 1

    def noise(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return uniform bytes 0-255 of the given shape (C order)."""
        count = math.prod(shape)
        words = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return words.view(np.uint8)[:count].reshape(shape)
