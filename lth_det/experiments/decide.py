"""Which weights a round prunes: the plan's criterion, scope and rates applied to the trained weights."""

from collections.abc import Mapping

from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.experiments.plan import ImpPlan
from lth_det.pruning.allocation import Allocation, build_allocation
from lth_det.pruning.criteria import Criterion, build_criterion
from lth_det.pruning.prune import prune
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable


def check_plan(table: ParameterTable, plan: ImpPlan) -> None:
    """Find out before anything is trained whether the plan can prune this model.

    Raises:
        ConfigError: nothing is prunable, a group with a rate of its own has no prunable weight, or the criterion is
            unknown or needs more than weights.
    """
    _pools(table, plan)
    _criterion(plan)
    _allocation(plan)


def decide_mask(
    weights: Mapping[str, Tensor],
    table: ParameterTable,
    plan: ImpPlan,
    round_number: int,
    previous: Mask | None,
) -> Mask:
    """Return the mask of a round, nested in the one before.

    A group with a prune rate of its own is a pool by itself; all other prunable weights are one pool with the round's
    prune rate. The scope (global, group, layer) holds inside each pool.

    Args:
        weights: trained state dict of the round before.
        table: parameters of the model; only the prunable ones are looked at.
        plan: what to do.
        round_number: 1 is the first pruning.
        previous: the mask of the round before; ``None`` in round 1.

    Raises:
        ConfigError: nothing is prunable, or a group with a rate of its own has no prunable weight.
        ScopeError: a score is not finite, or the rates cannot be met.
    """
    group_of = table.group_of
    keep: dict[str, Tensor] = {}
    for pool, names in _pools(table, plan).items():
        rate = (
            plan.prune_rates[round_number - 1]
            if pool is None
            else plan.group_rate(pool, round_number)
        )
        keep.update(
            prune(
                {name: weights[name] for name in names},
                table_groups=group_of,
                criterion=_criterion(plan),
                allocation=_allocation(plan),
                density=1 - rate,
                previous=None if previous is None else previous.restricted_to(names),
            )
        )
    # In the model's order, so that equal decisions give equal files.
    return Mask({name: keep[name] for name in table.prunable_names})


def _pools(table: ParameterTable, plan: ImpPlan) -> dict[str | None, list[str]]:
    """Return the parameters that share a prune rate: by group with its own rate, and the others under ``None``."""
    group_of = table.group_of
    pools: dict[str | None, list[str]] = {group: [] for group in plan.group_prune_rates}
    for name in table.prunable_names:
        group = group_of[name]
        pools.setdefault(group if group in plan.group_prune_rates else None, []).append(name)
    for group in plan.group_prune_rates:
        if not pools[group]:
            raise ConfigError(
                f"LTH.GROUP_PRUNE_RATE.{group.upper()} is {plan.group_prune_rates[group]}, but the model has no prunable "
                f"weight in that group; set it to 0 or -1."
            )
    if not any(pools.values()):
        raise ConfigError("No weight is prunable: LTH.GROUP_PRUNE_RATE leaves every group dense.")
    return pools


def _criterion(plan: ImpPlan) -> Criterion:
    if plan.criterion == "random":
        return build_criterion("random", seed=plan.seed)
    return build_criterion(plan.criterion)


def _allocation(plan: ImpPlan) -> Allocation:
    return build_allocation(plan.layer_ratios if plan.scope == "layer" else plan.scope)
