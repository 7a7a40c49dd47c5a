"""Schedules: round (or progress) -> prune rate. They hold no state, so a resumed run needs nothing of them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

from lth_det.errors import ConfigError


class Schedule(Protocol):
    """Prune rate of each round; round 0 is dense."""

    @property
    def rounds(self) -> int:
        """Number of pruning rounds."""
        ...

    def prune_rate(self, round: int) -> float:  # noqa: A002 - the glossary's word
        """Return the prune rate after a round: pruned / prunable, in 0-1; 0 for round 0.

        Raises:
            ConfigError: the schedule has no such round.
        """
        ...


@dataclasses.dataclass(frozen=True)
class GeometricSchedule:
    """Each round prunes the same share of what is left: density after round n is (1 - rate)^n.

    The usual one of IMP (Frankle & Carbin 2019, arXiv 1803.03635: 0.2).

    Attributes:
        rate_per_round: Share of the survivors pruned in a round, in 0-1.
        rounds: Number of pruning rounds.

    >>> schedule = GeometricSchedule(rate_per_round=0.2, rounds=3)
    >>> [round(schedule.prune_rate(n), 3) for n in range(4)]
    [0.0, 0.2, 0.36, 0.488]
    """

    rate_per_round: float
    rounds: int = 1

    def __post_init__(self) -> None:
        _check_rate("The prune rate per round", self.rate_per_round)
        _check_rounds(self.rounds)

    @classmethod
    def to_target(cls, prune_rate: float, rounds: int) -> "GeometricSchedule":
        """Return the schedule that ends at ``prune_rate`` (Girish et al. 2021: keep p^(1/k) in each of k rounds).

        >>> round(GeometricSchedule.to_target(0.75, rounds=2).rate_per_round, 6)
        0.5
        """
        _check_rate("The prune rate", prune_rate)
        _check_rounds(rounds)
        return cls(rate_per_round=1.0 - (1.0 - prune_rate) ** (1.0 / rounds), rounds=rounds)

    def prune_rate(self, round: int) -> float:  # noqa: A002
        """Return 1 - (1 - rate)^round."""
        _check_round(round, self.rounds)
        return 1.0 - (1.0 - self.rate_per_round) ** round


@dataclasses.dataclass(frozen=True)
class OneShotSchedule:
    """One round that prunes everything at once.

    >>> [OneShotSchedule(0.8).prune_rate(n) for n in (0, 1)]
    [0.0, 0.8]
    """

    target: float

    def __post_init__(self) -> None:
        _check_rate("The prune rate", self.target)

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    def prune_rate(self, round: int) -> float:  # noqa: A002
        """Return 0 for round 0 and the target for round 1."""
        _check_round(round, 1)
        return self.target if round else 0.0


class TargetsSchedule:
    """The prune rate of every round is given.

    Args:
        targets: Prune rates of rounds 1, 2, ..., each in 0-1 and none below the one before.

    >>> [TargetsSchedule([0.5, 0.8]).prune_rate(n) for n in (0, 1, 2)]
    [0.0, 0.5, 0.8]
    """

    def __init__(self, targets: Sequence[float]) -> None:
        self.targets = tuple(float(target) for target in targets)
        _check_rounds(len(self.targets))
        for target in self.targets:
            _check_rate("A target prune rate", target)
        if list(self.targets) != sorted(self.targets):
            raise ConfigError(
                f"The target prune rates must not fall from round to round: {list(self.targets)}."
            )

    @property
    def rounds(self) -> int:
        """Number of targets."""
        return len(self.targets)

    def prune_rate(self, round: int) -> float:  # noqa: A002
        """Return the target of a round, 0 for round 0."""
        _check_round(round, self.rounds)
        return self.targets[round - 1] if round else 0.0


@dataclasses.dataclass(frozen=True)
class CubicSchedule:
    """Gradual pruning during one training: fast at first, slow at the end.

    Prune rate = final + (initial - final) * (1 - t)^3, where t goes from 0 at ``begin`` to 1 at ``end`` (Zhu & Gupta
    2017, arXiv 1710.01878, equation 1). Before ``begin`` it is 0, after ``end`` it stays ``final``.

    Attributes:
        final: Prune rate at the end, in 0-1.
        initial: Prune rate at ``begin``, in 0 to ``final``.
        begin: Progress of the training (0-1) at which pruning begins.
        end: Progress at which ``final`` is reached, above ``begin``.

    >>> schedule = CubicSchedule(final=0.8, begin=0.0, end=1.0)
    >>> [round(schedule.prune_rate_at(p), 3) for p in (0.0, 0.5, 1.0)]
    [0.0, 0.7, 0.8]
    """

    final: float
    initial: float = 0.0
    begin: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_rate("The final prune rate", self.final)
        if not 0.0 <= self.initial <= self.final:
            raise ConfigError(
                f"The initial prune rate {self.initial} must be in 0 to the final one, {self.final}."
            )
        if not 0.0 <= self.begin < self.end <= 1.0:
            raise ConfigError(
                f"Gradual pruning must begin and end in 0 to 1 of the training, in this order, "
                f"not at {self.begin} and {self.end}."
            )

    def prune_rate_at(self, progress: float) -> float:
        """Return the prune rate when ``progress`` (0-1) of the training is done."""
        if progress < self.begin:
            return 0.0
        done = min((progress - self.begin) / (self.end - self.begin), 1.0)
        return self.final + (self.initial - self.final) * (1.0 - done) ** 3


def _check_rate(what: str, rate: float) -> None:
    if not (math.isfinite(rate) and 0.0 <= rate <= 1.0):
        raise ConfigError(f"{what} must be in 0 to 1, not {rate}.")


def _check_rounds(rounds: int) -> None:
    if rounds < 1:
        raise ConfigError(f"There must be at least one pruning round, not {rounds}.")


def _check_round(round: int, rounds: int) -> None:  # noqa: A002
    if not 0 <= round <= rounds:
        raise ConfigError(f"There are rounds 0 to {rounds}, not {round}.")
