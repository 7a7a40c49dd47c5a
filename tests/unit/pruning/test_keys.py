import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import ScopeError
from lth_det.pruning.keys import CHUNK, KeyStream, order_keys
from lth_det.tickets import Mask

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_keys_have_the_order_of_the_floats(values):
    keys = order_keys(torch.tensor(values, dtype=torch.float32), "w").tolist()
    for one, key in zip(values, keys, strict=True):
        for other, other_key in zip(values, keys, strict=True):
            assert (one < other) == (key < other_key)


def test_the_key_of_a_value_does_not_depend_on_its_piece():
    alone = order_keys(torch.tensor([2.0, 0.0]), "w").tolist()
    mixed = order_keys(torch.tensor([2.0, -0.0, -1.0]), "w").tolist()
    assert mixed[:2] == alone


def test_keys_of_finite_values_leave_both_ends_free():
    keys = order_keys(torch.tensor([3.4028235e38, -3.4028235e38]), "w")
    assert keys.min() > -(2**31)
    assert keys.max() < 2**31 - 1


def test_a_value_that_overflows_float32_is_refused():
    with pytest.raises(ScopeError, match="not finite"):
        order_keys(torch.tensor([1e300], dtype=torch.float64), "w")
    assert order_keys(torch.tensor([1.0], dtype=torch.float64), "w").size == 1


def test_order_keys_leaves_its_argument_alone():
    values = torch.tensor([1.0, -0.0, -2.0])
    order_keys(values, "w")
    assert math.copysign(1, values[1].item()) == -1


def test_pieces_join_to_the_whole_and_skip_what_is_pruned():
    count = 2 * CHUNK + 5
    weights = {"w": torch.arange(float(count)), "v": torch.ones(3)}
    keep = torch.arange(count) % 3 == 0
    mask = Mask({"w": keep, "v": torch.tensor([False, True, False])})
    stream = KeyStream(weights, ["w", "v"], previous=mask)
    expected = [*order_keys(weights["w"][keep], "w"), *order_keys(torch.ones(1), "v")]
    assert stream.count == len(expected)
    assert np.concatenate(list(stream.read())).tolist() == expected
    sample = stream.sample()
    assert sample.tolist() == order_keys(weights["w"][::127][keep[::127]], "w").tolist()


def test_element_scores_see_the_index_of_their_values():
    weights = {"w": torch.arange(float(CHUNK + 300))}

    def score(name, values, start, step):
        assert name == "w"
        assert torch.equal(values, torch.arange(start, start + step * values.numel(), step).float())
        return values

    stream = KeyStream(weights, ["w"], score=score)
    assert sum(keys.size for keys in stream.read()) == CHUNK + 300
    assert stream.sample().size == math.ceil((CHUNK + 300) / 127)
