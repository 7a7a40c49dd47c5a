import copy

import pytest
import torch
from torch import nn

from lth_det.errors import MaskMismatchError
from lth_det.export.channel_shapes import cut_mask, fit_shapes_
from lth_det.export.channels import Chain, remove_channels_
from lth_det.tickets import Mask


class Net(nn.Module):
    """conv(pad 1)+bn -> conv 1x1+bn -> conv(pad 1) -> deconv -> flatten -> fc -> two readers."""

    def __init__(self):
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.b_norm = nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.c = nn.Conv2d(6, 5, 3, padding=1)
        self.d = nn.ConvTranspose2d(5, 7, 2, stride=2)
        self.e = nn.Linear(7 * 8 * 8, 10)
        self.f, self.g = nn.Linear(10, 4), nn.Linear(10, 3, bias=False)

    def forward(self, x):
        x = self.a_norm(self.a(x)).relu()
        x = self.b_norm(self.b(x)).relu()
        x = self.d(self.c(x).relu()).relu()
        x = self.e(x.flatten(1)).relu()
        return torch.cat([self.f(x), self.g(x)], dim=1)


CHAINS = [
    Chain("a", "a_norm", ("b",), ("b_norm",)),
    Chain("b", "b_norm", ("c",), ("",)),
    Chain("c", "", ("d",), ("",)),
    Chain("d", "", ("e",), ("",)),
    Chain("e", "", ("f", "g"), ("", "")),
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net()
    for norm in (model.a_norm, model.b_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model.double().eval()


def output(model):
    return model(torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double())


def check(model, expected_kept):
    before, plain = output(model), copy.deepcopy(model)
    names = [name for name, value in model.named_parameters() if value.ndim > 1]
    mask = Mask({name: model.get_parameter(name) != 0 for name in names})
    found = remove_channels_(model, CHAINS)
    left = cut_mask(mask, plain, CHAINS, found)
    assert {name: tuple(model.get_parameter(name).shape) for name in names} == left.shapes
    assert all(torch.equal(model.get_parameter(name) != 0, keep) for name, keep in left.items())
    removals = {removal.producer: removal for removal in found}
    assert torch.allclose(output(model), before, rtol=1e-10, atol=1e-12)
    for name, kept in expected_kept.items():
        assert removals[name].kept == kept, name
    fit_shapes_(plain, CHAINS, model.state_dict())
    plain.load_state_dict(model.state_dict())
    assert torch.equal(output(plain), output(model))
    return removals


def test_a_whole_network_loses_nothing(net):
    removals = check(net, {"a": list(range(8)), "e": list(range(10))})
    assert all(removal.constant == 0 for removal in removals.values())


def test_channels_nobody_reads_go_whatever_they_hold(net):
    with torch.no_grad():
        net.b.weight[:, [1, 4]] = 0
        net.d.weight[2] = 0
        net.f.weight[:, 9] = 0
        net.g.weight[:, [8, 9]] = 0
    check(net, {"a": [0, 2, 3, 5, 6, 7], "c": [0, 1, 3, 4], "e": list(range(9))})


def test_constants_move_into_norms_and_biases_where_nothing_pads(net):
    with torch.no_grad():
        net.a.weight[[0, 3]] = 0  # read by a 1x1 convolution with a norm
        net.a_norm.bias[[0, 3]] = 9
        net.e.weight[4] = 0  # read by linear layers, one of which has no bias yet
        net.e.bias[4] = 2.5
    check(net, {"a": [1, 2, 4, 5, 6, 7], "e": [0, 1, 2, 3, 5, 6, 7, 8, 9]})
    assert net.g.bias is not None


def test_constants_stay_before_padding_and_before_a_transposed_convolution(net):
    with torch.no_grad():
        net.b.weight[1] = 0
        net.b_norm.bias[1] = 9
        net.c.weight[2] = 0
        net.c.bias[2] = 1.5
    removals = check(net, {"b": list(range(6)), "c": list(range(5))})
    assert (removals["b"].constant, removals["c"].constant) == (1, 1)


def test_silent_channels_go_even_before_padding(net):
    with torch.no_grad():
        net.b.weight[1] = 0
        net.b_norm.bias[1] = -9  # the ReLU makes it 0
        net.c.weight[2] = 0
        net.c.bias[2] = -0.5
    check(net, {"b": [0, 2, 3, 4, 5], "c": [0, 1, 3, 4]})


def test_a_flattened_map_is_read_channel_by_channel(net):
    with torch.no_grad():
        net.d.weight[:, 3] = 0
        net.d.bias[3] = 0.75  # folds: every pixel of it has a weight of its own
        net.e.weight.view(10, 7, 64)[:, 5] = 0
    check(net, {"d": [0, 1, 2, 4, 6]})


def test_removal_goes_on_through_the_layers(net):
    with torch.no_grad():
        net.f.weight[:, 0] = 0
        net.g.weight[:, 0] = 0  # fc output 0 is not read ...
        net.e.weight[1:, 64:128] = 0  # ... and it alone reads channel 1 of d ...
        net.d.weight[3, [0, 2, 3, 4, 5, 6]] = 0  # ... which alone reads channel 3 of c
    check(net, {"e": list(range(1, 10)), "d": [0, 2, 3, 4, 5, 6], "c": [0, 1, 2, 4]})


def test_one_channel_is_left(net):
    with torch.no_grad():
        net.c.weight.zero_()
        net.c.bias.fill_(-1)
        net.a.weight.zero_()
    removals = check(net, {"c": [0], "b": [0]})
    assert len(removals["a"].kept) == 1


def test_a_chain_that_does_not_fit_is_refused(net):
    with pytest.raises(MaskMismatchError, match="no layer z"):
        remove_channels_(net, [Chain("z", "", ("b",), ("",))])
    with pytest.raises(MaskMismatchError, match="no multiple"):
        remove_channels_(net, [Chain("a", "a_norm", ("c",), ("",))])


def test_shapes_that_no_removal_gives_are_left_for_the_loader_to_refuse(net):
    state = net.state_dict()
    state |= {"a.weight": torch.zeros(9, 3, 3, 3), "f.weight": state["f.weight"][:2]}
    fit_shapes_(net, CHAINS, state)
    with pytest.raises(RuntimeError, match=r"(?s)a\.weight.*f\.weight"):
        net.load_state_dict(state)
