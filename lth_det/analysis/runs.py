"""Run lengths of masks in Python and NumPy: what is not left to C code, which trusts the runs that it is given.

pycocotools allocates what runs of at least one pixel can need: merging masks with empty runs writes past the end of its memory, and so
can its encoder of run lengths from 2^24 pixels on (six characters a run, without one for the end).
"""

from collections.abc import Sequence

import numpy as np

from lth_det.analysis.checks import IntArray

LARGE = 2**24
"""Pixels from which a run length can take six characters."""


def run_lengths(counts: str | bytes | Sequence[int]) -> list[int]:
    """Return the run lengths of a COCO code: alternately pixels outside and inside, column by column.

    A compressed code holds 5 bits of a number per character (48 + bits, 32 set while more follow, 16 the sign in the
    last), and from the fourth number on differences to the number two places before (pycocotools, ``maskApi.c``).

    >>> run_lengths("73300000")
    [7, 3, 3, 3, 3, 3, 3, 3]
    """
    if isinstance(counts, list | tuple):
        return [int(count) for count in counts]
    code = counts.encode() if isinstance(counts, str) else bytes(counts)
    runs: list[int] = []
    value = shift = 0
    for character in code:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def compress(runs: Sequence[int]) -> bytes:
    """Return the compressed code of run lengths, the inverse of :func:`run_lengths`.

    >>> compress([7, 3, 3, 3, 3, 3, 3, 3])
    b'73300000'
    """
    code = bytearray()
    for index, run in enumerate(runs):
        value = run - (runs[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            code.append(48 + bits + (0x20 if more else 0))
    return bytes(code)


def without_empty(runs: Sequence[int]) -> list[int]:
    """Return the same mask without runs of no pixels, but for a first one, which says that the mask starts inside.

    >>> without_empty([3, 0, 2, 4, 0])
    [5, 4]
    """
    kept: list[int] = []
    for index, run in enumerate(runs):
        if run == 0 and index > 0:
            continue
        if kept and (len(kept) - 1) % 2 == index % 2:
            kept[-1] += run
        else:
            kept.append(run)
    return kept


def covered(mine: bytes, others: Sequence[bytes]) -> int:
    """Return how many pixels of a mask lie under the union of others of the same size, all compressed codes."""
    starts, ends = (np.concatenate(side) for side in zip(*map(_inside, others), strict=True))
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    if not starts.size:
        return 0
    first = np.append(True, starts[1:] > ends[:-1])  # of a block of runs that touch
    low, high = starts[first], ends[np.append(first[1:], True)]
    before = np.append(0, np.cumsum(high - low))

    def below(position: IntArray) -> IntArray:
        block = np.searchsorted(low, position, side="right")
        last = np.maximum(block - 1, 0)
        overhang = np.minimum(position, high[last]) - high[last]
        return np.asarray(np.where(block > 0, before[block] + overhang, 0), dtype=np.int64)

    begin, end = _inside(mine)
    return int((below(end) - below(begin)).sum())


def _inside(code: bytes) -> tuple[IntArray, IntArray]:
    runs = np.array(run_lengths(code), dtype=np.int64)
    ends = np.cumsum(runs)[1::2]
    return ends - runs[1::2], ends
