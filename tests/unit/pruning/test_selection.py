import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.pruning import select_keep
from lth_det.tickets import Mask

DENORMAL = 1e-45


def reference(scores, keep_count, previous=None):
    """Sort everything in Python: by score, then by place; written without looking at the code under test."""
    places = []
    for order, (name, values) in enumerate(scores.items()):
        flat = values.to(torch.float32).reshape(-1).tolist()
        alive = [True] * len(flat) if previous is None else previous[name].reshape(-1).tolist()
        places += [(-score, order, i) for i, score in enumerate(flat) if alive[i]]
    chosen = {(order, i) for _, order, i in sorted(places)[:keep_count]}
    return {
        name: [(order, i) in chosen for i in range(values.numel())]
        for order, (name, values) in enumerate(scores.items())
    }


def as_lists(kept):
    return {name: values.reshape(-1).tolist() for name, values in kept.items()}


FINITE = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, DENORMAL, -DENORMAL, 3.4e38, -3.4e38]),
)
LAYERS = st.lists(st.lists(FINITE, max_size=12), min_size=1, max_size=4)


@given(layers=LAYERS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_equals_sorting_everything(layers, data):
    scores = {f"layer{9 - i}": torch.tensor(v, dtype=torch.float32) for i, v in enumerate(layers)}
    total = sum(map(len, layers))
    flags = data.draw(st.lists(st.booleans(), min_size=total, max_size=total))
    previous = None
    if data.draw(st.booleans()):
        split = torch.tensor(flags, dtype=torch.bool).split([len(v) for v in layers])
        previous = Mask(dict(zip(scores, split, strict=True)))
    available = total if previous is None else previous.kept
    count = data.draw(st.integers(0, available))
    kept = select_keep(scores, count, previous)
    assert as_lists(kept) == reference(scores, count, previous)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("keep_count", [0, 1, 1999, 2000, 3001])
def test_every_dtype_and_its_many_ties(dtype, keep_count):
    generator = torch.Generator().manual_seed(0)
    scores = {
        "b": torch.randn(50, 40, generator=generator).mul(3).round().to(dtype),
        "a": torch.randn(1001, generator=generator).to(dtype),
    }
    assert as_lists(select_keep(scores, keep_count)) == reference(scores, keep_count)


def test_equal_scores_are_kept_in_the_order_of_names_then_index():
    scores = {"second": torch.ones(2, 2), "first": torch.ones(3)}
    kept = select_keep(scores, 5)
    assert kept["second"].tolist() == [[True, True], [True, True]]
    assert kept["first"].tolist() == [True, False, False]
    # Minus zero is no less than zero.
    assert select_keep({"w": torch.tensor([-0.0, 0.0, -0.0])}, 2)["w"].tolist() == [
        True,
        True,
        False,
    ]
    assert select_keep({"w": torch.tensor([0.0, -0.0, -1.0])}, 2)["w"].tolist() == [
        True,
        True,
        False,
    ]


def test_denormal_scores_differ():
    scores = {"w": torch.tensor([0.0, 2 * DENORMAL, DENORMAL, -DENORMAL])}
    assert select_keep(scores, 1)["w"].tolist() == [False, True, False, False]
    assert select_keep(scores, 2)["w"].tolist() == [False, True, True, False]
    assert select_keep(scores, 3)["w"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("keep_count", [0, 1, 3])
def test_scores_that_are_not_finite_raise_and_are_named(bad, keep_count):
    with pytest.raises(ScopeError, match=r"scores of fc\.weight are not finite"):
        select_keep({"a": torch.ones(1), "fc.weight": torch.tensor([1.0, bad])}, keep_count)


@pytest.mark.parametrize("keep_count", [-1, 4])
def test_more_than_there_is_cannot_be_kept(keep_count):
    with pytest.raises(ScopeError, match=rf"cannot keep {keep_count} weights: 3 are there"):
        select_keep({"w": torch.ones(3)}, keep_count)
    previous = Mask({"w": torch.tensor([True, False, False])})
    with pytest.raises(ScopeError, match="1 are there that are not pruned yet"):
        select_keep({"w": torch.ones(3)}, 2, previous)


def test_pruned_stays_pruned_although_its_score_is_the_highest():
    previous = Mask({"w": torch.tensor([False, True, True, False]), "other": torch.ones(1).bool()})
    scores = {"w": torch.tensor([9.0, 1.0, 2.0, 8.0])}
    assert select_keep(scores, 1, previous)["w"].tolist() == [False, False, True, False]
    assert select_keep(scores, 2, previous)["w"].tolist() == [False, True, True, False]


def test_a_previous_mask_of_another_model_is_refused():
    with pytest.raises(MaskMismatchError, match=r"wrong shape w \(2,\) instead of \(3,\)"):
        select_keep({"w": torch.ones(3)}, 1, Mask({"w": torch.ones(2).bool()}))
    with pytest.raises(MaskMismatchError, match="missing w"):
        select_keep({"w": torch.ones(3)}, 1, Mask({"v": torch.ones(3).bool()}))


def test_nothing_to_choose_from():
    assert select_keep({}, 0) == {}
    assert select_keep({"e": torch.empty(0, 3)}, 0)["e"].shape == (0, 3)
    assert select_keep({"s": torch.tensor(2.0)}, 1)["s"].item() is True


def test_strided_scores_are_ranked_by_their_logical_index():
    values = torch.arange(12.0).reshape(3, 4).t()
    assert not values.is_contiguous()
    kept = select_keep({"w": values}, 5)["w"]
    assert torch.equal(kept, values >= 7)
    ties = select_keep({"w": torch.ones(3, 4).t()}, 4)["w"]
    assert ties.tolist() == [[True] * 3, [True, False, False], [False] * 3, [False] * 3]


def large(kind):
    generator = np.random.default_rng(5)
    if kind == "normal":
        return generator.normal(size=1_500_000)
    if kind == "two values":
        return generator.integers(0, 2, 1_500_000)
    if kind == "all equal":
        return np.full(1_500_000, 0.25)
    if kind == "sorted":  # a sample of this is perfect, its pieces are all alike
        return np.linspace(-1, 1, 1_500_000)
    # The sample takes every 127th element: here it sees nothing but ones.
    trap = generator.normal(size=1_500_000)
    trap[::127] = 50.0
    return trap


@pytest.mark.parametrize("kind", ["normal", "two values", "all equal", "sorted", "trap"])
@pytest.mark.parametrize("density", [1e-6, 0.2, 0.999])
def test_large_scores_equal_numpy_sort(kind, density):
    values = large(kind).astype(np.float32)
    count = max(1, int(density * values.size))
    layers = np.split(values, [70_001, 1_200_003])
    scores = {name: torch.from_numpy(v) for name, v in zip("cab", layers, strict=True)}
    kept = np.concatenate([v.numpy() for v in select_keep(scores, count).values()])
    expected = np.zeros(values.size, bool)
    expected[np.argsort(-values, kind="stable")[:count]] = True
    assert np.array_equal(kept, expected)


@pytest.mark.parametrize("kind", ["normal", "all equal", "trap"])
def test_large_scores_with_a_previous_mask(kind):
    values = large(kind).astype(np.float32)
    alive = np.random.default_rng(0).random(values.size) < 0.9
    kept = select_keep(
        {"w": torch.from_numpy(values)}, 200_000, Mask({"w": torch.from_numpy(alive)})
    )["w"].numpy()
    ranked = np.argsort(-np.where(alive, values, -np.inf), kind="stable")
    expected = np.zeros(values.size, bool)
    expected[ranked[:200_000]] = True
    assert np.array_equal(kept, expected)
