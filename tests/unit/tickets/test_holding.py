import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import MaskMismatchError
from lth_det.tickets import Mask, holding
from lth_det.tickets.holding import ZeroHolder

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def random_mask(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {name: torch.rand(shape, generator=generator) < 0.4 for name, shape in shapes.items()}
    )


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (16, 4, 3, 3), (0, 4)])
def test_zeros_are_plus_zero_and_kept_bits_stay(shape, dtype):
    mask = random_mask({"w": shape}, seed=len(shape))
    weight = torch.nn.Parameter(torch.randn(shape).to(dtype) - 3)
    expected = torch.where(mask["w"], weight.detach(), torch.zeros((), dtype=dtype))
    holder = ZeroHolder({"w": weight}, mask)
    assert holder.extra_bytes == 0
    for _ in range(2):
        with torch.no_grad():
            weight[~mask["w"]] = torch.tensor(float("nan")).to(dtype)
        holder.hold()
        assert bits(weight) == bits(expected)


@given(st.integers(1, 300), st.integers(1, 9), st.integers(0, 99))
def test_pieces_of_any_size_give_the_same(count, chunk, seed):
    before = holding._CHUNK
    holding._CHUNK = chunk
    try:
        mask = random_mask({"w": (count,)}, seed)
        weight = -torch.ones(count)
        ZeroHolder({"w": weight}, mask).hold()
    finally:
        holding._CHUNK = before
    assert torch.equal(weight, -mask["w"].float() + 0.0)


def test_layouts_that_are_not_contiguous_use_a_byte_per_weight():
    mask = random_mask({"w": (4, 6, 3, 3), "v": (5,)})
    weights = {
        "w": torch.full((4, 6, 3, 3), float("nan")).to(memory_format=torch.channels_last),
        "v": torch.ones(5),
    }
    holder = ZeroHolder(weights, mask)
    assert holder.extra_bytes == 4 * 6 * 9
    holder.hold()
    assert torch.equal(weights["w"].isnan(), mask["w"])
    assert torch.equal(weights["v"], mask["v"].float())


def test_nothing_on_another_device_waits_for_the_host():
    # Any transfer to the host (.item(), .cpu(), bool(), nonzero) of a meta tensor raises.
    mask = random_mask({"a": (40, 30), "b": (9,)})
    weights = {name: torch.ones(shape, device="meta") for name, shape in mask.shapes.items()}
    holder = ZeroHolder(weights, mask)
    assert holder.extra_bytes == 1209
    with pytest.MonkeyPatch.context() as patch:
        for name in ("item", "cpu", "numpy", "tolist", "to", "__bool__", "nonzero"):
            patch.setattr(torch.Tensor, name, forbidden)
        holder.hold()
        holder.masked("a", weights["a"])


def forbidden(*arguments, **options):
    raise AssertionError("the step reads from the device")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_gradient_is_masked_in_a_copy(layout):
    mask = random_mask({"w": (6, 5, 3, 3)})
    gradient = torch.randn(6, 5, 3, 3).to(memory_format=layout)
    before = gradient.clone()
    holder = ZeroHolder({"w": torch.zeros(6, 5, 3, 3)}, mask)
    masked = holder.masked("w", gradient)
    assert torch.equal(gradient, before)
    assert torch.equal(masked, gradient * mask["w"])
    # A parameter without elements has nothing to mask.
    empty = ZeroHolder({"e": torch.zeros(0)}, Mask({"e": torch.zeros(0, dtype=torch.bool)}))
    assert empty.masked("e", torch.zeros(0)).numel() == 0


def test_the_bits_of_the_mask_are_shared_and_unchanged():
    mask = random_mask({"w": (64, 64)})
    digest = mask.sha256()
    holder = ZeroHolder({"w": torch.randn(64, 64)}, mask)
    assert np.shares_memory(holder._steps["w"]._bits, mask.packed("w"))
    holder.hold()
    assert Mask({"w": mask["w"]}).sha256() == digest


def test_a_mask_of_another_network_is_refused():
    with pytest.raises(MaskMismatchError, match="w"):
        ZeroHolder({"w": torch.zeros(4)}, random_mask({"w": (5,)}))
