"""Student's t and the studentized range as pure functions; no SciPy needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_NORMAL: Final = NormalDist()
_STEP: Final = 0.01
_LOG_RANGE: Final = (math.log(1e-5), math.log(1e5))
_LARGEST_DF: Final = 5000
"""Above it the density of the scale is narrower than the grid; the law is then the limit to four digits."""


def student_cdf(t: float, df: int) -> float:
    """Return P(T <= t) for Student's t with ``df`` degrees of freedom (a whole number).

    The finite sums of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: exact, no series to cut off.

    Raises:
        ValueError: ``df`` is below 1.

    >>> round(student_cdf(1.0, 1), 12)
    0.75
    """
    if df < 1:
        raise ValueError(f"df is {df}, but Student's t needs at least 1 degree of freedom")
    angle = math.atan2(abs(t), math.sqrt(df))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = df % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for place in range(odd, df - 1, 2):
        total += term
        term *= square * (place + 1) / (place + 2)
    inside = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + math.copysign(0.5 * min(inside, 1.0), t)


def student_quantile(probability: float, df: int) -> float:
    """Return t with P(T <= t) = ``probability``, which lies strictly between 0 and 1.

    >>> round(student_quantile(0.975, 4), 3)
    2.776
    """
    if probability < 0.5:
        return -student_quantile(1.0 - probability, df)
    return _root(lambda t: student_cdf(t, df), probability)


def studentized_range_cdf(q: float, count: int, df: int) -> float:
    """Return P(Q <= q) for the range of ``count`` normal means over an independent standard deviation of ``df``.

    Tukey's test (Tukey 1953; Kramer 1956 for unequal numbers) compares any two of ``count`` means with this law. The
    double integral is taken by the trapezoid rule on the logarithm of the range, where it converges exponentially.
    With two means it is Student's t: Q = sqrt(2) |T|.

    Raises:
        ValueError: fewer than two means, or ``df`` below 1.
    """
    if count < 2 or df < 1:
        raise ValueError(f"{count} means with df {df}: at least 2 means and df 1 are needed")
    if q <= 0.0:
        return 0.0
    ranges, probabilities = _normal_range(count)
    freedom = min(df, _LARGEST_DF)
    scale = ranges / q
    # The density of s = chi / sqrt(df), in logarithms because its factors overflow for large df.
    log_density = (
        0.5 * freedom * math.log(freedom)
        - math.lgamma(0.5 * freedom)
        - (0.5 * freedom - 1.0) * math.log(2.0)
        + freedom * np.log(scale)
        - 0.5 * freedom * scale**2
    )
    return min(1.0, float(np.sum(probabilities * np.exp(log_density)) * _STEP))


def studentized_range_quantile(probability: float, count: int, df: int) -> float:
    """Return q with P(Q <= q) = ``probability`` (see :func:`studentized_range_cdf`)."""
    return _root(lambda q: studentized_range_cdf(q, count, df), probability)


@lru_cache(maxsize=64)
def _normal_range(count: int) -> tuple[FloatArray, FloatArray]:
    """Return a grid of ranges w and P(range of ``count`` standard normal values <= w) on it."""
    ranges = np.exp(np.arange(*_LOG_RANGE, _STEP))
    z = np.arange(-8.5, 8.5, 0.125)
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    known = np.linspace(-10.0, 10.0, 20_001)
    table = np.array([_NORMAL.cdf(value) for value in known])
    below = np.interp(z[None, :] - ranges[:, None], known, table)
    inside = np.maximum(np.interp(z, known, table)[None, :] - below, 0.0) ** (count - 1)
    return ranges, np.minimum(count * np.sum(density * inside, axis=1) * 0.125, 1.0)


def _root(increasing: Callable[[float], float], target: float) -> float:
    """Return x >= 0 with ``increasing(x) = target`` by bisection to double precision."""
    if not 0.0 < target < 1.0:
        raise ValueError(f"a probability strictly between 0 and 1 is needed, not {target}")
    low, high = 0.0, 1.0
    while increasing(high) < target and high < 1e12:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if increasing(middle) < target else (low, middle)
    return 0.5 * (low + high)
