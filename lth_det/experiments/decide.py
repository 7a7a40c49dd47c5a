"""Which weights a round prunes: the plan's criterion, scope and rates applied to the weights of the round before."""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.experiments.plan import NAMED_RATIOS, ImpPlan
from lth_det.experiments.scoring import Scoring, ScoringTrainer
from lth_det.pruning.allocation import Allocation, TicketRatioAllocation, build_allocation
from lth_det.pruning.allocation_sensitivity import SensitivityAllocation, SensitivityCurve
from lth_det.pruning.criteria import CRITERIA, Criterion, build_criterion
from lth_det.pruning.prune import prune
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket, ticket_sha256
from lth_det.tickets.ticket import Ticket

_NEEDS_MODEL = ("model", "loss_fn")

Curves = Mapping[str, SensitivityCurve]


def check_plan(table: ParameterTable, plan: ImpPlan, trainer: object = None) -> None:
    """Find out before anything is trained whether the plan can prune this model.

    Raises:
        ConfigError: nothing is prunable, a group with a rate of its own has no prunable weight, the criterion is
            unknown, or criterion or scope need losses that the trainer cannot compute.
        TicketFormatError: ``LTH.LAYER_RATIOS`` names a file that is no ticket.
    """
    _pools(table, plan)
    if needs_model(plan.criterion):
        scoring_trainer(trainer, f"LTH.CRITERION {plan.criterion}")
    else:
        build_criterion(plan.criterion, **_plain_options(plan))
    if plan.scope == "sensitivity":
        scoring_trainer(trainer, "LTH.SCOPE sensitivity")
    else:
        _allocation(plan, None)


def needs_model(criterion: str) -> bool:
    """Return whether a criterion needs a model with a loss, not only weights: it has a parameter ``model`` or ``loss_fn``."""
    return any(name in _parameters(criterion) for name in _NEEDS_MODEL)


def scoring_trainer(trainer: object, what: str) -> ScoringTrainer:
    """Return the trainer as one that computes losses at given weights.

    Raises:
        ConfigError: it cannot; ``what`` needs it.
    """
    if not isinstance(trainer, ScoringTrainer):
        raise ConfigError(
            f"{what} needs losses of a model at given weights, which are not to be had here; choose another, such as "
            "magnitude or global."
        )
    return trainer


def decide_mask(  # noqa: PLR0913 (what a decision rests on)
    weights: Mapping[str, Tensor],
    table: ParameterTable,
    plan: ImpPlan,
    round_number: int,
    previous: Mask | None,
    *,
    trainer: object = None,
    curves: Curves | None = None,
) -> Mask:
    """Return the mask of a round, nested in the one before.

    A group with a prune rate of its own is a pool by itself; all other prunable weights are one pool with the round's
    prune rate. The scope (global, group, layer, sensitivity) holds inside each pool.

    Args:
        weights: state dict that the mask is decided on, with the zeros of ``previous``.
        table: parameters of the model; only the prunable ones are looked at.
        plan: what to do.
        round_number: 1 is the first pruning.
        previous: the mask of the round before; ``None`` in round 1.
        trainer: a :class:`~lth_det.experiments.scoring.ScoringTrainer`, for criteria that need one.
        curves: for the scope ``sensitivity``.

    Raises:
        ConfigError: nothing is prunable, a group with a rate of its own has no prunable weight, or the criterion does
            not reach all groups.
        ScopeError: a score is not finite, or the rates cannot be met.
    """
    request = _Request(table, plan, round_number, previous, curves)
    if not needs_model(plan.criterion):
        criterion = build_criterion(plan.criterion, **_plain_options(plan))
        return request.mask({name: weights[name] for name in table.prunable_names}, criterion)
    scorer = scoring_trainer(trainer, f"LTH.CRITERION {plan.criterion}")
    with scorer.scoring(weights, batches=plan.criterion_batches, seed=plan.seed) as scoring:
        return _decide_with_model(scoring, request)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """Scores that are there already, as a criterion."""

    name: str
    given: Mapping[str, Tensor]

    def scores(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: self.given[name] for name in weights}


