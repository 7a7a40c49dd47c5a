"""Which source wins, and whether that is more than seed noise: data and a plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lth_det.analysis.statistics import holm
from lth_det.sweeps.summary_noise import Difference, Noise, as_row, difference, interval, p_value
from lth_det.sweeps.summary_values import DENSE, Key, Values

ALPHA = 0.05
APART = 0.05
"""Network sparsities (0-1) further apart than this are not ranked with each other."""


@dataclass(frozen=True)
class Contest:
    """One target, prune rate and metric, in which sources compete.

    Attributes:
        target: name of the target.
        prune_rate: of the tickets.
        metric: its name.
        labels: source -> name for people.
        sparsity: mean network sparsity of the sources, where others have the same prune rate but another sparsity.
    """

    target: str
    prune_rate: float
    metric: str
    labels: Mapping[str, str]
    sparsity: float | None = None

    def key(self, source: str) -> Key:
        """Return where the values of ``source`` in this contest are."""
        return Key(source, self.target, self.prune_rate, self.metric)


def verdict(
    contest: Contest, values: Values, noise: Noise, sources: Sequence[str]
) -> dict[str, Any]:
    """Return the verdict of a contest among ``sources`` (the dense model does not compete; controls do).

    The winner has the highest mean over its seeds, ties go to the earlier source; ``difference`` is that of the seeds that
    both have, so in an unfinished sweep it can be below 0. ``low`` and ``high`` are Tukey and
    Kramer's simultaneous 95 % interval over all pairs of competing sources, because the two were picked after looking;
    ``larger_than_seed_noise`` says whether it lies above 0, and is ``None`` when no cell has two seeds.
    """
    ranked = sorted(
        (name for name in sources if values.of(contest.key(name))),
        key=lambda name: -fmean(values.of(contest.key(name)).values()),
    )
    found: dict[str, Any] = {
        "target": contest.target,
        "prune_rate": contest.prune_rate,
        "metric": contest.metric,
        "sparsity": contest.sparsity,
        "sources": ranked,
        "winner": ranked[0] if ranked else None,
        "runner_up": ranked[1] if len(ranked) > 1 else None,
        "compared": len(ranked),
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
        "p_holm": None,
        "larger_than_seed_noise": None,
        "single": None,
        "noise_std": noise.std if noise.df else None,
        "df": noise.df,
    }
    if len(ranked) < 2:
        found["sentence"] = _too_few(contest, ranked)
        return found
    first, second = (values.of(contest.key(name)) for name in ranked[:2])
    apart = difference(first, second, noise)
    if apart is not None:
        low, high = interval(apart.mean, apart.error, noise.df, compared=len(ranked))
        found |= {
            "difference": apart.mean,
            "low": low,
            "high": high,
            "p": p_value(apart.mean, apart.error, noise.df, compared=len(ranked)),
            "larger_than_seed_noise": None if low is None else low > 0.0,
            "single": as_row(apart, noise),
        }
        found["sentence"] = _sentence(contest, found, apart)
    return found


def alike_in_sparsity(
    values: Values, sources: Sequence[str], target: str, prune_rate: float
) -> list[tuple[list[str], float | None]]:
    """Return the sources that may be ranked with each other, sparsest class last, each with its mean network sparsity.

    A ticket of the backbone and one of the whole network have the same prune rate and very different sparsities: which of
    them has the higher AP says nothing about which is the better ticket. Sorted by sparsity, a new class begins where
    neighbours are more than :data:`APART` away. A single class has the sparsity ``None``: there is nothing to tell apart.
    Sources whose sparsity is unknown are in the first class.
    """
    known = {
        name: fmean(found)
        for name in sources
        if (found := values.sparsity.get((name, target, prune_rate)))
    }
    classes: list[list[str]] = [[]]
    last: float | None = None
    for name in sorted(known, key=lambda name: known[name]):
        if last is not None and known[name] - last > APART:
            classes.append([])
        classes[-1].append(name)
        last = known[name]
    classes[0] += [name for name in sources if name not in known]
    if len(classes) == 1:
        return [(list(sources), None)]
    return [
        (
            [name for name in sources if name in members],
            fmean(known[n] for n in members if n in known),
        )
        for members in classes
    ]


def add_holm(verdicts: Sequence[dict[str, Any]]) -> None:
    """Set ``p_holm`` of every verdict: its p corrected for all verdicts in the same metric (Holm 1979)."""
    for metric in {entry["metric"] for entry in verdicts}:
        family = [
            entry for entry in verdicts if entry["metric"] == metric and entry["p"] is not None
        ]
        for entry, adjusted in zip(family, holm([entry["p"] for entry in family]), strict=True):
            entry["p_holm"] = float(adjusted)


def matching_control(source: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the random control of ``source``, or ``None``.

    A random control names its source in ``control_of``; where there are several, the one with the ticket's own layer
    ratios is the fairest and comes first. A random source that is nobody's control stands in for the others.
    """
    if source.get("control") or source["name"] == DENSE:
        return None
    random = [entry for entry in sources if _is_random(entry) and entry["name"] != source["name"]]
    own = [entry for entry in random if entry.get("control_of") == source["name"]]
    common = [entry for entry in random if entry.get("control_of") is None]
    ranked = sorted(own, key=_rank) or sorted(common, key=_rank)
    return str(ranked[0]["name"]) if ranked else None


