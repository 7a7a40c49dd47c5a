import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lth_det.errors import ConfigError, MaskMismatchError, ScopeError
from lth_det.pruning import (
    GlobalAllocation,
    GraspCriterion,
    SnipCriterion,
    SynFlowCriterion,
    TaylorCriterion,
    build_criterion,
    prune,
    prune_gradually,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(12, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(torch.tanh(self.norm(self.conv(x))).flatten(1))


@pytest.fixture
def net():
    model = Net()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


BATCH = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
OTHER = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(2))
PRUNABLE = ("conv.weight", "fc.weight", "unused.weight")


def weights_of(model):
    return {name: p for name, p in model.named_parameters() if name in PRUNABLE}


def loss_of(model, batches=(BATCH,)):
    queue = [*batches]

    def loss_fn():
        queue.append(queue.pop(0))
        return model(queue[-1]).square().sum()

    return loss_fn


def everything(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: (p.requires_grad, p.grad is None) for name, p in model.named_parameters()}
    return state, flags, {name: module.training for name, module in model.named_modules()}


def analytic(model, weights, batch=BATCH):
    """Gradient and Hessian-gradient product by torch.func on one flat vector, without the code under test."""
    names = list(weights)
    sizes = [weights[name].numel() for name in names]

    def loss(vector):
        parts = dict(zip(names, vector.split(sizes), strict=True))
        values = {name: part.reshape(weights[name].shape) for name, part in parts.items()}
        return functional_call(model, values, (batch,)).square().sum()

    vector = torch.cat([weights[name].detach().reshape(-1) for name in names])
    gradient = torch.autograd.functional.jacobian(loss, vector)
    hessian = torch.autograd.functional.hessian(loss, vector)
    product = hessian @ gradient
    return (
        dict(zip(names, vector.split(sizes), strict=True)),
        dict(zip(names, gradient.split(sizes), strict=True)),
        dict(zip(names, product.split(sizes), strict=True)),
    )


def assert_scores(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].reshape(-1), value, rtol=2e-3, atol=1e-4)
        assert found[name].dtype == torch.float32
        assert not found[name].requires_grad


def test_snip_is_weight_times_gradient(net):
    w, g, _ = analytic(net, weights_of(net))
    found = SnipCriterion(net, loss_of(net)).scores(weights_of(net))
    assert_scores(found, {name: (w[name] * g[name]).abs() for name in w})
    assert (found["unused.weight"] == 0).all()


def test_snip_sums_gradients_and_taylor_sums_squares(net):
    weights = weights_of(net)
    w, one, _ = analytic(net, weights)
    _, two, _ = analytic(net, weights, OTHER)
    snip = SnipCriterion(net, loss_of(net, [BATCH, OTHER]), repeats=2).scores(weights)
    assert_scores(snip, {n: (w[n] * (one[n] + two[n])).abs() for n in w})
    taylor = TaylorCriterion(net, loss_of(net, [BATCH, OTHER]), repeats=2).scores(weights)
    assert_scores(taylor, {n: (w[n] * one[n]) ** 2 + (w[n] * two[n]) ** 2 for n in w})


def test_grasp_is_weight_times_hessian_gradient(net):
    w, _, hg = analytic(net, weights_of(net))
    found = GraspCriterion(net, loss_of(net)).scores(weights_of(net))
    assert_scores(found, {name: w[name] * hg[name] for name in w})


def test_grasp_keeps_what_the_gradient_flow_needs():
    # L = (a * x)^2 / 2 + b * 1: removing a takes away the whole gradient a, removing b changes nothing of |g|^2.
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 0.1]]))
    scores = GraspCriterion(
        model, lambda: model.weight[0, 0].square() / 2 + model.weight[0, 1]
    ).scores({"weight": model.weight})["weight"]
    assert scores.tolist() == [[4.0, 0.0]]


def test_grasp_of_a_linear_loss_is_zero():
    model = nn.Linear(2, 1)
    scores = GraspCriterion(model, lambda: model(torch.ones(1, 2)).sum()).scores(
        {"weight": model.weight}
    )
    assert (scores["weight"] == 0).all()


def test_synflow_equals_the_sum_over_paths():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    found = SynFlowCriterion(
        model, lambda: model(torch.ones(1, 2, dtype=torch.float64)).sum()
    ).scores({"0.weight": model[0].weight, "2.weight": model[2].weight})
    first, second = model[0].weight.detach().abs(), model[2].weight.detach().abs()
    paths = first * second.t()
    through = second * (first.sum(1) + model[0].bias.detach().abs())
    largest = max(paths.max(), through.max())
    torch.testing.assert_close(found["0.weight"], (paths / largest) ** 0.125)
    torch.testing.assert_close(found["2.weight"], (through / largest) ** 0.125)


def test_synflow_does_not_overflow_in_deep_nets():
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(60)])
    names = [name for name, p in model.named_parameters() if p.ndim == 2]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
    parameters = dict(model.named_parameters())
    ones = torch.ones(1, 64, dtype=torch.float64)
    absolute = ones.float()
    for layer in model:
        absolute = absolute @ layer.weight.detach().abs().t()
    assert not absolute.isfinite().all()  # in float32 this would be infinite
    found = SynFlowCriterion(model, lambda: model(ones).sum()).scores(
        {n: parameters[n] for n in names}
    )
    assert all(score.isfinite().all() and score.max() > 1e-6 for score in found.values())


