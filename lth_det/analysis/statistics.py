"""The statistics of a comparison as pure functions: intervals, tests, corrections. No SciPy needed."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lth_det.analysis.checks import FloatArray

_NORMAL = NormalDist()
FEWEST_FOR_BCA = 1000


def percentile_interval(replicates: FloatArray, level: float) -> tuple[float, float] | None:
    """Return the central ``level`` interval of bootstrap replicates (B,); NaN replicates are left out.

    None when fewer than two replicates can be computed.
    """
    known = replicates[np.isfinite(replicates)]
    if known.size < 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_interval(
    estimate: float, replicates: FloatArray, jackknife: FloatArray, level: float
) -> tuple[float, float] | None:
    """Return the bias-corrected and accelerated bootstrap interval (Efron 1987).

    With fewer than 1,000 replicates, or where the correction is not defined (all replicates on one side of the
    estimate, no spread), the percentile interval is returned instead.

    Args:
        estimate: the value on the data itself.
        replicates: (B,) bootstrap values.
        jackknife: (J,) values with one block of images left out each.
        level: coverage, such as 0.95.
    """
    known, left_out = replicates[np.isfinite(replicates)], jackknife[np.isfinite(jackknife)]
    below = float((known < estimate).mean() + 0.5 * (known == estimate).mean()) if known.size else 0
    if known.size < FEWEST_FOR_BCA or left_out.size < 2 or not 0.0 < below < 1.0:
        return percentile_interval(replicates, level)
    distance = left_out.mean() - left_out
    spread = float((distance**2).sum())
    # A spread of rounding errors only carries no information about skewness.
    skew = float((distance**3).sum()) / (6.0 * spread**1.5) if spread > 1e-24 else 0.0
    bias = _NORMAL.inv_cdf(below)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        if skew * z >= 1.0:
            return percentile_interval(replicates, level)
        ends.append(_NORMAL.cdf(bias + z / (1.0 - skew * z)))
    low, high = np.quantile(known, ends)
    return float(low), float(high)


def bootstrap_p(replicates: FloatArray) -> float:
    """Return the two-sided p of "no difference" from replicates of a difference; at least 2 / (B + 1). NaN if none."""
    known = replicates[np.isfinite(replicates)]
    if not known.size:
        return math.nan
    tails = ((known <= 0).sum() + 1, (known >= 0).sum() + 1)
    return min(1.0, 2.0 * float(min(tails)) / (known.size + 1))


def normal_p(estimate: float, replicates: FloatArray) -> float:
    """Return the two-sided p of ``estimate / SE`` under a normal law, SE from replicates; 1 for 0 / 0, NaN if unknown.

    Finer than :func:`bootstrap_p`, whose floor of 2 / (B + 1) is above what Benjamini-Hochberg over 80 classes asks for.
    """
    known = replicates[np.isfinite(replicates)]
    if known.size < 2 or not math.isfinite(estimate):
        return math.nan
    error = float(known.std(ddof=1))
    if error == 0.0:
        return 1.0 if estimate == 0.0 else 0.0
    return math.erfc(abs(estimate) / error / math.sqrt(2.0))


def refined_p(estimate: float, replicates: FloatArray) -> float:
    """Return the bootstrap p, continued below its floor of 2 / (B + 1) by the normal p; for corrections over many bins."""
    p = bootstrap_p(replicates)
    floor = 2.0 / (int(np.isfinite(replicates).sum()) + 1)
    return min(p, normal_p(estimate, replicates)) if p <= floor * (1 + 1e-9) else p


def sign_test(better: int, worse: int) -> float:
    """Return the exact two-sided p of the sign test; equal pairs are left out before. 1.0 without any pair."""
    number = better + worse
    if number == 0:
        return 1.0
    extreme = min(better, worse)
    # Sum of log terms, so that thousands of pairs (objects found and lost) neither overflow nor take long.
    logs = [
        math.lgamma(number + 1)
        - math.lgamma(i + 1)
        - math.lgamma(number - i + 1)
        - number * math.log(2)
        for i in range(extreme + 1)
    ]
    top = max(logs)
    return min(1.0, 2.0 * math.exp(top) * sum(math.exp(v - top) for v in logs))


def benjamini_hochberg(p_values: Sequence[float]) -> FloatArray:
    """Return q-values (the false discovery rate at which each would be reported); NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.size, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if known.size:
        order = known[np.argsort(p[known], kind="stable")]
        scaled = p[order] * known.size / np.arange(1, known.size + 1)
        q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def holm(p_values: Sequence[float]) -> FloatArray:
    """Return p-values adjusted for a small family of tests (Holm 1979); NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.size, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if known.size:
        order = known[np.argsort(p[known], kind="stable")]
        scaled = p[order] * (known.size - np.arange(known.size))
        adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of Welch's t test; NaN with fewer than two values on a side or without any spread."""
    a, b = (np.asarray(v, dtype=np.float64) for v in (first, second))
    if min(a.size, b.size) < 2:
        return math.nan
    errors = (float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size)
    total = sum(errors)
    if not total > 0.0:
        return math.nan
    t = float(a.mean() - b.mean()) / math.sqrt(total)
    freedom = total**2 / (errors[0] ** 2 / (a.size - 1) + errors[1] ** 2 / (b.size - 1))
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) by its continued fraction (Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d)
            c = 1.0 + term / c
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * value / a
