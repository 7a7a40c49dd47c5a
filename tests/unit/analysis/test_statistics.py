"""Statistics against closed forms, published values and brute force."""

import math

import numpy as np
import pytest

from lth_det.analysis import statistics as st


def test_percentile_interval_is_the_central_share():
    values = np.arange(1001.0)
    assert st.percentile_interval(values, 0.95) == pytest.approx((25.0, 975.0))
    assert st.percentile_interval(np.array([np.nan, 1.0]), 0.95) is None


def test_bca_equals_percentile_without_bias_and_skew_and_moves_with_them():
    values = np.linspace(-1, 1, 2001)
    symmetric = np.array([-1.0, 1.0, -2.0, 2.0])
    assert st.bca_interval(0.0, values, symmetric, 0.9) == pytest.approx((-0.9, 0.9), abs=2e-3)
    low, high = st.bca_interval(0.2, values, symmetric, 0.9)
    assert low > -0.9
    assert high > 0.9
    skewed = st.bca_interval(0.0, values, np.array([0.0, 0.0, 0.0, 8.0]), 0.9)
    assert skewed[0] < -0.9
    assert st.bca_interval(0.2, values[:900], symmetric, 0.9) == st.percentile_interval(
        values[:900], 0.9
    )


def test_bca_covers_a_skewed_mean_better_than_percentile():
    """Exponential data, n = 20: the percentile interval misses mostly above; BCa shifts up (Efron 1987)."""
    generator = np.random.default_rng(0)
    missed = {"bca": 0, "percentile": 0}
    for _ in range(150):
        data = generator.exponential(size=20)
        rows = data[generator.integers(0, 20, (1000, 20))].mean(axis=1)
        jackknife = (data.sum() - data) / 19
        one = st.bca_interval(float(data.mean()), rows, jackknife, 0.9)
        two = st.percentile_interval(rows, 0.9)
        missed["bca"] += one[1] < 1.0
        missed["percentile"] += two[1] < 1.0
    assert missed["bca"] < missed["percentile"]


def test_bootstrap_p_has_a_floor_and_counts_both_tails():
    assert st.bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert st.bootstrap_p(np.array([1.0, -1.0] * 500)) == 1.0
    assert st.bootstrap_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert math.isnan(st.bootstrap_p(np.array([np.nan])))


def test_normal_p_of_1_96_standard_errors_is_0_05():
    rows = np.array([-1.0, 1.0] * 50)
    error = rows.std(ddof=1)
    assert st.normal_p(1.959963984540054 * error, rows) == pytest.approx(0.05)
    assert st.normal_p(0.0, np.zeros(5)) == 1.0
    assert st.normal_p(0.1, np.zeros(5)) == 0.0


def test_refined_p_goes_below_the_floor_only_there():
    far, near = np.linspace(4.0, 6.0, 99), np.linspace(-0.5, 1.5, 99)
    assert st.bootstrap_p(far) == pytest.approx(0.02)
    assert st.refined_p(5.0, far) == st.normal_p(5.0, far) < 1e-6
    assert st.refined_p(0.5, near) == st.bootstrap_p(near) > 0.02


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [(5, 5, 1.0), (8, 2, 0.109375), (10, 0, 2 / 1024), (0, 0, 1.0), (0, 1, 1.0)],
)
def test_sign_test_is_exact(better, worse, expected):
    assert st.sign_test(better, worse) == pytest.approx(expected)
    assert st.sign_test(worse, better) == pytest.approx(expected)


def test_sign_test_of_thousands_does_not_overflow():
    assert 0.0 < st.sign_test(5000, 5300) < 0.01


def test_benjamini_hochberg_worked_example():
    q = st.benjamini_hochberg([0.01, 0.04, 0.03, math.nan, 0.005])
    np.testing.assert_allclose(q, [0.02, 0.04, 0.04, np.nan, 0.02])


def test_holm_worked_example():
    np.testing.assert_allclose(
        st.holm([0.01, 0.04, 0.03, math.nan, 0.005]), [0.03, 0.06, 0.06, np.nan, 0.02]
    )


def test_welch_p_equals_the_integral_of_the_t_density():
    # By hand: t = -3.5 / sqrt(5/12 + 2), degrees of freedom (5/12 + 2)^2 / ((5/12)^2 / 3 + 2^2 / 4).
    t, freedom = 3.5 / math.sqrt(29 / 12), (29 / 12) ** 2 / ((5 / 12) ** 2 / 3 + 1)
    x = np.linspace(-t, t, 200_001)
    factor = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    inside = np.trapezoid(factor * (1 + x * x / freedom) ** (-(freedom + 1) / 2), x)
    assert st.welch_p([1, 2, 3, 4], [2, 4, 6, 8, 10]) == pytest.approx(1 - inside, abs=1e-8)
    assert math.isnan(st.welch_p([1.0], [2.0, 3.0]))
    assert math.isnan(st.welch_p([1.0, 1.0], [1.0, 1.0]))


def test_incomplete_beta_against_closed_forms():
    for x in (0.05, 0.3, 0.5, 0.9):
        assert st._incomplete_beta(x, 1.0, 1.0) == pytest.approx(x)
        assert st._incomplete_beta(x, 2.0, 1.0) == pytest.approx(x * x)
        assert st._incomplete_beta(x, 0.5, 0.5) == pytest.approx(
            2 / math.pi * math.asin(math.sqrt(x))
        )