@pytest.mark.parametrize("name", ["snip", "grasp", "taylor", "synflow"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(net, name, fails):
    net.conv.weight.requires_grad_(False)
    net.norm.eval()
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    net.norm.train()
    state, flags, training = everything(net)
    dtype = torch.float64 if name == "synflow" else torch.float32

    def loss_fn():
        loss = net(BATCH.to(dtype)).square().sum()
        if fails:
            raise FloatingPointError("no loss today")
        return loss

    criterion = build_criterion(name, model=net, loss_fn=loss_fn)
    objects = [id(p) for p in net.parameters()]
    if fails:
        with pytest.raises(FloatingPointError):
            criterion.scores(weights_of(net))
    else:
        scores = criterion.scores(weights_of(net))
        assert scores["conv.weight"].abs().sum() > 0  # frozen, scored all the same
    after, flags_after, training_after = everything(net)
    assert [id(p) for p in net.parameters()] == objects
    assert flags_after == flags
    assert training_after == training
    assert all(
        torch.equal(after[key], state[key]) and after[key].dtype == state[key].dtype
        for key in state
    )
    assert (net.fc.weight.grad == 1).all()


def test_scoring_works_where_gradients_are_switched_off(net):
    with torch.no_grad():
        scores = SnipCriterion(net, loss_of(net)).scores(weights_of(net))
    assert scores["fc.weight"].sum() > 0


def test_other_values_than_the_model_has_are_refused(net):
    weights = weights_of(net)
    same = {name: value.detach().clone() for name, value in weights.items()}
    SnipCriterion(net, loss_of(net)).scores(same)
    same["fc.weight"][0, 0] += 1
    with pytest.raises(
        MaskMismatchError, match=r"other values than the weights to score: fc\.weight"
    ):
        SnipCriterion(net, loss_of(net)).scores(same)
    with pytest.raises(MaskMismatchError, match=r"not those of the model: unexpected head"):
        SnipCriterion(net, loss_of(net)).scores({"head": torch.ones(1)})


@pytest.mark.parametrize("name", ["snip", "grasp", "taylor", "synflow"])
def test_bad_options(net, name):
    with pytest.raises(
        ConfigError, match=rf"criterion '{name}' does not fit its options: missing a required"
    ):
        build_criterion(name)
    with pytest.raises(ConfigError, match="at least one batch, not 0"):
        build_criterion(name, model=net, loss_fn=loss_of(net), repeats=0)


@pytest.mark.parametrize("name", ["snip", "grasp", "taylor"])
def test_masks_by_gradients_are_exact_and_nested(net, name):
    groups = dict.fromkeys(PRUNABLE, "g")
    criterion = build_criterion(name, model=net, loss_fn=loss_of(net))
    masks = []
    for density in (0.5, 0.2):
        masks.append(
            prune(
                weights_of(net),
                table_groups=groups,
                criterion=criterion,
                allocation=GlobalAllocation(),
                density=density,
                previous=masks[-1] if masks else None,
            )
        )
    assert masks[1].is_nested_in(masks[0])
    assert masks[1].kept == round(0.2 * masks[1].numel)


def deep_and_narrow():
    """A wide layer between narrow ones: one-shot SynFlow empties the wide one first."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(
        nn.Linear(4, 4, bias=False), nn.Linear(4, 400, bias=False), nn.Linear(400, 4, bias=False)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    ones = torch.ones(1, 4, dtype=torch.float64)
    return model, SynFlowCriterion(model, lambda: model(ones).sum())


def test_gradual_synflow_avoids_the_layer_collapse_of_one_shot():
    model, criterion = deep_and_narrow()
    groups = dict.fromkeys(dict(model.named_parameters()), "g")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = {"table_groups": groups, "criterion": criterion, "allocation": GlobalAllocation()}
    density = 16 / 3216
    gradual = prune_gradually(model, density=density, steps=60, **options)
    one_shot = prune_gradually(model, density=density, steps=1, **options)
    assert gradual.kept == one_shot.kept == 16
    assert min(one_shot.kept_in(name) for name in groups) == 0
    assert min(gradual.kept_in(name) for name in groups) > 0
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_gradual_pruning_scores_the_masked_model():
    model = nn.Linear(3, 1, bias=False)
    seen = []

    class Watching:
        name = "watching"

        def scores(self, weights):
            seen.append(int((weights["weight"] != 0).sum()))
            return {"weight": weights["weight"].abs()}

    prune_gradually(
        model,
        table_groups={"weight": "g"},
        criterion=Watching(),
        allocation=GlobalAllocation(),
        density=1 / 3,
        steps=2,
    )
    assert seen == [3, 2]


def test_gradual_pruning_refuses_bad_requests():
    model, criterion = deep_and_narrow()
    options = {"criterion": criterion, "allocation": GlobalAllocation(), "density": 0.5}
    with pytest.raises(ConfigError, match="at least one step"):
        prune_gradually(model, table_groups={"0.weight": "g"}, steps=0, **options)
    with pytest.raises(ScopeError, match=r"no parameter head\.weight"):
        prune_gradually(model, table_groups={"head.weight": "g"}, **options)
    assert math.isfinite(float(model[0].weight.detach().sum()))
