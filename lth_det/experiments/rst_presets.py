"""Presets of RST: what the settings that are left open mean, for a detector and for a classifier alike."""

import dataclasses

from lth_det.errors import ConfigError
from lth_det.pruning.rst import RstSchedule

OF_PRESET = -1.0
"""The value of a setting that the preset decides."""

PRESETS = ("budget", "paper")
MASKS = ("uniform", "erk", "ticket")
PENALTIES = ("", "coupled", "decoupled")

# The published code: 10,000 increments of 1e-4, one each 5 iterations (one each iteration in the iterative commands), then
# 40,000 (10,000) iterations at the ceiling; SGD with momentum 0.9 at a constant 1e-3.
_PAPER_ITERATIONS = {True: 90_000, False: 20_000}  # by "is one-shot"
PAPER_LEARNING_RATE = 1e-3
PAPER_MOMENTUM = 0.9
_RAMP, _HOLD = 5 / 9, 4 / 9


@dataclasses.dataclass(frozen=True)
class RstOptions:
    """The settings of a transformation as a configuration has them, with values that are left to the preset.

    Attributes:
        preset: ``budget`` or ``paper``.
        mask: ``uniform``, ``erk`` or ``ticket``.
        cycles: 1 = one-shot.
        transform_iterations: of one cycle; 0 = the preset's.
        ramp: share of them in which the penalty grows; :data:`OF_PRESET` = the preset's, and the next one too.
        hold: share of them at the ceiling.
        penalty: ``coupled``, ``decoupled`` or "" = the preset's.
        ceiling: largest strength, or :data:`OF_PRESET`.
        power: of the growth.
        interval: iterations between two steps of it; 0 = the preset's.
        learning_rate: constant one of the transformation; 0 = the schedule of an ordinary training, or :data:`OF_PRESET`.
    """

    preset: str
    mask: str
    cycles: int
    transform_iterations: int
    ramp: float
    hold: float
    penalty: str
    ceiling: float
    power: float
    interval: int
    learning_rate: float

    @property
    def is_paper(self) -> bool:
        """Whether the preset is the authors'."""
        return self.preset == "paper"

    @property
    def decoupled(self) -> bool:
        """Whether the weights are shrunk after the step, in place of a term of the loss."""
        return self.penalty == "decoupled" or (self.penalty == "" and not self.is_paper)

    @property
    def ratios(self) -> str:
        """How the mask is shared among the layers, as :class:`~lth_det.experiments.rst_plan.RstPlan` has it."""
        return "published" if self.mask == "uniform" and self.is_paper else self.mask

    @property
    def constant_rate(self) -> float:
        """The constant learning rate of the transformation; 0 = that of an ordinary training, stretched."""
        if self.learning_rate != OF_PRESET:
            return self.learning_rate
        return PAPER_LEARNING_RATE if self.is_paper else 0.0

    def length(self, iterations: int) -> int:
        """Return the iterations of one cycle, where an ordinary training has ``iterations``."""
        if self.transform_iterations:
            return self.transform_iterations
        if self.is_paper:
            return _PAPER_ITERATIONS[self.cycles == 1]
        return max(1, iterations // self.cycles)

    def schedule(self, iterations: int) -> RstSchedule:
        """Return the schedule of the penalty in one cycle, where an ordinary training has ``iterations``.

        Raises:
            ConfigError: ramp, hold, ceiling, interval or power is out of range; names the keys of a detector.
        """
        one_shot = self.cycles == 1
        ramp, hold = (0.5, 0.5) if self.is_paper and not one_shot else (_RAMP, _HOLD)
        if self.ramp != OF_PRESET:
            ramp, hold = self.ramp, self.hold
        ceiling = self.ceiling
        if ceiling == OF_PRESET:
            ceiling = 0.1 if self.decoupled else 1.0
        if self.decoupled and ceiling > 1:
            raise ConfigError(
                f"LTH.RST.CEILING is {ceiling}, but a decoupled penalty takes at most the whole weight away; choose at "
                "most 1."
            )
        try:
            shares = RstSchedule.of_fraction(
                self.length(iterations), ramp=ramp, hold=hold, ceiling=ceiling
            )
            interval = min(5, shares.ramp) if self.is_paper and one_shot else 1
            return dataclasses.replace(shares, interval=self.interval or interval, power=self.power)
        except ConfigError as error:
            raise ConfigError(f"LTH.RST: {error}") from error
