import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import TicketFormatError
from lth_det.export import rice
from lth_det.export.rice import RiceCode, decode, encode
from lth_det.export.sizes import binary_entropy


def decoded(code, flags):
    return decode(code, count=flags.size, kept=int(flags.sum()))


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 400))
def test_decoding_gives_the_flags_back(flags, zeros):
    array = np.array([*flags, *[False] * zeros, *flags[::-1]], dtype=np.bool_)
    for value in (array, ~array):
        assert np.array_equal(decoded(encode(value), value), value)


def test_a_code_worked_out_by_hand():
    # Kept: 1, 6, 8 of 12. Gaps 1, 4, 1; shift 1: high parts 0, 2, 0 -> 1 001 1; low bits 1, 0, 1.
    flags = np.zeros(12, np.bool_)
    flags[[1, 6, 8]] = True
    code = encode(flags)
    assert (code.shift, code.inverted) == (1, False)
    assert [f"{byte:08b}" for byte in code.data] == ["10011000", "10100000"]


@pytest.mark.parametrize("flags", [[], [True], [False], [True] * 9, [False] * 9])
def test_nothing_marked_needs_no_bytes(flags):
    array = np.array(flags, dtype=np.bool_)
    code = encode(array)
    assert code.data.size == 0
    assert decoded(code, array).tolist() == flags


@pytest.mark.parametrize("density", [0.98, 0.7, 0.5, 0.38, 0.2, 0.1, 0.05, 0.02, 0.001])
def test_length_is_near_the_entropy(density):
    flags = np.random.default_rng(3).random(400_000) < density
    bits = 8 * encode(flags).data.size
    bound = flags.size * binary_entropy(int(flags.sum()), flags.size)
    assert bits <= 1.043 * bound + 64


@pytest.mark.parametrize(
    ("density", "over"), [(0.214, 1.033), (0.3, 1.008), (0.36, 1.029), (0.382, 1.042)]
)
def test_length_where_rice_codes_are_worst(density, over):
    """The expected length of the best Rice code of geometric gaps, and so what docs/ticket_format.md states."""
    flags = np.random.default_rng(4).random(2_000_000) < density
    bits = 8 * encode(flags).data.size
    assert bits / (flags.size * binary_entropy(int(flags.sum()), flags.size)) == pytest.approx(
        over, abs=1.5e-3
    )


@given(
    st.binary(max_size=40),
    st.integers(-1, 33),
    st.booleans(),
    st.integers(0, 120),
    st.integers(-1, 121),
)
def test_any_bytes_decode_to_that_many_flags_or_are_refused(data, shift, inverted, count, kept):
    code = RiceCode(shift, inverted, np.frombuffer(data, np.uint8))
    try:
        flags = decode(code, count=count, kept=kept)
    except TicketFormatError:
        return
    assert flags.shape == (count,)
    assert flags.sum() == kept


def test_what_encode_would_not_write_is_refused():
    flags = np.arange(90) % 13 == 5
    code = encode(flags)
    assert code.shift > 0
    too_long = RiceCode(code.shift, False, np.append(code.data, np.uint8(0)))
    padding = code.data.copy()
    padding[-1] |= 1
    for bad in (too_long, RiceCode(code.shift, False, padding), RiceCode(30, False, code.data)):
        with pytest.raises(TicketFormatError):
            decoded(bad, flags)
    with pytest.raises(TicketFormatError, match="behind the last weight"):
        decode(code, count=60, kept=int(flags.sum()))


def test_a_huge_claim_allocates_nothing():
    # 2**62 flags, 2**61 of them marked, three bytes of code.
    code = RiceCode(0, False, np.full(3, 255, np.uint8))
    with pytest.raises(TicketFormatError):
        decode(code, count=2**62, kept=2**61)
    # Gaps whose sum passes 2**63.
    stream = np.packbits(np.array([0] * 7 + [1] * 9, np.bool_))
    planes = np.full(31 * 2, 255, np.uint8)
    planes[1::2] = 0b11000000
    with pytest.raises(TicketFormatError):
        decode(RiceCode(31, False, np.concatenate([stream, planes])), count=2**34, kept=10)


def test_gaps_whose_sum_wraps_around_are_refused():
    # Only a code of hundreds of megabytes could hold them, so the step itself is asked.
    with pytest.raises(TicketFormatError, match="behind the last weight"):
        rice._positions(np.full(3, 2**62), 2**62)
