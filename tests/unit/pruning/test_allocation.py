import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import ConfigError, ScopeError
from lth_det.pruning import (
    ALLOCATIONS,
    BudgetAllocation,
    ErkAllocation,
    GlobalAllocation,
    GroupAllocation,
    LayerRatioAllocation,
    UniformAllocation,
    build_allocation,
    register_allocation,
)
from lth_det.pruning.allocation import AllocationRequest, Scope
from lth_det.pruning.apportion import keep_count

SHAPES = {
    "backbone.conv1": (64, 3, 7, 7),
    "backbone.conv2": (64, 64, 3, 3),
    "fpn.lateral": (32, 64, 1, 1),
    "box_head.fc1": (128, 800),
}


def request(density, *, shapes=None, available=None):
    shapes = SHAPES if shapes is None else shapes
    return AllocationRequest(
        shapes=shapes,
        groups={name: name.split(".")[0] for name in shapes},
        available=available or {name: math.prod(shape) for name, shape in shapes.items()},
        density=density,
    )


def counts(scopes):
    return {scope.label: scope.keep_count for scope in scopes}


TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
EXACT = [
    GlobalAllocation(),
    UniformAllocation(),
    ErkAllocation(),
    GroupAllocation(),
    BudgetAllocation(),
]
EXACT += [BudgetAllocation(fixed={"fpn": 1.0}), BudgetAllocation(shares={"backbone": 2.0})]


@pytest.mark.parametrize("allocation", EXACT, ids=lambda a: a.name)
@pytest.mark.parametrize("density", [0.0421, 0.1, 0.2, 1 / 3, 0.5, 0.977, 1.0])
def test_counts_sum_exactly_and_scopes_cover_everything_once(allocation, density):
    scopes = allocation.scopes(request(density))
    assert sum(scope.keep_count for scope in scopes) == keep_count(TOTAL, density)
    assert sorted(name for scope in scopes for name in scope.names) == sorted(SHAPES)
    for scope in scopes:
        assert 0 <= scope.keep_count <= sum(math.prod(SHAPES[name]) for name in scope.names)


@pytest.mark.parametrize("allocation", EXACT, ids=lambda a: a.name)
@pytest.mark.parametrize("density", [-0.01, 1.01, math.nan])
def test_a_density_out_of_range_is_refused(allocation, density):
    with pytest.raises(ScopeError, match="density must be in 0 to 1"):
        allocation.scopes(request(density))


@pytest.mark.parametrize("allocation", EXACT, ids=lambda a: a.name)
def test_a_density_is_needed(allocation):
    with pytest.raises(ScopeError, match="needs a density"):
        allocation.scopes(request(None))


def test_global_is_one_scope_in_model_order():
    assert GlobalAllocation().scopes(request(0.5)) == [
        Scope("network", tuple(SHAPES), keep_count(TOTAL, 0.5))
    ]


def test_uniform_gives_each_layer_the_density():
    found = counts(UniformAllocation().scopes(request(0.25)))
    for name, shape in SHAPES.items():
        assert abs(found[f"layer {name}"] - 0.25 * math.prod(shape)) < 1


def rigl_densities(shapes, density):
    """The loop of the RigL paper's code: raise epsilon until no layer is above 1."""
    dense = set()
    while True:
        divisor, rhs = 0.0, 0.0
        raw = {}
        for name, shape in shapes.items():
            n = math.prod(shape)
            if name in dense:
                rhs -= n * (1 - density)
            else:
                rhs += n * density
                raw[name] = sum(shape) / math.prod(shape)
                divisor += raw[name] * n
        epsilon = rhs / divisor
        if max(raw.values()) * epsilon <= 1:
            return {name: 1.0 if name in dense else raw[name] * epsilon for name in shapes}
        dense |= {name for name in raw if raw[name] == max(raw.values())}


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
def test_erk_equals_the_published_loop(density):
    found = counts(ErkAllocation().scopes(request(density)))
    expected = rigl_densities(SHAPES, density)
    for name, shape in SHAPES.items():
        assert abs(found[f"layer {name}"] - expected[name] * math.prod(shape)) < 1.0


