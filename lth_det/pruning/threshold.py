"""The k-th largest key of a stream, exactly, in about one pass and little memory.

A sample of the keys gives a narrow range that holds the k-th largest almost surely. One pass counts the keys above
the range and gathers those inside; if they are few, selecting among them ends the search. If they are many (equal
scores, say), a histogram of the range narrows it and another pass follows. A sample that misled costs one more pass
and never a wrong result: every count is of all keys.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lth_det.errors import ScopeError

KeyArray = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.uint32]

MIN_KEY = -(2**31)
MAX_KEY = 2**31 - 1
_BIN_BITS = 16
_GATHER_LIMIT = 1 << 18
_SAMPLE_FROM = 1 << 20
_SAMPLE_MARGIN = 5.0
_MAX_PASSES = (
    8  # 4 are enough: one if the sample misled, one for each half of the 32 bits, one more
)


class Keys(Protocol):
    """A stream of keys that can be read again and again."""

    @property
    def count(self) -> int:
        """Number of keys."""
        ...

    def read(self) -> Iterator[KeyArray]:
        """Yield all keys, piece by piece."""
        ...

    def sample(self) -> KeyArray:
        """Return some of the keys, evenly spread."""
        ...


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Keep every key above ``key`` and the first ``ties_kept`` keys equal to it."""

    key: int
    ties_kept: int


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What one pass found: keys above the range, and those inside minus its low end, or their histogram."""

    above: int
    inside: int
    gathered: Offsets
    histogram: npt.NDArray[np.int64] | None
    shift: int


def kth_largest(stream: Keys, k: int) -> Threshold:
    """Return the threshold that keeps exactly the ``k`` largest keys of a stream.

    Args:
        stream: At least ``k`` keys.
        k: How many to keep, at least 1.

    Raises:
        ValueError: ``k`` is not in 1 to the number of keys.
        ScopeError: the stream is another one each time it is read.
    """
    count = stream.count
    if not 1 <= k <= count:
        raise ValueError(f"k must be in 1 to {count}, not {k}.")
    low, high = _bracket(stream, k, count)
    for _ in range(_MAX_PASSES):
        scan = _scan(stream, low, high)
        rank = k - scan.above  # 1 is the largest key inside the range
        if rank < 1:
            low, high = high + 1, MAX_KEY
        elif rank > scan.inside:
            low, high = MIN_KEY, low - 1
        elif scan.histogram is None:
            return _select(scan.gathered, rank, low)
        else:
            bin_index, rest = _bin_of_rank(scan.histogram, rank)
            low += bin_index << scan.shift
            high = min(high, low + (1 << scan.shift) - 1)
            if scan.shift == 0:
                return Threshold(key=low, ties_kept=rest)
    raise ScopeError(
        "The scores change from one reading to the next; a criterion must not do that."
    )


def _bracket(stream: Keys, k: int, count: int) -> tuple[int, int]:
    if count < _SAMPLE_FROM:
        return MIN_KEY, MAX_KEY
    sample = stream.sample()
    size = sample.size
    if size == 0:
        return MIN_KEY, MAX_KEY
    share = k / count
    center = size * (1.0 - share)
    # Neighbours are alike, so the sample is worth less than its size: hence the wide margin.
    margin = _SAMPLE_MARGIN * math.sqrt(size * share * (1.0 - share)) + 8.0
    first = max(math.floor(center - margin), 0)
    last = min(math.ceil(center + margin), size - 1)
    ranks = sorted({first, last})
    ordered = np.partition(sample, ranks)
    low = int(ordered[first]) if center > margin else MIN_KEY
    high = int(ordered[last]) if center + margin < size - 1 else MAX_KEY
    return low, high


def _scan(stream: Keys, low: int, high: int) -> _Scan:
    shift = max(0, (high - low).bit_length() - _BIN_BITS)
    # Room for what a good sample leaves inside: 1.6 % of the keys, or 1 MB.
    limit = max(_GATHER_LIMIT, stream.count >> 6)
    above = inside = 0
    waiting: list[Offsets] = []
    waiting_size = 0
    histogram: npt.NDArray[np.int64] | None = None
    for keys in stream.read():
        is_above = keys > np.int32(high)
        above += int(np.count_nonzero(is_above))
        is_inside = keys >= np.int32(low)
        is_inside ^= is_above
        # The difference of two int32 can need 32 bits: as unsigned numbers it is right, modulo 2^32.
        found = keys[np.flatnonzero(is_inside)].view(np.uint32) - np.uint32(low % 2**32)
        inside += found.size
        waiting.append(found)
        waiting_size += found.size
        if waiting_size > limit:
            histogram = _add(histogram, waiting, shift)
            waiting, waiting_size = [], 0
    if histogram is not None:
        histogram = _add(histogram, waiting, shift)
        waiting = []
    gathered = np.concatenate(waiting) if waiting else np.empty(0, np.uint32)
    return _Scan(above, inside, gathered, histogram, shift)


def _add(
    histogram: npt.NDArray[np.int64] | None, parts: list[Offsets], shift: int
) -> npt.NDArray[np.int64]:
    if histogram is None:
        histogram = np.zeros(1 << _BIN_BITS, np.int64)
    if parts:
        bins = np.concatenate(parts) >> np.uint32(shift)
        histogram += np.bincount(bins, minlength=histogram.size)
    return histogram


def _select(offsets: Offsets, rank: int, low: int) -> Threshold:
    position = offsets.size - rank
    value = int(np.partition(offsets, position)[position])
    larger = int(np.count_nonzero(offsets > np.uint32(value)))
    return Threshold(key=low + value, ties_kept=rank - larger)


def _bin_of_rank(histogram: npt.NDArray[np.int64], rank: int) -> tuple[int, int]:
    """Return the bin that holds the rank-th largest key, and its rank inside that bin."""
    at_least = np.cumsum(histogram[::-1])
    steps = int(np.searchsorted(at_least, rank))
    before = int(at_least[steps - 1]) if steps else 0
    return histogram.size - 1 - steps, rank - before
