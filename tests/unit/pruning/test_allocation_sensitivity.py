"""Spending a budget over groups by their sensitivity: equal to trying everything, exact, nested."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_det.errors import ScopeError
from lth_det.pruning import MagnitudeCriterion, prune
from lth_det.pruning import allocation_sensitivity as module
from lth_det.pruning.allocation_sensitivity import (
    SensitivityAllocation,
    SensitivityCurve,
    cheapest_counts,
)


def summed(sizes, curves, counts):
    return sum(float(curves[g].increase_at(counts[g] / sizes[g])) for g in sizes)


def brute_force(sizes, curves, total, low):
    """The smallest summed increase over all whole counts."""
    groups = list(sizes)
    ranges = [range(low.get(g, 0), round(curves[g].rates[-1] * sizes[g]) + 1) for g in groups]
    found = [
        summed(sizes, curves, dict(zip(groups, counts, strict=True)))
        for counts in itertools.product(*ranges)
        if sum(counts) == total
    ]
    return min(found) if found else None


@st.composite
def problems(draw):
    sizes = {f"g{k}": draw(st.sampled_from([5, 10, 20])) for k in range(draw(st.integers(2, 3)))}
    rates = (0.0, 0.2, 0.6, 0.8)  # whole counts of every size
    curves = {}
    for group in sizes:
        steps = draw(st.lists(st.integers(0, 6), min_size=3, max_size=3))
        curves[group] = SensitivityCurve(rates, (0.0, *map(float, itertools.accumulate(steps))))
    low = {group: draw(st.integers(0, size // 5)) for group, size in sizes.items()}
    highest = sum(round(0.8 * size) for size in sizes.values())
    total = draw(st.integers(sum(low.values()), highest))
    return sizes, curves, total, low


@settings(max_examples=60, deadline=None)
@given(problems())
def test_nothing_is_cheaper(problem):
    sizes, curves, total, low = problem
    counts = cheapest_counts(sizes, curves, total, low)
    assert sum(counts.values()) == total
    assert all(low[g] <= counts[g] <= round(0.8 * sizes[g]) for g in sizes)
    assert summed(sizes, curves, counts) == pytest.approx(
        brute_force(sizes, curves, total, low), abs=1e-4
    )


def test_a_plateau_is_used_up_before_a_steep_group():
    curves = {
        "robust": SensitivityCurve((0.0, 0.9), (0.0, 0.1)),
        "tender": SensitivityCurve((0.0, 0.9), (0.0, 5.0)),
    }
    assert cheapest_counts({"robust": 100, "tender": 100}, curves, 100) == {
        "robust": 90,
        "tender": 10,
    }


def test_a_cliff_is_not_crossed_half_way():
    # Greedy by the cheapest first step would stop in the middle of the second group's cliff.
    curves = {
        "slope": SensitivityCurve((0.0, 0.5, 1.0), (0.0, 3.0, 6.0)),
        "cliff": SensitivityCurve((0.0, 0.5, 1.0), (0.0, 5.0, 5.0)),
    }
    assert cheapest_counts({"slope": 10, "cliff": 10}, curves, 10) == {"slope": 0, "cliff": 10}


def test_equal_losses_are_spread_evenly():
    curves = dict.fromkeys("ab", SensitivityCurve((0.0, 0.4, 0.8, 0.9), (0.0, 0.0, 0.0, 1.0)))
    assert cheapest_counts({"a": 100, "b": 100}, curves, 80) == {"a": 40, "b": 40}


def test_many_groups_are_still_met_exactly(monkeypatch):
    monkeypatch.setattr(module, "_MANY", 10)
    rates = (0.0, 0.3, 0.6, 0.9)
    curves = {f"g{k}": SensitivityCurve(rates, (0.0, 1.0 * k, 2.0 * k, 9.0 * k)) for k in range(6)}
    sizes = {group: 100 + 10 * k for k, group in enumerate(curves)}
    counts = cheapest_counts(sizes, curves, 401)
    assert sum(counts.values()) == 401
    monkeypatch.setattr(module, "_MANY", 10**9)
    assert summed(sizes, curves, counts) == pytest.approx(
        summed(sizes, curves, cheapest_counts(sizes, curves, 401)), rel=0.05
    )


def test_curves_are_monotone_and_measured_from_the_dense_loss():
    curve = SensitivityCurve.from_losses((0.5, 0.7, 0.9), (0.8, 1.6, 1.5), 1.0)
    assert curve.rates == (0.0, 0.5, 0.7, 0.9)
    assert curve.increases == pytest.approx((0.0, 0.0, 0.6, 0.6))
    assert float(curve.increase_at(0.6)) == pytest.approx(0.3)
    with pytest.raises(ScopeError, match="not finite"):
        SensitivityCurve.from_losses((0.5,), (float("nan"),), 1.0)
    with pytest.raises(ScopeError, match="does not fall"):
        SensitivityCurve((0.0, 0.5), (0.0, -1.0))


def test_rates_that_are_too_low_are_refused():
    curves = dict.fromkeys("ab", SensitivityCurve((0.0, 0.5), (0.0, 1.0)))
    with pytest.raises(ScopeError, match="add a higher rate"):
        cheapest_counts({"a": 10, "b": 10}, curves, 11)


def test_masks_have_the_exact_count_and_are_nested():
    generator = torch.Generator().manual_seed(0)
    weights = {
        n: torch.randn(s, generator=generator) for n, s in (("x", 101), ("y", 57), ("z", 83))
    }
    groups = {"x": "a", "y": "a", "z": "b"}
    curves = {
        "a": SensitivityCurve((0.0, 0.5, 0.9), (0.0, 0.1, 5.0)),
        "b": SensitivityCurve((0.0, 0.5, 0.9), (0.0, 1.0, 1.1)),
    }
    previous = None
    for density in (0.7, 0.41, 0.2):
        mask = prune(
            weights,
            table_groups=groups,
            criterion=MagnitudeCriterion(),
            allocation=SensitivityAllocation(curves),
            density=density,
            previous=previous,
        )
        assert mask.kept == round(density * 241)
        assert previous is None or mask.is_nested_in(previous)
        previous = mask
    with pytest.raises(ScopeError, match="no sensitivity curve of b"):
        prune(weights, table_groups=groups, criterion=MagnitudeCriterion(),
              allocation=SensitivityAllocation({"a": curves["a"]}), density=0.5)  # fmt: skip