def test_erk_makes_small_layers_dense():
    found = counts(ErkAllocation().scopes(request(0.6)))
    assert found["layer fpn.lateral"] == 32 * 64
    expected = rigl_densities(SHAPES, 0.6)
    assert expected["fpn.lateral"] == 1.0


def test_erk_of_literal_shapes():
    # Weights 3 + 3 = 6 and 1 + 6 = 7 on 9 and 6 elements: 13 units for 6 kept.
    shapes = {"g.a": (3, 3), "g.b": (1, 6)}
    assert counts(ErkAllocation().scopes(request(0.4, shapes=shapes))) == {
        "layer g.a": 3,
        "layer g.b": 3,
    }


def test_a_layer_with_little_left_keeps_it_and_the_others_take_the_rest():
    available = {name: math.prod(shape) for name, shape in SHAPES.items()}
    available["backbone.conv1"] = 10
    found = counts(UniformAllocation().scopes(request(0.5, available=available)))
    assert found["layer backbone.conv1"] == 10
    assert sum(found.values()) == keep_count(TOTAL, 0.5)
    assert found["layer box_head.fc1"] > 0.5 * 128 * 800


@given(
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.sampled_from([UniformAllocation, ErkAllocation, GroupAllocation]),
)
def test_falling_densities_never_ask_for_more_than_is_left(one, two, allocation):
    high, low = max(one, two), min(one, two)
    first = allocation().scopes(request(high))
    kept = {scope.names[0]: scope.keep_count for scope in first}
    if allocation is GroupAllocation:
        # The worst place for the survivors of a group: all in its first parameters.
        kept = dict.fromkeys(SHAPES, 0)
        for scope in first:
            left = scope.keep_count
            for name in scope.names:
                kept[name] = min(left, math.prod(SHAPES[name]))
                left -= kept[name]
    second = allocation().scopes(request(low, available=kept))
    assert sum(scope.keep_count for scope in second) == keep_count(TOTAL, low)
    for scope in second:
        assert scope.keep_count <= sum(kept[name] for name in scope.names)


def test_groups_with_densities_of_their_own():
    allocation = GroupAllocation({"fpn": 1.0, "box_head": 0.1})
    found = counts(allocation.scopes(request(0.2)))
    backbone = 64 * 3 * 49 + 64 * 64 * 9
    assert found["group fpn"] == 2048
    assert found["group box_head"] == 10_240
    assert abs(found["group backbone"] - 0.2 * backbone) < 1
    every = GroupAllocation({"fpn": 1.0, "box_head": 0.1, "backbone": 0.5}).scopes(request(None))
    assert sum(counts(every).values()) == 2048 + 10_240 + backbone // 2


def test_a_group_that_should_grow_is_refused():
    available = {name: math.prod(shape) for name, shape in SHAPES.items()}
    available["fpn.lateral"] = 5
    with pytest.raises(
        ScopeError, match="group fpn should keep 1024 weights, but only 5 are not pruned"
    ):
        GroupAllocation().scopes(request(0.5, available=available))
    with pytest.raises(ScopeError, match="group fpn should keep 2048 weights"):
        BudgetAllocation({"fpn": 1.0}).scopes(request(0.5, available=available))


@pytest.mark.parametrize(
    "allocation", [GroupAllocation({"rpn": 0.5}), BudgetAllocation({"rpn": 0.5})]
)
def test_an_unknown_group_is_refused_with_those_that_exist(allocation):
    with pytest.raises(ScopeError, match=r"weights: rpn; there are backbone, fpn, box_head\."):
        allocation.scopes(request(0.5))
    with pytest.raises(ScopeError, match="density must be in 0 to 1, not 2"):
        type(allocation)({"fpn": 2.0}).scopes(request(0.5))


