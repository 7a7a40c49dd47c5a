"""Control runs: what a ticket has to beat before it means anything. Each differs from the ticket in one thing.

One table, name -> how the control is made. A control of a stage is trained like that stage, and its folder is the
stage's name followed by its own, such as ``round_02_random_erk`` or ``ticket_random_erk``.
"""

import dataclasses
import logging
from collections.abc import Callable

import torch

from lth_det.errors import ConfigError
from lth_det.experiments.plan import ImpPlan
from lth_det.pruning import controls as masks
from lth_det.pruning.allocation import ErkAllocation
from lth_det.pruning.criteria import RandomCriterion
from lth_det.pruning.prune import prune
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Ticket
from lth_det.transfer.admission import TRANSFER_KEY

logger = logging.getLogger(__name__)

BUDGET_KEY = "finding_iterations"
"""Entry of a ticket's provenance: training iterations that were made to find it, the dense round included."""

_MANY_ZEROS = 0.01  # share of a control's weights; single weights may be exactly zero anywhere

_SEED_STEP = 1_000_003  # far from the seeds that a user would give to repeated runs


@dataclasses.dataclass(frozen=True)
class Control:
    """How a control differs from the ticket.

    Attributes:
        mask: (ticket's mask, seed, plan) -> mask of the control; None: nothing is pruned and there is no ticket at all.
        fresh: whether the weights are another draw of the initialisation; what ``MODEL.WEIGHTS`` gives, it gives again.
        same_budget: whether it trains as long as finding and training the ticket took together.
    """

    mask: Callable[[Mask, int, ImpPlan], Mask] | None
    fresh: bool = False
    same_budget: bool = False


def _random_layer_ratios(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    del plan
    return masks.random_like(mask, seed)


def _random_erk(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    """Return a random mask with the same number of weights in all, shared over the layers by ERK."""
    del plan
    return prune(
        {name: torch.zeros(()).expand(shape) for name, shape in mask.shapes.items()},
        table_groups=dict.fromkeys(mask, "all"),
        criterion=RandomCriterion(f"random_erk/{seed}"),
        allocation=ErkAllocation(),
        density=mask.density,
    )


def _reshuffled(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    del plan
    return masks.reshuffled(mask, seed)


def _same(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    del seed, plan
    return mask


def _complement(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    """Return weights that the ticket prunes, as many in each layer as the ticket keeps.

    The exact complement of a ticket with density d has density 1 - d, and says nothing beside the ticket. This one has
    the ticket's counts, so a layer with a density above one half keeps all that the ticket prunes there and, to fill
    up, some that the ticket keeps.
    """
    del plan
    other = masks.disjoint_like(mask, seed)
    both = sum(int((mask[name] & other[name]).sum()) for name in mask)
    logger.info(
        "complement: keeps %d weights as the ticket does; %d of them (%.1f %%) are the ticket's, in layers that keep "
        "more than half.",
        other.kept,
        both,
        100 * both / max(other.kept, 1),
    )
    return other


def _dense(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    del seed, plan
    return Mask({name: torch.ones(s, dtype=torch.bool) for name, s in mask.shapes.items()})


def _perturbed(mask: Mask, seed: int, plan: ImpPlan) -> Mask:
    return masks.perturbed(mask, plan.perturbed_fraction, seed)


CONTROLS: dict[str, Control] = {
    "random_layer_ratios": Control(_random_layer_ratios),
    "random_erk": Control(_random_erk),
    "reshuffled": Control(_reshuffled),
    "random_reinit": Control(_same, fresh=True),
    "complement": Control(_complement),
    "perturbed": Control(_perturbed),
    "dense_rewound": Control(_dense),
    "dense_same_budget": Control(None, same_budget=True),
}
"""The controls that a config can name."""


def control_seed(plan: ImpPlan) -> int:
    """Return the seed of the controls' draws."""
    return plan.seed + _SEED_STEP


def control_ticket(
    kind: str, ticket: Ticket, *, of: str, plan: ImpPlan, table: ParameterTable
) -> Ticket:
    """Return the ticket of a control.

    Args:
        kind: name in :data:`CONTROLS` of one that has a mask.
        ticket: what it is a control of.
        of: the stage of that ticket.
        plan: the seed, and the fraction of ``perturbed``.
        table: parameters of the model.

    Raises:
        ConfigError: the control trains without a ticket.
    """
    control = CONTROLS[kind]
    if control.mask is None:
        raise ConfigError(f"The control {kind} has no ticket.")
    seed = control_seed(plan)
    mask = control.mask(ticket.mask, seed, plan)
    summary = sparsity_summary(table, mask).to_dict()
    extra = {"control_of": of, "control_seed": str(seed), TABLE_KEY: table_to_text(table)}
    if TRANSFER_KEY in ticket.provenance.extra:
        extra[TRANSFER_KEY] = ticket.provenance.extra[TRANSFER_KEY]
    provenance = dataclasses.replace(
        ticket.provenance,
        criterion=kind,
        prune_rate=summary["prune_rate"],
        prune_rates_by_group={group: row["prune_rate"] for group, row in summary["groups"].items()},
        sparsity=summary["sparsity"],
        parent_sha256=None,
        extra=extra,
    )
    made = Ticket(mask, None if control.fresh else ticket.weights, provenance)
    zeros = zero_starts(made)
    if zeros > _MANY_ZEROS:
        logger.warning(
            "%s of %s: %.1f %% of the weights that it keeps start at zero, because the weights of the ticket were trained "
            "with its zeros; where it is worse than the ticket, that need not be due to the mask.",
            kind,
            of,
            100 * zeros,
        )
    return made


def zero_starts(ticket: Ticket) -> float:
    """Return the share of the kept weights whose start value in the ticket is exactly zero, in 0-1; 0 without weights."""
    if ticket.weights is None or not ticket.mask.kept:
        return 0.0
    zeros = sum(
        int((keep & (ticket.weights[name] == 0)).sum()) for name, keep in ticket.mask.items()
    )
    return zeros / ticket.mask.kept


def finding_iterations(plan: ImpPlan, round_number: int) -> int:
    """Return the training iterations that are made before the ticket of a round is there; 0 if the plan has none."""
    return plan.iterations + (round_number - 1) * plan.retraining_iterations


def budget_of_round(plan: ImpPlan, round_number: int) -> int:
    """Return the iterations of ``dense_same_budget`` for a round: those of all rounds up to it, round 0 included.

    Raises:
        ConfigError: the trainer of the run cannot stretch its schedule.
    """
    if not plan.iterations:
        raise ConfigError(
            "The control dense_same_budget needs a schedule that can be stretched, which this training has not; leave "
            "it out of LTH.CONTROLS."
        )
    return finding_iterations(plan, round_number) + plan.retraining_iterations


def budget_of_ticket(plan: ImpPlan, ticket: Ticket) -> int:
    """Return the iterations of ``dense_same_budget`` for a given ticket: those that found it and those that train it.

    Raises:
        ConfigError: the ticket does not say how long finding it took, or was found on another task, so that its
            iterations are not comparable; or as :func:`budget_of_round`.
    """
    budget_of_round(plan, 1)
    provenance = ticket.provenance
    spent = provenance.extra.get(BUDGET_KEY, "")
    if not spent.isdecimal() or int(spent) == 0:
        why = "its file does not say how many iterations finding it took"
    elif provenance.source_task != plan.task:
        why = f"it was found on {provenance.source_task}, not on {plan.task}"
    else:
        return int(spent) + plan.retraining_iterations
    raise ConfigError(
        f"The control dense_same_budget cannot be made for this ticket: {why}; leave it out of LTH.CONTROLS."
    )
