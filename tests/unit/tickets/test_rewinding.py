import math

import pytest
import torch
from torch import nn

from lth_det.errors import MaskMismatchError
from lth_det.tickets import capture_weights, rewind_


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))


def train(model, steps=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3, 5, 5)).square().sum().backward()
        optimizer.step()


def test_training_on_changes_no_captured_tensor():
    model = small_net()
    train(model, 1)
    captured = capture_weights(model.state_dict())
    kept = {name: bits(tensor) for name, tensor in captured.items()}
    train(model)
    assert {name: bits(tensor) for name, tensor in captured.items()} == kept
    assert not torch.equal(captured["0.weight"], model[0].weight)
    assert not torch.equal(captured["1.running_mean"], model[1].running_mean)
    assert captured["1.num_batches_tracked"].item() == 1


def test_captured_tensors_share_no_storage():
    model = small_net()
    model(torch.ones(2, 3, 5, 5))
    shared = torch.arange(6.0)
    state = {**model.state_dict(), "whole": shared, "part": shared[2:4], "again": shared}
    captured = capture_weights(state)
    places = [t.untyped_storage().data_ptr() for t in captured.values() if t.numel()]
    assert len(set(places)) == len(places)
    assert not set(places) & {t.untyped_storage().data_ptr() for t in state.values()}
    # A view must not drag its whole storage along.
    assert captured["part"].untyped_storage().nbytes() == 8


def test_captured_tensors_are_plain_and_keep_their_dtype():
    state = {
        "half": torch.ones(2, 3, dtype=torch.float16).t(),
        "bf16": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.empty(0, 4),
        "parameter": nn.Parameter(torch.ones(2)),
        "last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    for name, tensor in capture_weights(state).items():
        assert type(tensor) is torch.Tensor
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, state[name])


def test_rewinding_is_exact_and_keeps_the_objects():
    model = small_net()
    train(model, 1)
    captured = capture_weights(model.state_dict())
    objects = [id(p) for p in model.parameters()]
    train(model)
    rewind_(model, captured)
    assert [id(p) for p in model.parameters()] == objects
    for name, tensor in model.state_dict().items():
        assert bits(tensor) == bits(captured[name])
    train(model)
    assert captured["1.num_batches_tracked"].item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_special_values_come_back_bit_for_bit(dtype):
    value = torch.tensor([0.0, -0.0, math.nan, math.inf, -math.inf, 1e-7, -3.3], dtype=dtype)
    target = {"w": torch.zeros(7, dtype=dtype), "s": torch.tensor(1, dtype=dtype)}
    rewind_(target, {"w": value, "s": torch.tensor(2.5, dtype=dtype)})
    assert bits(target["w"]) == bits(value)
    assert target["s"].item() == 2.5


def test_every_difference_is_named_and_nothing_is_changed():
    target = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1), "d": torch.zeros(1)}
    weights = {
        "a": torch.ones(2),
        "b": torch.ones(4),
        "c": torch.ones(1, dtype=torch.float64),
        "x": torch.ones(1),
    }
    with pytest.raises(MaskMismatchError) as error:
        rewind_(target, weights)
    assert str(error.value) == (
        "The weights do not fit the network: missing d; unexpected x; wrong shape b (4,) instead of (3,); "
        "wrong dtype c torch.float64 instead of torch.float32."
    )
    assert target["a"].tolist() == [0.0, 0.0]


def test_tied_weights_are_set_together():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    captured = capture_weights(model.state_dict())
    with torch.no_grad():
        model[0].weight.zero_()
    rewind_(model, captured)
    assert torch.equal(model[1].weight, captured["0.weight"])
    captured["1.weight"] += 1
    with pytest.raises(MaskMismatchError, match=r"one shared tensor 0\.weight and 1\.weight"):
        rewind_(model, captured)


def test_tied_weights_with_nan_do_not_conflict_with_themselves():
    tensor = torch.zeros(2)
    rewind_({"a": tensor, "b": tensor}, {k: torch.tensor([math.nan, 1.0]) for k in "ab"})
    assert tensor[1] == 1


@pytest.mark.parametrize(
    "bad", [torch.ones(2, device="meta"), torch.eye(2).to_sparse(), {"extra": 1}, None]
)
def test_entries_that_are_no_dense_tensors_are_named(bad):
    with pytest.raises(MaskMismatchError, match=r"not ordinary tensors: head\._extra_state"):
        capture_weights({"w": torch.ones(1), "head._extra_state": bad})
