"""Seed noise and differences with intervals.

A sweep has two to five seeds per cell, too few for a standard deviation of their own, so the noise of a target is pooled
over its cells: s^2 = sum over cells and seeds of (x - mean of the cell)^2 / sum over cells of (n - 1), with
df = sum of (n - 1) degrees of freedom. A difference of two means then has standard error s sqrt(1/n_a + 1/n_b) and the
interval d +- t(df) times that (Student's t; Montgomery, Design and Analysis of Experiments, 3.5). Limits: one noise for
all cells of a target (very sparse models may vary more), and rounds of one run share their seed, so df is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

from lth_det.sweeps.summary_laws import (
    student_cdf,
    student_quantile,
    studentized_range_cdf,
    studentized_range_quantile,
)
from lth_det.sweeps.summary_values import Values

LEVEL: Final = 0.95

Seeds = Mapping[int, float]


@dataclass(frozen=True)
class Noise:
    """The seed standard deviation of a target and metric, pooled over ``cells`` cells; NaN with ``df`` 0."""

    std: float
    df: int
    cells: int

    def error(self, first: int, second: int) -> float:
        """Return the standard error of the difference of two means of ``first`` and ``second`` seeds."""
        return self.std * math.sqrt(1.0 / first + 1.0 / second)


@dataclass(frozen=True)
class Difference:
    """One value minus another.

    Attributes:
        mean: of the paired differences, or difference of the means when ``paired`` is false.
        std: of the paired differences (n - 1); NaN with one pair or without pairs.
        n: pairs; 0 when not paired.
        error: standard error by the pooled noise; NaN when that is not known.
        by_seed: seed -> difference.
        paired: false when no seed has both values.
    """

    mean: float
    std: float
    n: int
    error: float
    by_seed: dict[int, float]
    paired: bool


def pooled_noise(values: Values, target: str, metric: str) -> Noise:
    """Return the noise of ``target`` in ``metric``; cells of one seed add no degree of freedom.

    >>> from lth_det.sweeps.summary_values import Key
    >>> keys = Key("a", "t", 0.8, "AP"), Key("b", "t", 0.8, "AP")
    >>> pooled_noise(Values({keys[0]: {1: 1.0, 2: 3.0}, keys[1]: {1: 5.0, 2: 5.0}}), "t", "AP")
    Noise(std=1.0, df=2, cells=2)
    """
    groups = [
        list(seeds.values())
        for key, seeds in values.by_key.items()
        if (key.target, key.metric) == (target, metric) and len(seeds) > 1
    ]
    df = sum(len(group) - 1 for group in groups)
    if not df:
        return Noise(math.nan, 0, 0)
    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return Noise(math.sqrt(squares / df), df, len(groups))


def difference(first: Seeds, second: Seeds, noise: Noise) -> Difference | None:
    """Return ``first`` minus ``second``, paired by the seeds that both have; ``None`` when one of them is empty."""
    common = sorted(set(first) & set(second))
    if common:
        by_seed = {seed: first[seed] - second[seed] for seed in common}
        pairs = list(by_seed.values())
        return Difference(
            mean=fmean(pairs),
            std=stdev(pairs) if len(pairs) > 1 else math.nan,
            n=len(pairs),
            error=noise.error(len(pairs), len(pairs)),
            by_seed=by_seed,
            paired=True,
        )
    if not first or not second:
        return None
    mean = fmean(first.values()) - fmean(second.values())
    return Difference(mean, math.nan, 0, noise.error(len(first), len(second)), {}, paired=False)


def as_row(found: Difference, noise: Noise) -> dict[str, Any]:
    """Return ``found`` for ``matrix.json``: interval by the pooled noise, and beside it by its own pairs alone.

    ``low`` and ``high`` are ``None`` when no cell has two seeds, ``low_unpooled`` and ``high_unpooled`` with fewer than
    two pairs. All of them are for this one difference, without correction for the number of differences.
    """
    low, high = interval(found.mean, found.error, noise.df)
    alone = found.std / math.sqrt(found.n) if found.n > 1 else math.nan
    low_alone, high_alone = interval(found.mean, alone, found.n - 1)
    return {
        "mean": found.mean,
        "std": none_if_nan(found.std),
        "n": found.n,
        "paired": found.paired,
        "values": {str(seed): value for seed, value in found.by_seed.items()},
        "low": low,
        "high": high,
        "df": noise.df,
        "p": p_value(found.mean, found.error, noise.df),
        "low_unpooled": low_alone,
        "high_unpooled": high_alone,
        "df_unpooled": max(found.n - 1, 0),
    }


def interval(
    mean: float, error: float, df: int, *, compared: int = 2
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a difference, or (None, None) when its error is not known.

    Args:
        mean: the difference.
        error: its standard error.
        df: degrees of freedom behind ``error``.
        compared: means among which the two were picked. Two: Student's t. More: Tukey and Kramer's interval, which holds
            for all pairs at once, so also for the best and the second best, named after looking.
    """
    if df < 1 or math.isnan(error):
        return None, None
    if compared > 2:
        factor = studentized_range_quantile(LEVEL, compared, df) / math.sqrt(2.0)
    else:
        factor = student_quantile(0.5 + 0.5 * LEVEL, df)
    return mean - factor * error, mean + factor * error


def p_value(mean: float, error: float, df: int, *, compared: int = 2) -> float | None:
    """Return the two-sided p of a difference of zero, by the law that :func:`interval` uses; ``None`` if unknown."""
    if df < 1 or math.isnan(error):
        return None
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    t = abs(mean) / error
    if compared > 2:
        return 1.0 - studentized_range_cdf(math.sqrt(2.0) * t, compared, df)
    return 2.0 * (1.0 - student_cdf(t, df))


def none_if_nan(value: float) -> float | None:
    """Return ``value``, or ``None`` for NaN (``null`` in JSON)."""
    return None if math.isnan(value) else value
