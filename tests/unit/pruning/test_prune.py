import tracemalloc

import pytest
import torch
from torch.nn.utils import prune as torch_prune

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.pruning import (
    BudgetAllocation,
    ErkAllocation,
    GeometricSchedule,
    GlobalAllocation,
    GroupAllocation,
    LayerRatioAllocation,
    MagnitudeCriterion,
    RandomCriterion,
    UniformAllocation,
    prune,
)
from lth_det.pruning.apportion import keep_count
from lth_det.tickets import Mask, ParameterEntry, ParameterTable

SHAPES = {"stem.w": (8, 3, 3, 3), "body.w1": (16, 8, 3, 3), "body.w2": (16, 16), "head.w": (10, 64)}
GROUPS = {name: name.split(".")[0] for name in SHAPES}
TOTAL = 216 + 1152 + 256 + 640


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = {"stem.w": 5.0, "body.w1": 1.0, "body.w2": 0.5, "head.w": 0.2}
    return {n: torch.randn(s, generator=generator) * scales[n] for n, s in SHAPES.items()}


def run(values, density, *, criterion=None, allocation=None, previous=None, groups=None):
    return prune(
        values,
        table_groups=groups or GROUPS,
        criterion=criterion or MagnitudeCriterion(),
        allocation=allocation or GlobalAllocation(),
        density=density,
        previous=previous,
    )


class WholeMagnitude:
    """Magnitude without element scores: the other way through `prune`."""

    name = "whole_magnitude"

    def scores(self, weights):
        return {name: weight.abs() for name, weight in weights.items()}


CRITERIA = [MagnitudeCriterion(), RandomCriterion(3), WholeMagnitude()]
ALLOCATIONS = [
    GlobalAllocation(),
    GroupAllocation(),
    BudgetAllocation(fixed={"stem": 1.0}),
    BudgetAllocation(shares={"body": 2.0}),
    UniformAllocation(),
    ErkAllocation(),
]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=lambda a: a.name)
def test_masks_of_rounds_are_nested_and_exact(criterion, allocation):
    previous = None
    # Few survivors at the end, so that whole counts matter; weights change from round to round.
    schedule = GeometricSchedule(0.2, rounds=8)
    for n in range(1, 9):
        density = 1 - schedule.prune_rate(n)
        mask = run(
            weights(n), density, criterion=criterion, allocation=allocation, previous=previous
        )
        assert mask.kept == keep_count(TOTAL, density)
        assert mask.shapes == dict(sorted(SHAPES.items()))
        assert previous is None or mask.is_nested_in(previous)
        previous = mask


def test_global_magnitude_equals_torch_prune():
    values = weights()
    mask = run(values, 0.3)
    modules = {}
    for name, value in values.items():
        modules[name] = torch.nn.Module()
        modules[name].weight = torch.nn.Parameter(value.clone())
    pairs = [(module, "weight") for module in modules.values()]
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=TOTAL - mask.kept)
    for name, module in modules.items():
        assert torch.equal(module.weight_mask.bool(), mask[name])


def test_layerwise_magnitude_equals_torch_prune():
    values = weights()
    mask = run(values, 0.3, allocation=UniformAllocation())
    for name, value in values.items():
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(value.clone())
        amount = value.numel() - mask.kept_in(name)
        torch_prune.l1_unstructured(module, "weight", amount=amount)
        assert torch.equal(module.weight_mask.bool(), mask[name])


def test_the_mask_follows_the_weights_it_is_given():
    trained = {"g.w": torch.tensor([0.1, -5.0, 0.2, 4.0])}
    mask = run(trained, 0.5, groups={"g.w": "g"})
    assert mask["g.w"].tolist() == [False, True, False, True]


def test_ties_go_by_the_order_of_the_weights_not_of_the_alphabet():
    values = {"z": torch.ones(2), "a": torch.ones(2)}
    mask = run(values, 0.5, groups={"z": "g", "a": "g"})
    assert mask["z"].tolist() == [True, True]
    assert mask["a"].tolist() == [False, False]


def test_group_scopes_rank_inside_the_group_only():
    mask = run(weights(), 0.25, allocation=GroupAllocation({"stem": 1.0}))
    assert mask.kept_in("stem.w") == 216
    assert mask.kept_in("head.w") == 160
    assert mask.kept_in("body.w1") + mask.kept_in("body.w2") == 352
    assert mask.kept_in("body.w1") / 1152 > mask.kept_in("body.w2") / 256
    everything = run(weights(), 0.25)
    assert everything.kept_in("head.w") < 20


def test_layer_ratios_of_another_ticket():
    ticket = run(weights(), 0.2)
    kept = {name: ticket.kept_in(name) for name in SHAPES}
    mask = run(
        weights(),
        None,
        criterion=RandomCriterion(1),
        allocation=LayerRatioAllocation(kept),
    )
    assert {name: mask.kept_in(name) for name in SHAPES} == kept
    assert mask != ticket


