import math

import pytest

from lth_det.analysis.statistics import _incomplete_beta
from lth_det.sweeps import summary_laws as laws


@pytest.mark.parametrize(
    ("probability", "df", "t"),
    # Abramowitz and Stegun (1964), table 26.10: three digits.
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 10, 2.228),
        (0.995, 5, 4.032),
        (0.95, 7, 1.895),
        (0.975, 120, 1.980),
    ],
)
def test_quantiles_of_t_are_those_of_the_tables(probability, df, t):
    assert laws.student_quantile(probability, df) == pytest.approx(t, abs=6e-4)
    assert laws.student_quantile(1 - probability, df) == pytest.approx(-t, abs=6e-4)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 8, 31, 200])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 2.5, 9.0])
def test_t_equals_the_incomplete_beta_function(df, t):
    outside = _incomplete_beta(df / (df + t * t), df / 2, 0.5)
    assert laws.student_cdf(t, df) == pytest.approx(1 - outside / 2, abs=1e-12)
    assert laws.student_cdf(-t, df) == pytest.approx(outside / 2, abs=1e-12)


@pytest.mark.parametrize(
    ("level", "count", "df", "q"),
    # Harter (1960), tables of the studentized range.
    [
        (0.95, 2, 1, 17.97),
        (0.95, 3, 2, 8.331),
        (0.95, 3, 10, 3.877),
        (0.95, 4, 5, 5.218),
        (0.95, 5, 20, 4.232),
        (0.95, 10, 60, 4.646),
        (0.95, 20, 1, 59.56),
        (0.95, 20, 120, 5.126),
        (0.99, 3, 10, 5.270),
        (0.99, 2, 1, 90.03),
    ],
)
def test_quantiles_of_the_studentized_range_are_those_of_the_tables(level, count, df, q):
    assert laws.studentized_range_quantile(level, count, df) == pytest.approx(q, rel=3e-4)


@pytest.mark.parametrize("df", [1, 2, 5, 40, 1000])
def test_the_range_of_two_is_t(df):
    q = laws.studentized_range_quantile(0.95, 2, df)
    assert q / math.sqrt(2) == pytest.approx(laws.student_quantile(0.975, df), rel=1e-5)


def test_limits_of_the_laws():
    assert laws.studentized_range_cdf(0.0, 3, 4) == 0.0
    assert laws.studentized_range_cdf(1e4, 3, 4) == pytest.approx(1.0, abs=1e-9)
    # df past the grid: the range of three normal values, 3.3145 (Harter 1960).
    assert laws.studentized_range_quantile(0.95, 3, 10**6) == pytest.approx(3.3145, abs=1e-3)
    for wrong in (lambda: laws.student_cdf(1.0, 0), lambda: laws.studentized_range_cdf(1.0, 1, 3)):
        with pytest.raises(ValueError, match="at least"):
            wrong()
    with pytest.raises(ValueError, match="between 0 and 1"):
        laws.student_quantile(1.0, 3)
