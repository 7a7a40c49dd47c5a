"""What a stage does beside training: transform, prune gradually, record early-bird masks."""

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.pruning.rst import RstSchedule
from lth_det.pruning.schedules import CubicSchedule
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

    Attributes:
        schedule: only its ``begin`` and ``end`` are used here, to know when to prune.
        period: steps between two prunings.
        decide: (live state dict, progress in 0-1, mask so far) -> a mask nested in it.
    """

    schedule: CubicSchedule
    period: int
    decide: Callable[[Mapping[str, Tensor], float, Mask | None], Mask]

    def due(self, done: int, iterations: int) -> bool:
        """Return whether to prune after ``done`` of ``iterations`` steps: every period, and exactly at the end."""
        begin, end = self.span(iterations)
        return begin <= done <= end and ((done - begin) % self.period == 0 or done == end)

    def span(self, iterations: int) -> tuple[int, int]:
        """Return the steps after which the first and the last pruning happen; at least one step before the first."""
        begin = max(1, round(self.schedule.begin * iterations))
        return begin, max(begin, round(self.schedule.end * iterations))


@dataclasses.dataclass(frozen=True)
class EarlyBird:
    """Recording the mask that would be picked, while the dense network trains.

    The stage saves them as tickets without weights (:meth:`lth_det.experiments.early_bird.mask_file`).

    Attributes:
        period: steps between two masks; one more is recorded at the end.
        decide: live state dict -> mask.
        patience: number of masks before, that a stable one is compared with.
        threshold: largest distance of a stable mask to each of them, as a share of its elements.
        stop: end the stage when the mask is stable.
        earliest: the stage does not stop before so many steps.
    """

    period: int
    decide: Callable[[Mapping[str, Tensor]], Mask]
    patience: int
    threshold: float
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