def test_inputs_are_not_changed():
    values = weights()
    copies = {name: value.clone() for name, value in values.items()}
    previous = run(values, 0.5)
    before = previous.sha256()
    run(values, 0.2, previous=previous)
    assert all(torch.equal(values[name], copies[name]) for name in values)
    assert previous.sha256() == before


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_parameters_and_half_precision_work(criterion):
    values = {n: torch.nn.Parameter(v.to(torch.bfloat16)) for n, v in weights().items()}
    assert run(values, 0.3, criterion=criterion).kept == keep_count(TOTAL, 0.3)


@pytest.mark.parametrize(("density", "kept"), [(0.0, 0), (1.0, TOTAL)])
@pytest.mark.parametrize("allocation", [GlobalAllocation(), UniformAllocation(), ErkAllocation()])
def test_all_and_nothing(density, kept, allocation):
    assert run(weights(), density, allocation=allocation).kept == kept


def test_more_than_survives_is_refused():
    previous = run(weights(), 0.2)
    with pytest.raises(ScopeError, match="The network cannot keep 1132 weights: 453 are there"):
        run(weights(), 0.5, previous=previous)
    with pytest.raises(ScopeError, match="cannot be shared out"):
        run(weights(), 0.5, previous=previous, allocation=UniformAllocation())


@pytest.mark.parametrize(
    "criterion", [MagnitudeCriterion(), WholeMagnitude()], ids=lambda c: c.name
)
def test_a_diverged_weight_is_named(criterion):
    values = weights()
    values["body.w2"][3, 4] = float("nan")
    with pytest.raises(ScopeError, match=r"scores of body\.w2 are not finite"):
        run(values, 0.5, criterion=criterion)


def test_a_weight_without_group_is_named():
    with pytest.raises(ScopeError, match=r"no module group: body\.w1, body\.w2"):
        run(weights(), 0.5, groups={"stem.w": "stem", "head.w": "head"})


def test_a_previous_mask_of_another_model_is_refused():
    other = {**weights(), "head.w": torch.ones(64, 10), "extra": torch.ones(1)}
    with pytest.raises(MaskMismatchError, match=r"unexpected extra; wrong shape head\.w"):
        run(weights(), 0.5, previous=Mask.ones_like(other))


def test_scores_that_do_not_fit_are_refused():
    class Forgetful:
        name = "forgetful"

        def scores(self, weights):
            return {n: w for n, w in weights.items() if n != "head.w"}

    class Whole:
        name = "whole"

        def scores(self, weights):
            return {n: w.long() for n, w in weights.items()}

    with pytest.raises(
        MaskMismatchError, match=r"criterion forgetful do not fit .*missing head\.w"
    ):
        run(weights(), 0.5, criterion=Forgetful())
    with pytest.raises(MaskMismatchError, match=r"gave torch\.int64 scores for stem\.w"):
        run(weights(), 0.5, criterion=Whole())


@pytest.mark.parametrize("size", [100, 1_200_000])
def test_a_criterion_that_changes_its_mind_is_refused(size):
    generator = torch.Generator().manual_seed(0)

    class Fickle:
        name = "fickle"

        def scores(self, weights):
            raise NotImplementedError

        def score_elements(self, name, values, start, step):
            return torch.rand(values.shape, generator=generator)

    with pytest.raises(ScopeError, match=r"scores .*change from one reading to the next"):
        run({"g.w": torch.zeros(size)}, 0.5, criterion=Fickle(), groups={"g.w": "g"})


def test_an_allocation_that_forgets_or_repeats_a_parameter_is_refused():
    class Careless:
        name = "careless"

        def scopes(self, request):
            good = UniformAllocation().scopes(request)
            return [*good[:-1], good[0]]

    with pytest.raises(ScopeError, match=r"into one scope; wrong: head\.w, stem\.w"):
        run(weights(), 0.5, allocation=Careless())


def test_works_with_the_groups_of_a_parameter_table():
    table = ParameterTable(
        ParameterEntry(name, shape, 0, GROUPS[name], True, False) for name, shape in SHAPES.items()
    )
    assert run(weights(), 0.5, groups=table.group_of) == run(weights(), 0.5)


def test_extra_memory_is_a_small_part_of_the_weights():
    values = {f"g.{i}": torch.randn(3_000_000) for i in range(3)}
    size = sum(value.numel() * 4 for value in values.values())
    groups = dict.fromkeys(values, "g")
    run(weights(), 0.5)  # imports and caches
    tracemalloc.start()
    try:
        # NumPy reports its memory to tracemalloc; torch's own pieces are 256 kB each.
        run(values, 0.2, groups=groups)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * size
