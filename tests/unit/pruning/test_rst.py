import pytest
import torch
from torch import nn

from lth_det.errors import ConfigError, MaskMismatchError, ScopeError
from lth_det.pruning import (
    ErkAllocation,
    GeometricSchedule,
    LayerRatioAllocation,
    UniformAllocation,
)
from lth_det.pruning.rst import (
    Extrusion,
    RstSchedule,
    decoupled_ceiling,
    published_counts,
    random_ticket_mask,
)
from lth_det.tickets import Mask, ParameterEntry, ParameterTable


def published_lambdas(granularity, interval, limit, power, iterations):
    """The published loop: a counter that grows every `interval` iterations until lambda exceeds the limit."""
    counter, strength, finished, out = 0.0, 0.0, False, []
    for iteration in range(iterations):
        if not finished and iteration % interval == 0:
            counter += granularity
            strength = counter**power
            finished = strength > limit
        out.append(strength)
    return out


@pytest.mark.parametrize("power", [1, 2, 3])
def test_strengths_are_the_published_ones(power):
    schedule = RstSchedule(ramp=500, hold=100, interval=5, power=power)
    expected = published_lambdas(0.01, 5, 1.0, power, 600)
    found = [schedule.strength(t) for t in range(600)]
    # Up to the ceiling equal; there the published loop makes one step more.
    assert found[:500] == pytest.approx(expected[:500], abs=1e-9)
    assert found[500:] == [1.0] * 100
    assert max(expected) <= 1.0 + power * 0.0105 + 0.001


def test_published_schedule():
    schedule = RstSchedule.published()
    assert schedule.iterations == 90_000
    assert schedule.strength(0) == schedule.strength(4) == pytest.approx(1e-4)
    assert schedule.strength(5) == pytest.approx(2e-4)
    assert schedule.strength(49_994) == pytest.approx(0.9999)
    assert schedule.strength(49_995) == schedule.strength(89_999) == 1.0


def test_schedule_of_fractions():
    schedule = RstSchedule.of_fraction(1000, ramp=0.5, hold=0.25, ceiling=0.01)
    assert (schedule.ramp, schedule.hold, schedule.iterations) == (500, 250, 750)
    assert schedule.strength(0) == pytest.approx(0.01 / 500)
    assert schedule.strength(499) == schedule.strength(999) == 0.01
    assert RstSchedule.of_fraction(3, ramp=0.01).ramp == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RstSchedule(ramp=0), "not 0, 0 and 1"),
        (lambda: RstSchedule(ramp=5, interval=6), "interval in 1 to the ramp"),
        (lambda: RstSchedule(ramp=5, hold=-1), "hold of at least 0"),
        (lambda: RstSchedule(ramp=5, ceiling=0.0), "must be above 0"),
        (lambda: RstSchedule(ramp=5, ceiling=float("nan")), "must be above 0"),
        (lambda: RstSchedule(ramp=5, power=0), "must be above 0"),
        (lambda: RstSchedule.of_fraction(10, ramp=0.8, hold=0.3), "together at most 1"),
        (lambda: RstSchedule.of_fraction(10, ramp=0.0), "together at most 1"),
        (lambda: published_counts({"a": (1,)}, 1.5), "prune rate must be in 0 to 1"),
    ],
)
def test_bad_values_are_named(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def toy():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def toy_mask():
    generator = torch.Generator().manual_seed(1)
    return Mask(
        {
            "0.weight": torch.rand(3, 1, 3, 3, generator=generator) < 0.4,
            "3.weight": torch.rand(2, 12, generator=generator) < 0.4,
        }
    )


X = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(2))
SCHEDULE = RstSchedule(ramp=20, hold=10, interval=2)


def train(model, before_step, loss_term):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)
    for iteration in range(30):
        optimizer.zero_grad()
        loss = (model(X) - 1).square().mean() + loss_term(iteration)
        loss.backward()
        before_step(iteration)
        optimizer.step()
    return dict(model.named_parameters())


def test_the_penalty_equals_the_published_update():
    mask = toy_mask()
    reference = toy()

    def add_to_gradients(iteration):
        for name, parameter in reference.named_parameters():
            if name in mask:
                strength = (~mask[name]) * SCHEDULE.strength(iteration)
                parameter.grad += strength * parameter.data

    expected = train(reference, add_to_gradients, lambda _: 0.0)
    model = toy()
    extrusion = Extrusion(dict(model.named_parameters()), mask)
    found = train(model, lambda _: None, lambda t: extrusion.penalty(SCHEDULE.strength(t)))
    plain = train(toy(), lambda _: None, lambda _: 0.0)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(plain["3.weight"], expected["3.weight"], atol=1e-3)


def test_penalty_value_and_gradient():
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    mask = Mask({"w": torch.tensor([True, False, False])})
    penalty = Extrusion({"w": weight, "bias": torch.ones(1)}, mask).penalty(0.5)
    assert penalty.item() == 0.25 * (4 + 9)
    penalty.backward()
    assert weight.grad.tolist() == [0.0, -1.0, 1.5]