@dataclasses.dataclass(frozen=True)
class _Request:
    table: ParameterTable
    plan: ImpPlan
    round_number: int
    before: Mask | None
    curves: Curves | None

    def mask(
        self,
        weights: Mapping[str, Tensor],
        criterion: Criterion,
        *,
        done: float = 1.0,
        previous: Mask | None = None,
    ) -> Mask:
        """Return the mask when ``done`` (0-1) of the way from the mask before to the round's rates is gone."""
        previous = self.before if previous is None else previous
        keep: dict[str, Tensor] = {}
        for pool, names in _pools(self.table, self.plan).items():
            keep.update(
                prune(
                    {name: weights[name] for name in names},
                    table_groups=self.table.group_of,
                    criterion=criterion,
                    allocation=_allocation(self.plan, self.curves if pool is None else None),
                    density=self._density(pool, names, done),
                    previous=None if previous is None else previous.restricted_to(names),
                )
            )
        # In the model's order, so that equal decisions give equal files.
        return Mask({name: keep[name] for name in self.table.prunable_names})

    def _density(self, pool: str | None, names: list[str], done: float) -> float:
        number = self.round_number
        rate = (
            self.plan.prune_rates[number - 1]
            if pool is None
            else self.plan.group_rate(pool, number)
        )
        if done == 1:
            return 1 - rate
        before = 1.0 if self.before is None else self.before.restricted_to(names).density
        return float(before ** (1 - done) * (1 - rate) ** done)


def _decide_with_model(scoring: Scoring, request: _Request) -> Mask:
    plan, names = request.plan, request.table.prunable_names
    parameters = dict(scoring.model.named_parameters())
    weights = {name: parameters[name] for name in names}
    factory = CRITERIA[plan.criterion]
    data_free = bool(getattr(factory, "data_free", False))
    offered: dict[str, Any] = {
        "model": scoring.model,
        "loss_fn": scoring.flow if data_free else scoring.loss,
        "repeats": 1 if data_free else scoring.batches,
        "seed": plan.seed,
    }
    criterion = build_criterion(plan.criterion, **_wanted(plan.criterion, offered))
    steps = plan.criterion_steps or int(getattr(factory, "steps", 1))
    mask = request.before
    for step in range(1, steps + 1):
        scores = criterion.scores(weights)
        if step == 1 and data_free:
            _require_reached(request.table, weights, scores, plan.criterion)
        scored = _Scored(plan.criterion, scores)
        mask = request.mask(weights, scored, done=step / steps, previous=mask)
        apply_mask_(weights, mask)
    if mask is None:
        raise ConfigError(f"LTH.CRITERION_STEPS is {steps}, but at least one step is needed.")
    return mask


def _require_reached(
    table: ParameterTable,
    weights: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    criterion: str,
) -> None:
    """A parameter that no output depends on would have the lowest scores everywhere and be pruned away whole."""
    group_of = table.group_of
    lost = {
        group_of[name]
        for name, score in scores.items()
        if not bool(score.any()) and bool(torch.any(weights[name] != 0))
    }
    if lost:
        raise ConfigError(
            f"LTH.CRITERION {criterion} does not reach {list_names(sorted(lost))} of this model; leave these groups "
            "dense (LTH.PRUNE_ONLY) or choose another criterion."
        )


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


def _parameters(criterion: str) -> Mapping[str, inspect.Parameter]:
    if criterion not in CRITERIA:
        build_criterion(criterion)  # raises and names those that there are
    return inspect.signature(CRITERIA[criterion]).parameters


def _wanted(criterion: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    return {name: offered[name] for name in _parameters(criterion) if name in offered}


def _plain_options(plan: ImpPlan) -> dict[str, Any]:
    return _wanted(plan.criterion, {"seed": plan.seed})


def _allocation(plan: ImpPlan, curves: Curves | None) -> Allocation:
    if plan.scope == "sensitivity":
        # A group with a rate of its own is one scope.
        return build_allocation("global") if curves is None else SensitivityAllocation(curves)
    if plan.scope != "layer":
        return build_allocation(plan.scope)
    if plan.layer_ratios in NAMED_RATIOS:
        return build_allocation(plan.layer_ratios)
    return TicketRatioAllocation(_ratio_ticket(plan.layer_ratios).mask)


def layer_ratios_identity(layer_ratios: str) -> str:
    """Return what identifies a value of ``LTH.LAYER_RATIOS``: its name, or the SHA-256 of the ticket, wherever it lies.

    Raises:
        ConfigError: it is neither a name nor a file.
        TicketFormatError: the file is no ticket.
    """
    if layer_ratios in NAMED_RATIOS:
        return layer_ratios
    return f"ticket {ticket_sha256(_ratio_ticket(layer_ratios))}"


def scope_in_words(plan: ImpPlan) -> str:
    """Return the scope as tickets record it, such as ``"layer (erk)"``."""
    if plan.scope != "layer":
        return plan.scope
    return f"layer ({layer_ratios_identity(plan.layer_ratios)})"


def _ratio_ticket(path: str) -> Ticket:
    if not Path(path).is_file():
        raise ConfigError(
            f"LTH.LAYER_RATIOS is {path!r}; give uniform, erk or the file of a ticket."
        )
    return load_ticket(path)