def test_budget_lets_the_other_groups_compete_for_what_remains():
    scopes = BudgetAllocation(fixed={"fpn": 1.0}).scopes(request(0.2))
    assert scopes[0] == Scope("group fpn", ("fpn.lateral",), 2048)
    assert scopes[1].names == ("backbone.conv1", "backbone.conv2", "box_head.fc1")
    assert scopes[1].keep_count == keep_count(TOTAL, 0.2) - 2048


def test_budget_shares_are_densities_in_proportion():
    found = counts(BudgetAllocation(shares={"backbone": 2.0, "fpn": 2.0}).scopes(request(0.2)))
    backbone = 64 * 3 * 49 + 64 * 64 * 9
    density = found["group box_head"] / (128 * 800)
    assert found["group backbone"] / backbone == pytest.approx(2 * density, rel=1e-3)
    assert found["group fpn"] / 2048 == pytest.approx(2 * density, rel=1e-3)
    # A share above one of its weights makes a group dense; the rest goes to the others.
    found = counts(BudgetAllocation(shares={"fpn": 1000.0}).scopes(request(0.5)))
    assert found["group fpn"] == 2048
    assert sum(found.values()) == keep_count(TOTAL, 0.5)


@pytest.mark.parametrize(
    ("allocation", "density", "match"),
    [
        (
            BudgetAllocation({"box_head": 1.0}),
            0.2,
            "the fixed groups keep 102400 and the others can keep 0 to",
        ),
        (BudgetAllocation({"box_head": 0.0}), 0.9, "the fixed groups keep 0 and the others"),
        (BudgetAllocation({"fpn": 1.0}, {"fpn": 1.0}), 0.5, "fixed or has a share, not both: fpn"),
        (BudgetAllocation(shares={"fpn": -1.0}), 0.5, "not negative: fpn"),
        (BudgetAllocation(shares={"fpn": math.nan}), 0.5, "not negative: fpn"),
        (BudgetAllocation(shares={"x": 1.0}), 0.5, "name groups without prunable weights: x"),
        (BudgetAllocation(shares={"fpn": 0.0, "backbone": 0.0}), 1.0, "cannot be shared out"),
    ],
)
def test_budgets_that_cannot_be_met(allocation, density, match):
    with pytest.raises(ScopeError, match=match):
        allocation.scopes(request(density))


def test_budget_of_fixed_groups_only():
    fixed = {"backbone": 0.5, "fpn": 0.5, "box_head": 0.5}
    assert sum(counts(BudgetAllocation(fixed).scopes(request(0.5))).values()) == keep_count(
        TOTAL, 0.5
    )


def test_layer_ratios_are_taken_as_given():
    kept = {name: i + 1 for i, name in enumerate(reversed(SHAPES))}
    scopes = LayerRatioAllocation(kept).scopes(request(None))
    assert counts(scopes) == {f"layer {name}": count for name, count in kept.items()}
    assert [scope.names[0] for scope in scopes] == list(SHAPES)
    with pytest.raises(ScopeError, match=r"keep 10 weights, but the density 0\.5 means"):
        LayerRatioAllocation(kept).scopes(request(0.5))
    assert LayerRatioAllocation(kept).scopes(request(10 / TOTAL)) == scopes


def test_layer_ratios_must_name_the_prunable_parameters():
    with pytest.raises(ScopeError, match=r"differing: fpn\.lateral, head"):
        LayerRatioAllocation(
            {"backbone.conv1": 1, "backbone.conv2": 1, "box_head.fc1": 1, "head": 1}
        ).scopes(request(None))


def test_registry():
    assert {"global", "group", "budget", "uniform", "erk", "layer_ratios"} <= set(ALLOCATIONS)
    assert isinstance(build_allocation("erk"), ErkAllocation)
    assert build_allocation("group", densities={"fpn": 1.0}).densities == {"fpn": 1.0}
    with pytest.raises(
        ConfigError, match="no allocation 'even'; choose one of budget, erk, global"
    ):
        build_allocation("even")
    with pytest.raises(ConfigError, match="already an allocation called 'erk'"):
        register_allocation("erk")(UniformAllocation)
    assert register_allocation("erk")(ErkAllocation) is ErkAllocation
