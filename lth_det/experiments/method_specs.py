"""What a stage does beside training: transform, prune gradually, record early-bird masks."""

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.pruning.rst import RstSchedule
from lth_det.tickets.mask import Mask


@dataclasses.dataclass(frozen=True)
class Transform:
    """Training with a growing penalty on the weights that a mask will prune (RST); nothing is pruned yet.

    The stage trains for ``schedule.iterations`` steps, or ends earlier by the stop rule. Its details are
    ``residuals``, a list of (steps done, strength, residual norm), and ``stopped_early``.

    Attributes:
        mask: what the penalty empties: its pruned elements.
        schedule: strength by iteration.
        decoupled: shrink after each step, in place of a term of the loss.
        stop_residual: end as soon as the ramp is over and the residual norm is at most this; 0 = never.
        check_period: steps between two looks at the residual norm.
    """

    mask: Mask
    schedule: RstSchedule
    decoupled: bool
    stop_residual: float = 0.0
    check_period: int = 20


@dataclasses.dataclass(frozen=True)
class GradualPruning:
    """Pruning during one training; the mask of the end is in ``StageResult.mask``.

    The stage's details are ``prunings``, a list of (steps done, prune rate of the mask).

    Attributes:
        begin: progress of the training (0-1) at the first pruning.
        end: progress at the last one.
        period: steps between two prunings.
        decide: (live state dict, progress in 0-1, mask so far) -> a mask nested in it; called on the main process.
    """

    begin: float
    end: float
    period: int
    decide: Callable[[Mapping[str, Tensor], float, Mask | None], Mask]

    def due(self, done: int, iterations: int) -> bool:
        """Return whether to prune after ``done`` of ``iterations`` steps: each period, and exactly at the end."""
        first, last = self.span(iterations)
        return first <= done <= last and ((done - first) % self.period == 0 or done == last)

    def progress(self, done: int, iterations: int) -> float:
        """Return the progress after ``done`` steps: exactly ``begin`` at the first pruning and ``end`` at the last."""
        first, last = self.span(iterations)
        share = 1.0 if done >= last else (done - first) / (last - first)
        return self.end if done >= last else self.begin + share * (self.end - self.begin)

    def span(self, iterations: int) -> tuple[int, int]:
        """Return the steps after which the first and the last pruning happen; the first is after a step at least."""
        first = max(1, round(self.begin * iterations))
        return first, max(first, round(self.end * iterations))


@dataclasses.dataclass(frozen=True)
class EarlyBird:
    """Recording the mask that would be picked, while the dense network trains.

    Attributes:
        period: steps between two masks; one more is recorded at the end.
        record: (live state dict, steps done) -> whether the mask is stable; picks the mask and saves it. Called on the main
            process. What it answers depends on the masks of earlier steps that are saved, so a resumed stage gets
            the same answers.
        stop: end the stage when the mask is stable.
        earliest: the stage does not end before so many steps.
    """

    period: int
    record: Callable[[Mapping[str, Tensor], int], bool]
    stop: bool
    earliest: int


def require_method(trainer: object, method: str) -> None:
    """Check that a stage trainer knows a method, by its attribute ``methods`` (a set of names).

    Raises:
        ConfigError: it does not.
    """
    if method not in getattr(trainer, "methods", ()):
        raise ConfigError(
            f"{type(trainer).__name__} cannot do the method {method!r}; use LTH.METHOD imp here, or a detector."
        )
