"""Differences that answer a study's questions, with one-sided 95 % limits from the pooled seed noise."""

import dataclasses
import math
from collections.abc import Mapping
from statistics import fmean, stdev

from lth_det.sweeps.study_questions import Line
from lth_det.sweeps.summary_laws import student_quantile
from lth_det.sweeps.summary_noise import LEVEL, pooled_noise
from lth_det.sweeps.summary_values import DENSE, Key, Values

SMALLEST = 1.0
"""AP of a bin below which a change in percent means nothing; such a seed is left out."""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A measured difference.

    Attributes:
        part: where it comes from.
        source: the ticket's name there.
        seeds: how many seeds have both values.
        mean: over these seeds, in points of the metric, or in percent for bins; NaN without a seed.
        low, high: one-sided 95 % limits, together a 90 % interval; NaN when no cell has two seeds.
        std, df: the seed deviation behind them and its degrees of freedom.
    """

    part: str
    source: str
    seeds: int = 0
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    std: float = math.nan
    df: int = 0


def contrast(parts: Mapping[str, Values], line: Line, rate: float) -> Contrast:
    """Return what ``line`` says at ``rate``, from the place with the most seeds (ties: the first that is named).

    Args:
        parts: part -> its values; parts without results are absent.
        line: what is compared.
        rate: prune rate of the ticket; the reference has the same, unless it is dense.
    """
    found = [
        _of_bins(parts[part], line, part, source, rate)
        if line.bins
        else _of_metric(parts[part], line, part, source, rate)
        for part, source in line.tickets
        if part in parts
    ]
    return max(found, key=lambda one: one.seeds, default=Contrast(*line.tickets[0]))


def limits(mean: float, error: float, df: int) -> tuple[float, float]:
    """Return the lower and the upper one-sided 95 % limit, NaN when the error is not known."""
    if df < 1 or math.isnan(error):
        return math.nan, math.nan
    half = student_quantile(LEVEL, df) * error
    return mean - half, mean + half


def _pair(
    values: Values, line: Line, source: str, rate: float, metric: str
) -> tuple[dict[int, float], dict[int, float]]:
    ticket = Key(source, line.target, rate, metric)
    against = dataclasses.replace(ticket, source=line.against)
    other = values.dense_of(ticket) if line.against == DENSE else values.of(against)
    return values.of(ticket), other


def _of_metric(values: Values, line: Line, part: str, source: str, rate: float) -> Contrast:
    first, second = _pair(values, line, source, rate, line.metric)
    apart = [first[seed] - second[seed] for seed in sorted(set(first) & set(second))]
    if not apart:
        return Contrast(part, source)
    noise = pooled_noise(values, line.target, line.metric)
    low, high = limits(fmean(apart), noise.error(len(apart), len(apart)), noise.df)
    return Contrast(part, source, len(apart), fmean(apart), low, high, noise.std, noise.df)


def _of_bins(values: Values, line: Line, part: str, source: str, rate: float) -> Contrast:
    apart = _bin_changes(values, line, source, rate)
    if not apart:
        return Contrast(part, source)
    # The deviation of this very quantity, pooled over all tickets of the target that are compared with the same.
    places = {
        (name, at)
        for name, target, at in values.sparsity
        if target == line.target and name not in (DENSE, line.against)
    }
    groups = [
        group for place in sorted(places) if len(group := _bin_changes(values, line, *place)) > 1
    ]
    df = sum(len(group) - 1 for group in groups)
    squares = sum(stdev(group) ** 2 * (len(group) - 1) for group in groups)
    std = math.sqrt(squares / df) if df else math.nan
    low, high = limits(fmean(apart), std / math.sqrt(len(apart)), df)
    return Contrast(part, source, len(apart), fmean(apart), low, high, std, df)


def _bin_changes(values: Values, line: Line, source: str, rate: float) -> list[float]:
    """Return per seed the change in percent of the first bin minus that of the second."""
    pairs = [_pair(values, line, source, rate, metric) for metric in line.bins]
    seeds = set.intersection(*(set(one) & set(two) for one, two in pairs))
    return [
        100.0 * (first[0][seed] / first[1][seed] - second[0][seed] / second[1][seed])
        for first, second in [(pairs[0], pairs[1])]
        for seed in sorted(seeds)
        if first[1][seed] >= SMALLEST and second[1][seed] >= SMALLEST
    ]
