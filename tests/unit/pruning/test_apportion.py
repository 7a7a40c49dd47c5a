import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import ScopeError
from lth_det.pruning.apportion import apportion, keep_count

NETWORKS = {30_704_832: 0.7843, 45_778_112: 0.7943, 41_133_248: 0.7421, 56_206_528: 0.7604}
TOTALS = {
    30_704_832: 31_317_936,
    45_778_112: 46_107_878,
    41_133_248: 44_343_216,
    56_206_528: 59_133_158,
}


@pytest.mark.parametrize("prunable", NETWORKS)
@pytest.mark.parametrize("density", [0.2, 1 - 0.8])
def test_published_network_sparsities(prunable, density):
    pruned = prunable - keep_count(prunable, density)
    assert abs(pruned - 0.8 * prunable) <= 0.5
    assert round(pruned / TOTALS[prunable], 4) == NETWORKS[prunable]


def test_counts_do_not_depend_on_how_a_density_was_computed():
    for total in range(200):
        for percent in range(101):
            rate = percent / 100
            exact = (100 - percent) * total
            nearest = exact // 100 + (exact % 100 > 50)
            if exact % 100 == 50:  # half: to the even neighbour
                nearest = exact // 100 + (exact // 100) % 2
            assert (
                keep_count(total, 1 - rate) == keep_count(total, (100 - percent) / 100) == nearest
            )


def test_ends():
    assert keep_count(7, 0.0) == 0
    assert keep_count(7, 1.0) == 7
    assert keep_count(0, 0.5) == 0


@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_density_out_of_range_is_refused(density):
    with pytest.raises(ScopeError, match="density must be in 0 to 1"):
        keep_count(10, density)


@given(
    st.lists(st.tuples(st.floats(0.001, 1e6), st.integers(0, 1000)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_counts_sum_exactly_and_respect_caps(items, part):
    weights = [weight for weight, _ in items]
    caps = [cap for _, cap in items]
    total = round(part * sum(caps))
    counts = apportion(weights, caps, total)
    assert sum(counts) == total
    assert all(0 <= count <= cap for count, cap in zip(counts, caps, strict=True))


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8), st.floats(0, 1))
def test_without_a_cut_each_count_is_within_one_of_its_share(sizes, density):
    total = keep_count(sum(sizes), density)
    for size, count in zip(sizes, apportion(sizes, sizes, total), strict=True):
        assert abs(count - size * total / sum(sizes)) < 1


def test_first_of_equal_remainders_gets_the_rest():
    assert apportion([1.0, 1.0, 1.0], [9, 9, 9], 4) == [2, 1, 1]
    assert apportion([1.0, 1.0, 1.0], [9, 9, 9], 5) == [2, 2, 1]


def test_weight_zero_gets_nothing():
    assert apportion([0.0, 1.0], [5, 5], 3) == [0, 3]
    with pytest.raises(ScopeError, match="6 weights cannot be shared out: 1 find no place"):
        apportion([0.0, 1.0], [5, 5], 6)
    assert apportion([], [], 0) == []
