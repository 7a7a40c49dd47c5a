"""A mask in nearly as few bits as its entropy: Rice codes of the gaps between kept weights, vectorised.

The flags of a parameter, flattened in C order, are coded by the positions of the rarer kind. A gap (number of other
flags before a position) is split at bit ``shift``: its high part in unary (that many 0 and a 1), its low ``shift`` bits
as they are. All unary parts come first, as one stream of bits, then the low bits, one plane after the other, so that
NumPy codes and decodes without a loop over weights. With ``shift`` 0 the stream is the packed mask itself.

For independent flags the length is at most 1.043 times the entropy (near density 0.38; 1.034 below 0.36), since Rice
codes with the right shift are nearly the optimal codes of geometric gaps (Gallager and van Voorhis, "Optimal source
codes for geometrically distributed integer alphabets", 1975).
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from lth_det.errors import TicketFormatError

Flags = npt.NDArray[np.bool_]
Code = npt.NDArray[np.uint8]
_Whole = npt.NDArray[np.int64]

MAX_SHIFT = 31


@dataclasses.dataclass(frozen=True, eq=False)
class RiceCode:
    """The code of some flags.

    Attributes:
        shift: number of low bits of each gap, 0 to :data:`MAX_SHIFT`.
        inverted: the positions are those of the false flags.
        data: uint8, the unary stream padded to whole bytes, then ``shift`` planes of ceil(positions / 8) bytes, the
            lowest bit first; the first flag is the highest bit of a byte (``numpy.packbits``).
    """

    shift: int
    inverted: bool
    data: Code


def encode(flags: Flags) -> RiceCode:
    """Return the shortest code of ``flags`` ((n,), true = kept); equal flags give equal codes."""
    kept = int(np.count_nonzero(flags))
    inverted = 2 * kept > flags.size
    marked = ~flags if inverted else flags
    positions = np.flatnonzero(marked)
    if not positions.size:
        return RiceCode(0, inverted, np.empty(0, np.uint8))
    gaps = np.diff(positions, prepend=-1) - 1
    shift = _best_shift(gaps)
    if shift == 0:
        return RiceCode(0, inverted, np.packbits(marked[: positions[-1] + 1]))
    ends = np.cumsum((gaps >> shift) + 1) - 1
    unary = np.zeros(int(ends[-1]) + 1, np.bool_)
    unary[ends] = True
    planes = [np.packbits((gaps >> bit) & 1 != 0) for bit in range(shift)]
    return RiceCode(shift, inverted, np.concatenate([np.packbits(unary), *planes]))


def decode(code: RiceCode, *, count: int, kept: int) -> Flags:
    """Return the flags that :func:`encode` got.

    The code may come from a stranger: what is allocated is at most 8 times the code, besides the ``count`` flags
    themselves, and only the code that :func:`encode` could have made for some flags of this number is accepted.

    Args:
        code: the code.
        count: the number of flags.
        kept: how many of them are true, in 0 to ``count``.

    Raises:
        TicketFormatError: the code does not fit these numbers.
    """
    marked = count - kept if code.inverted else kept
    if not (0 <= code.shift <= MAX_SHIFT and 0 <= 2 * marked <= count):
        raise TicketFormatError("a mask code has an impossible shift or count")
    plane_bytes = (marked + 7) // 8
    unary_bytes = code.data.size - code.shift * plane_bytes
    # Each position has its 1 in the unary stream, so this bounds what follows before anything is allocated.
    if unary_bytes < plane_bytes:
        raise TicketFormatError("a mask code is too short")
    ends = _ones(code.data[:unary_bytes], marked)
    gaps = np.diff(ends, prepend=-1) - 1
    if marked and int(gaps.max()) > count >> code.shift:
        raise TicketFormatError("a mask code points behind the last weight")
    gaps <<= code.shift
    for bit in range(code.shift):
        start = unary_bytes + bit * plane_bytes
        plane = np.unpackbits(code.data[start : start + plane_bytes])
        if plane[marked:].any():
            raise TicketFormatError("a mask code has bits after its end")
        gaps |= plane[:marked].astype(np.int64) << bit
    flags = np.full(count, code.inverted, np.bool_)
    if marked:
        positions = _positions(gaps, count)
        flags[positions] = not code.inverted
    return flags


def _best_shift(gaps: _Whole) -> int:
    """Return the shift of the shortest code; the length is convex enough in it to walk from the estimate."""
    mean = float(gaps.mean())
    shift = min(max(int(np.log2(max(mean * 0.69, 1.0))), 0), MAX_SHIFT)
    best = _bits(gaps, shift)
    for step in (1, -1):
        while 0 <= shift + step <= MAX_SHIFT:
            bits = _bits(gaps, shift + step)
            if bits >= best:
                break
            shift, best = shift + step, bits
    return shift


def _bits(gaps: _Whole, shift: int) -> int:
    return gaps.size * (1 + shift) + int((gaps >> shift).sum())


def _ones(stream: Code, number: int) -> _Whole:
    """Return the positions of the ones of a bit stream that must be ``number`` and end in its last byte."""
    ends = np.flatnonzero(np.unpackbits(stream))
    if ends.size != number or (stream.size and not stream[-1]):
        raise TicketFormatError("a mask code does not hold the number of weights it should")
    return ends


def _positions(gaps: _Whole, count: int) -> _Whole:
    # In floating point first: the sum of hostile gaps could pass 2**63.
    if float(gaps.sum(dtype=np.float64)) + gaps.size > count + 1:
        raise TicketFormatError("a mask code points behind the last weight")
    positions = np.cumsum(gaps + 1) - 1
    if int(positions[-1]) >= count:
        raise TicketFormatError("a mask code points behind the last weight")
    return positions
