import math

import pytest
import torch
from torch import nn

from lth_det.errors import MaskMismatchError
from lth_det.tickets import Mask, apply_mask_, count_revived


def mask_of(**values):
    return Mask(
        {name.replace("_", "."): torch.tensor(v, dtype=torch.bool) for name, v in values.items()}
    )


def test_pruned_elements_become_plus_zero_and_kept_ones_stay():
    weights = torch.tensor([math.nan, -1.0, math.inf, 2.0, -0.0, 3.0])
    apply_mask_({"w": weights}, mask_of(w=[False, False, False, True, False, True]))
    assert weights.tolist() == [0.0, 0.0, 0.0, 2.0, 0.0, 3.0]
    assert not torch.signbit(weights).any()


def test_a_kept_zero_stays_and_other_names_are_untouched():
    params = {"w": torch.tensor([0.0, 5.0]), "bias": torch.tensor([7.0])}
    apply_mask_(params, mask_of(w=[True, False]))
    assert params["w"].tolist() == [0.0, 0.0]
    assert params["bias"].item() == 7.0


def test_works_in_place_on_parameters_that_need_gradients():
    layer = nn.Linear(2, 2)
    before = layer.weight
    apply_mask_(dict(layer.named_parameters()), mask_of(weight=[[True, False], [False, True]]))
    assert layer.weight is before
    assert layer.weight.requires_grad
    assert layer.weight[0, 1] == 0
    assert layer.weight[0, 0] != 0
    layer(torch.ones(1, 2)).sum().backward()


def test_channels_last_weights_are_masked_at_the_same_places():
    keep = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    plain = torch.ones(4, 3, 2, 2)
    last = plain.clone().to(memory_format=torch.channels_last)
    for weight in (plain, last):
        apply_mask_({"w": weight}, Mask({"w": keep}))
        assert torch.equal(weight.bool(), keep)


def test_all_differences_are_named_and_nothing_is_changed():
    params = {"a": torch.ones(2), "b": torch.ones(2)}
    mask = mask_of(a=[False, False], b=[False], c=[False])
    with pytest.raises(
        MaskMismatchError,
        match=r"does not fit the parameters: missing c; wrong shape b \(2,\) instead of \(1,\)\.",
    ):
        apply_mask_(params, mask)
    assert params["a"].tolist() == [1.0, 1.0]
    with pytest.raises(MaskMismatchError, match="missing c"):
        count_revived(params, mask)


def test_momentum_revives_weights_and_the_mask_takes_them_back():
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.square().sum().backward()
    optimizer.step()
    mask = mask_of(w=[False, True, False])
    apply_mask_({"w": weight}, mask)
    assert count_revived({"w": weight}, mask) == 0
    weight.grad.zero_()
    optimizer.step()
    assert count_revived({"w": weight}, mask) == 2
    apply_mask_({"w": weight}, mask)
    assert count_revived({"w": weight}, mask) == 0
    assert weight[1] != 0


def test_count_revived_counts_nan_but_no_kept_value():
    mask = mask_of(w=[False, False, True, False])
    assert count_revived({"w": torch.tensor([math.nan, -0.0, 4.0, 1e-45])}, mask) == 2
