import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lth_det.errors import ConfigError, ScopeError
from lth_det.export.two_four import (
    project_two_four_,
    semi_structured_problem,
    to_semi_structured_,
    two_four_mask,
)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_two_of_four_and_the_largest_ones(rows, groups, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few distinct values: many ties.
    weight = torch.randint(-2, 3, (rows, 4 * groups), generator=generator).float()
    mask = two_four_mask(weight).reshape(-1, 4)
    values = weight.abs().reshape(-1, 4)
    assert (mask.sum(dim=1) == 2).all()
    assert ((values * mask).sum(dim=1) == values.topk(2, dim=1).values.sum(dim=1)).all()
    for row, keep in zip(values.tolist(), mask.tolist(), strict=True):
        best = sorted(range(4), key=lambda index: (-row[index], index))[:2]
        assert [index for index in range(4) if keep[index]] == sorted(best)


def test_projection_removes_the_least_and_says_how_much():
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -3.0, 2.0, 4.0]]))
    assert project_two_four_(layer) == pytest.approx((1 + 4) / 30)
    assert layer.weight.tolist() == [[0.0, -3.0, 0.0, 4.0]]
    assert project_two_four_(layer) == 0.0


@pytest.mark.parametrize(
    "weight", [torch.zeros(3, 6), torch.zeros(4), torch.full((1, 4), torch.nan)]
)
def test_what_has_no_pattern_is_refused(weight):
    with pytest.raises(ScopeError, match="2:4"):
        two_four_mask(weight)


def test_without_a_gpu_the_kernels_are_refused_in_words():
    layer = nn.Linear(64, 32)
    assert "not on a CUDA device" in semi_structured_problem(layer)
    with pytest.raises(ConfigError, match="not on a CUDA device"):
        to_semi_structured_(layer)


@pytest.mark.gpu
def test_the_kernels_give_the_same_product():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    layer = nn.Linear(128, 64).half().cuda()
    project_two_four_(layer)
    inputs = torch.randn(32, 128, device="cuda", dtype=torch.float16)
    expected = layer(inputs)
    to_semi_structured_(layer)
    assert torch.allclose(layer(inputs), expected, rtol=1e-2, atol=1e-2)
