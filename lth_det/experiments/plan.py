"""What a lottery-ticket run is asked to do, and the prune rates of its rounds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from lth_det.errors import ConfigError

NAMED_RATIOS = ("uniform", "erk")
"""Values of ``layer_ratios`` that are no ticket file."""


@dataclasses.dataclass(frozen=True)
class ImpPlan:
    """Iterative magnitude pruning with rewinding (Frankle et al. 2019; Girish et al. 2021, section 3).

    Attributes:
        prune_rates: prune rate after each round, ascending; one entry = one-shot.
        group_prune_rates: module group -> its own final prune rate; the other groups share the budget.
        criterion: name in ``lth_det.pruning.criteria.CRITERIA``.
        scope: ``"global"``, ``"group"``, ``"layer"``, ``"sensitivity"`` or another allocation that needs no options.
        layer_ratios: ``"uniform"``, ``"erk"`` or a ticket file, with scope ``"layer"``.
        rewind_to: ``"iteration"``, ``"init"``, ``"pretrained"`` or ``"final"``.
        rewind_iteration: steps of the dense round that the snapshot is taken after.
        rewind_weights: checkpoint for ``"pretrained"``.
        start_iteration: place in the schedule at which pruned rounds start.
        seed: of the whole run.
        controls: names of control runs.
        control_rounds: rounds that get them.
        task: source task written into the tickets.
        source_weights: initial weights written into the tickets.
        mask_from: ``"trained"``: scores of the weights that the round before ended with; ``"start"``: of the weights that
            the round starts from (pruning at initialisation, if that is where they are rewound to).
        criterion_batches: training batches that a criterion with gradients looks at.
        criterion_steps: prunings with new scores in each round, for criteria with a model; 0 = the criterion's own.
        sensitivity_rates: prune rates that each group is measured at, ascending, with scope ``"sensitivity"``.
        sensitivity_batches: training batches of each measurement.
        perturbed_fraction: share of the kept weights that the control ``perturbed`` moves.
        iterations: steps of the dense round; 0 = the trainer cannot stretch its schedule.
        retraining_iterations: steps of each later round.
    """

    prune_rates: Sequence[float]
    group_prune_rates: Mapping[str, float]
    criterion: str
    scope: str
    layer_ratios: str
    rewind_to: str
    rewind_iteration: int
    rewind_weights: str
    start_iteration: int
    seed: int
    controls: Sequence[str]
    control_rounds: Sequence[int]
    task: str
    source_weights: str
    mask_from: str = "trained"
    criterion_batches: int = 8
    criterion_steps: int = 0
    sensitivity_rates: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    sensitivity_batches: int = 8
    perturbed_fraction: float = 0.1
    iterations: int = 0
    retraining_iterations: int = 0

    @property
    def rewind(self) -> str:
        """The rewind point in words, such as ``"iteration 60"``."""
        if self.rewind_to == "iteration":
            return f"iteration {self.rewind_iteration}"
        if self.rewind_to == "pretrained":
            return f"pretrained {self.rewind_weights}"
        return self.rewind_to

    def group_rate(self, group: str, round_number: int) -> float:
        """Return the prune rate of a group with its own final rate, after ``round_number`` rounds.

        The group follows the pace of the others: with e the ratio of the logarithms of the densities (of this round
        and of the last one), its density is (1 - final rate)^e.
        """
        final = 1 - self.prune_rates[-1]
        now = 1 - self.prune_rates[round_number - 1]
        share = (
            round_number / len(self.prune_rates) if final == 1 else math.log(now) / math.log(final)
        )
        return 1.0 - float((1 - self.group_prune_rates[group]) ** share)


def round_prune_rates(
    *, rounds: int, prune_rate: float, per_round: float = 0.0, targets: Sequence[float] = ()
) -> tuple[float, ...]:
    """Return the prune rate after each round.

    Args:
        rounds: number of rounds N.
        prune_rate: after the last one; round r keeps (1 - prune_rate)^(r/N) of the prunable weights.
        per_round: if above 0, the share of the survivors removed each round: round r keeps (1 - per_round)^r.
        targets: if not empty, the rates themselves.

    Raises:
        ConfigError: a rate is outside [0, 1).

    Example:
        >>> round_prune_rates(rounds=2, prune_rate=0.75)
        (0.5, 0.75)
    """
    if targets:
        rates = tuple(float(rate) for rate in targets)
    elif per_round > 0:
        rates = tuple(1 - (1 - per_round) ** number for number in range(1, rounds + 1))
    else:
        rates = tuple(1 - (1 - prune_rate) ** (number / rounds) for number in range(1, rounds + 1))
        # The last round meets the asked rate exactly, whatever the rounding of the power.
        rates = (*rates[:-1], float(prune_rate))
    for rate in rates:
        if not 0 <= rate < 1:
            raise ConfigError(f"The prune rate {rate} of a round is outside [0, 1).")
    return rates
