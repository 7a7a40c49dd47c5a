import pytest
import torch

from lth_det.errors import ScopeError
from lth_det.pruning import (
    MagnitudeCriterion,
    RandomCriterion,
    UniformAllocation,
    prune,
    select_keep,
)
from lth_det.pruning.controls import complement, disjoint_like, perturbed, random_like, reshuffled
from lth_det.tickets import Mask


@pytest.fixture
def ticket():
    generator = torch.Generator().manual_seed(0)
    weights = {
        "conv": torch.randn(32, 8, 3, 3, generator=generator),
        "fc": torch.randn(50, 40, generator=generator) * torch.rand(50, 1, generator=generator),
        "bias": torch.randn(30, generator=generator),
        "all": torch.ones(4, 4),
        "none": torch.ones(4, 4),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(1.0),
    }
    keep = {
        name: select_keep({name: w.abs()}, int(0.2 * w.numel()))[name]
        for name, w in weights.items()
    }
    keep["all"] = torch.ones(4, 4, dtype=torch.bool)
    keep["none"] = torch.zeros(4, 4, dtype=torch.bool)
    return Mask(keep)


def kept(mask):
    return {name: mask.kept_in(name) for name in mask}


DRAWS = {
    "random_like": random_like,
    "reshuffled": reshuffled,
    "disjoint_like": disjoint_like,
    "perturbed": lambda mask, seed: perturbed(mask, 0.1, seed),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_layer_counts_and_shapes_stay(ticket, draw):
    before = ticket.sha256()
    control = draw(ticket, 1)
    assert kept(control) == kept(ticket)
    assert control.shapes == ticket.shapes
    assert control != ticket
    assert ticket.sha256() == before


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_draw_depends_on_the_seed_and_not_on_other_parameters(ticket, draw):
    control = draw(ticket, 1)
    assert draw(ticket, 1) == control
    assert draw(ticket, 2) != control
    assert draw(ticket.restricted_to(["fc"]), 1) == control.restricted_to(["fc"])


def test_random_like_overlaps_at_chance(ticket):
    control = random_like(ticket, 1).restricted_to(["conv", "fc"])
    overlap = ticket.restricted_to(["conv", "fc"]).overlap(control)
    assert abs(overlap.kappa) < 0.03


def test_random_like_does_not_repeat_the_draw_of_a_random_criterion():
    weights = {"w": torch.zeros(10_000)}
    criterion = prune(
        weights,
        table_groups={"w": "g"},
        criterion=RandomCriterion(1),
        allocation=UniformAllocation(),
        density=0.2,
    )
    assert abs(criterion.overlap(random_like(criterion, 1)).kappa) < 0.05


def test_reshuffled_keeps_the_count_of_every_filter(ticket):
    control = reshuffled(ticket, 1)
    for name in ("conv", "fc"):
        before = ticket[name].flatten(1).sum(1)
        assert torch.equal(control[name].flatten(1).sum(1), before)
        assert not torch.equal(control[name], ticket[name])
        assert before.unique().numel() > 1
    assert torch.equal(control["bias"], ticket["bias"])
    uniform = random_like(ticket, 1)
    assert not torch.equal(uniform["fc"].sum(1), ticket["fc"].sum(1))


def test_reshuffled_places_are_uniform_in_a_filter():
    keep = torch.zeros(4000, 10, dtype=torch.bool)
    keep[:, :3] = True
    columns = reshuffled(Mask({"w": keep}), 5)["w"].float().mean(0)
    assert (columns - 0.3).abs().max() < 0.03


def test_complement_keeps_exactly_the_rest(ticket):
    control = complement(ticket)
    assert control.kept == ticket.numel - ticket.kept
    assert ticket.intersection(control).kept == 0
    assert complement(control) == ticket


def test_disjoint_like_avoids_the_ticket_where_there_is_room(ticket):
    control = disjoint_like(ticket, 1)
    without = ["bias", "conv", "fc"]
    assert ticket.restricted_to(without).intersection(control.restricted_to(without)).kept == 0
    assert control["all"].all()
    crowded = Mask({"w": torch.arange(10) < 7})
    control = disjoint_like(crowded, 1)
    assert control["w"][7:].all()
    assert control.kept == 7


def test_perturbed_moves_the_fraction(ticket):
    ticket = ticket.restricted_to(["conv", "fc"])
    for fraction in (0.0, 0.1, 1.0):
        control = perturbed(ticket, fraction, 1)
        stayed = ticket.intersection(control)
        for name in ticket:
            expected = ticket.kept_in(name) - round(fraction * ticket.kept_in(name))
            assert stayed.kept_in(name) == expected
    assert perturbed(ticket, 0.0, 1) == ticket


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(ticket, fraction):
    with pytest.raises(ScopeError, match="fraction of a mask"):
        perturbed(ticket, fraction, 1)


def test_a_random_mask_does_not_look_at_magnitudes():
    weights = {"w": torch.linspace(-1, 1, 20_000)}
    groups = {"w": "g"}
    draws = [
        prune(
            weights, table_groups=groups, criterion=c, allocation=UniformAllocation(), density=0.2
        )
        for c in (MagnitudeCriterion(), RandomCriterion(4))
    ]
    assert abs(draws[0].overlap(draws[1]).kappa) < 0.04