def test_extruded_weights_fade_and_the_task_goes_on():
    model = toy()
    mask = toy_mask()
    extrusion = Extrusion(dict(model.named_parameters()), mask)
    before = float(extrusion.residual())
    train(model, lambda _: None, lambda t: extrusion.penalty(SCHEDULE.strength(t)))
    assert before > 0.5
    assert float(extrusion.residual()) < 0.5 * before


def test_shrinking_is_decoupled_from_the_optimizer():
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 4.0]))
    extrusion = Extrusion({"w": weight}, Mask({"w": torch.tensor([True, False, False])}))
    extrusion.shrink_(0.25)
    assert weight.tolist() == [1.0, -1.5, 3.0]
    extrusion.shrink_(1.0)
    assert weight.tolist() == [1.0, 0.0, 0.0]
    assert weight.grad is None
    with pytest.raises(ConfigError, match="share in 0 to 1"):
        extrusion.shrink_(1.5)


def test_decoupled_ceiling_is_the_long_run_speed_of_the_coupled_penalty():
    ceiling = decoupled_ceiling()
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    extrusion = Extrusion({"w": weight}, Mask({"w": torch.tensor([False])}))
    optimizer = torch.optim.SGD([weight], lr=1e-3, momentum=0.9)
    for _ in range(300):
        before = weight.item()
        optimizer.zero_grad()
        extrusion.penalty(1.0).backward()
        optimizer.step()
    assert 1 - weight.item() / before == pytest.approx(ceiling, rel=0.15)
    assert decoupled_ceiling(learning_rate=1.0) == 1.0


def test_residual_is_the_share_of_the_norm():
    params = {"a": torch.tensor([3.0, 4.0]).requires_grad_(), "b": torch.zeros(2).requires_grad_()}
    mask = Mask({"a": torch.tensor([False, True]), "b": torch.tensor([False, True])})
    assert Extrusion(params, mask).residual().item() == pytest.approx(0.6)
    zeros = {"a": torch.zeros(2).requires_grad_(), "b": torch.zeros(2).requires_grad_()}
    assert Extrusion(zeros, mask).residual().item() == 0.0
    assert Extrusion({}, Mask({})).residual().item() == 0.0
    assert Extrusion({}, Mask({})).penalty(1.0).item() == 0.0


def test_frozen_or_missing_parameters_are_refused():
    mask = Mask({"a": torch.tensor([True, False]), "b": torch.tensor([True])})
    params = {"a": torch.ones(2), "b": torch.ones(1)}
    with pytest.raises(ScopeError, match=r"are frozen, so RST cannot empty them: a;"):
        Extrusion(params, mask)
    with pytest.raises(MaskMismatchError, match="missing b"):
        Extrusion({"a": torch.ones(2)}, mask)


TABLE = ParameterTable(
    [
        ParameterEntry("stem.w", (8, 3, 3, 3), 216, "stem", True, True),
        ParameterEntry("body.w", (16, 8, 3, 3), 1152, "backbone", True, False),
        ParameterEntry("body.bias", (16,), 16, "backbone", False, False, "bias"),
        ParameterEntry("fc.w", (10, 64), 640, "box_head", True, False),
    ]
)


def draw(seed=1, density=0.3, allocation=None, previous=None):
    return random_ticket_mask(
        TABLE,
        allocation=allocation or UniformAllocation(),
        density=density,
        seed=seed,
        previous=previous,
    )


def test_the_draw_leaves_out_frozen_and_other_parameters():
    mask = draw()
    assert set(mask) == {"body.w", "fc.w"}
    assert mask.kept == round(0.3 * 1792)
    frozen_only = ParameterTable([TABLE[0]])
    with pytest.raises(ScopeError, match="nothing to draw"):
        random_ticket_mask(frozen_only, allocation=UniformAllocation(), density=0.5, seed=0)


def test_the_draw_can_be_repeated_and_depends_on_the_seed():
    assert draw() == draw()
    assert draw(1) != draw(2)
    assert abs(draw(1, 0.5).overlap(draw(2, 0.5)).kappa) < 0.1
    assert draw(allocation=ErkAllocation()).kept_in("fc.w") != draw().kept_in("fc.w")


def test_cycles_are_nested_and_reach_the_rate():
    schedule = GeometricSchedule.to_target(0.9, rounds=5)
    previous = None
    for cycle in range(1, 6):
        mask = draw(density=1 - schedule.prune_rate(cycle), previous=previous)
        assert previous is None or mask.is_nested_in(previous)
        previous = mask
    assert previous.kept == round(0.1 * 1792)


def test_published_counts_draw():
    counts = published_counts({"body.w": (16, 8, 3, 3), "fc.w": (10, 64)}, 0.7)
    assert counts == {"body.w": 1152 - 807, "fc.w": 640 - 448}
    assert published_counts({"a": (5,), "e": (0,)}, 1.0) == {"a": 1, "e": 0}
    mask = draw(density=None, allocation=LayerRatioAllocation(counts))
    assert {name: mask.kept_in(name) for name in mask} == counts