def points(value: float, metric: str, *, sign: bool = False) -> str:
    """Return a difference for people, such as ``2.1 AP``; the unit is the metric's own name."""
    shown = (
        format(value, "+.1f" if sign else ".1f")
        if abs(value) >= 0.1
        else format(value, "+.2f" if sign else ".2f")
    )
    return f"{shown} {metric.rpartition('/')[2]}"


def _is_random(source: Mapping[str, Any]) -> bool:
    words = f"{source.get('kind', '')} {source['name']}"
    # A re-initialised ticket keeps its mask: what it controls for is the weights, not the choice of the mask.
    return "random" in words and "reinit" not in words


def _rank(source: Mapping[str, Any]) -> int:
    words = f"{source.get('kind', '')} {source['name']}"
    return 0 if "layer_ratios" in words else 1 if "erk" in words else 2


def _too_few(contest: Contest, ranked: Sequence[str]) -> str:
    if not ranked:
        return "No source has a result yet."
    return f"{_among(contest)}only {contest.labels[ranked[0]]} has a result; nothing to compare it with."


def _among(contest: Contest) -> str:
    if contest.sparsity is None:
        return ""
    return f"of the tickets near {100 * contest.sparsity:.0f} % network sparsity, "


def _sentence(contest: Contest, found: Mapping[str, Any], apart: Difference) -> str:
    winner, second = contest.labels[found["winner"]], contest.labels[found["runner_up"]]
    lead = f"{_among(contest)}{winner} leads {second} by {points(apart.mean, contest.metric)}"
    if apart.mean == 0.0:
        lead = f"{_among(contest)}{winner} and {second} are equal"
    elif apart.mean < 0.0:  # one of the two means has seeds that the other lacks
        behind = points(-apart.mean, contest.metric)
        lead = f"{_among(contest)}{winner} has the highest mean, but is {behind} behind {second} in the seeds of both"
    seeds = f"{apart.n} seed{'' if apart.n == 1 else 's'}" if apart.paired else "different seeds"
    if found["low"] is None:
        return f"{lead} ({seeds}, no interval: no cell has two seeds): whether that is seed noise is not known."
    many = f" over {found['compared']} sources" if found["compared"] > 2 else ""
    brackets = (
        f"95 % interval{many} {found['low']:.1f} to {found['high']:.1f}, {seeds}, "
        f"pooled seed std {found['noise_std']:.1f}"
    )
    if found["larger_than_seed_noise"]:
        return f"{lead} ({brackets}): larger than seed noise."
    return f"{lead} ({brackets}): within seed noise, not decidable with {seeds}."
