"""What an RST run is asked to do, and its masks."""

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.experiments.plan import ImpPlan
from lth_det.pruning.allocation import Allocation, LayerRatioAllocation, build_allocation
from lth_det.pruning.rst import RstSchedule, published_counts, random_ticket_mask
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterEntry, ParameterTable


@dataclasses.dataclass(frozen=True)
class RstPlan:
    """Random sparse network transformation (Bai et al. 2022, arXiv 2203.04248).

    Attributes:
        ratios: how the mask is shared among the layers: ``"uniform"``, ``"erk"``, ``"published"`` (uniform, rounded as in the
            authors' code) or ``"ticket"``.
        ratio_mask: the mask whose layer ratios ``"ticket"`` takes.
        start: rewind snapshot to start from; ``None`` = the initialisation.
        cycles: 1 = one-shot.
        schedule: of one cycle.
        decoupled: kind of the penalty.
        stop_residual: of the stop rule; 0 = off.
        check_period: iterations between two looks at the residual norm.
        preset: name of the preset, for the record.
    """

    ratios: str
    ratio_mask: Mask | None
    start: Path | None
    cycles: int
    schedule: RstSchedule
    decoupled: bool
    stop_residual: float
    check_period: int
    preset: str

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as ``results.json`` has them."""
        return {
            "preset": self.preset,
            "ratios": self.ratios,
            "cycles": self.cycles,
            "penalty": "decoupled" if self.decoupled else "coupled",
            "stop_residual": self.stop_residual,
            **dataclasses.asdict(self.schedule),
        }


def cycle_rate(prune_rate: float, cycle: int, cycles: int) -> float:
    """Return the prune rate that a cycle ends at: 1 - (1 - prune rate)^(cycle / cycles); exact in the last one.

    >>> [cycle_rate(0.75, cycle, 2) for cycle in (1, 2)]
    [0.5, 0.75]
    """
    return prune_rate if cycle == cycles else float(1 - (1 - prune_rate) ** (cycle / cycles))


def rst_mask(
    table: ParameterTable, plan: ImpPlan, rst: RstPlan, *, cycle: int, previous: Mask | None
) -> Mask:
    """Return the random mask of a cycle, nested in the one before, over the prunable parameters that are trained.

    A module group with a prune rate of its own is drawn by itself, as in an IMP run.

    Args:
        table: parameters of the model.
        plan: its last prune rate, group rates and seed.
        rst: ratios and number of cycles.
        cycle: 1 is the first.
        previous: the mask of the cycle before.

    Raises:
        ConfigError: a group with a rate of its own has no prunable weight that is trained, or the ticket for the ratios is
            of other parameters.
        ScopeError: nothing can be drawn.
    """
    keep: dict[str, Tensor] = {}
    for entries, rate in _pools(table, plan):
        shapes = {entry.name: entry.shape for entry in entries}
        allocation, density = _allocation(entries, cycle_rate(rate, cycle, rst.cycles), rst, cycle)
        keep.update(
            random_ticket_mask(
                ParameterTable(entries),
                allocation=allocation,
                density=density,
                seed=plan.seed,
                previous=None if previous is None else previous.restricted_to(shapes),
            )
        )
    return Mask({entry.name: keep[entry.name] for entry in table if entry.name in keep})


def _pools(table: ParameterTable, plan: ImpPlan) -> list[tuple[tuple[ParameterEntry, ...], float]]:
    trained = [entry for entry in table if entry.prunable and not entry.frozen]
    if not trained:
        raise ConfigError(
            "No prunable weight is trained, so RST has nothing to draw a mask from; check LTH.GROUP_PRUNE_RATE and "
            "MODEL.BACKBONE.FREEZE_AT."
        )
    own = plan.group_prune_rates
    pools = []
    for group, rate in own.items():
        entries = tuple(entry for entry in trained if entry.group == group)
        if not entries:
            raise ConfigError(
                f"LTH.GROUP_PRUNE_RATE.{group.upper()} is {rate}, but the model has no prunable weight in that group that "
                "is trained; set it to 0 or -1."
            )
        pools.append((entries, rate))
    rest = tuple(entry for entry in trained if entry.group not in own)
    return [*pools, (rest, plan.prune_rates[-1])] if rest else pools


def _allocation(
    entries: tuple[ParameterEntry, ...], rate: float, rst: RstPlan, cycle: int
) -> tuple[Allocation, float | None]:
    if rst.ratios == "published":
        shapes = {entry.name: entry.shape for entry in entries}
        return LayerRatioAllocation(published_counts(shapes, rate)), None
    if rst.ratios == "ticket":
        return LayerRatioAllocation(_ticket_counts(entries, rst, cycle)), None
    return build_allocation(rst.ratios), 1 - rate


def _ticket_counts(entries: tuple[ParameterEntry, ...], rst: RstPlan, cycle: int) -> dict[str, int]:
    mask = rst.ratio_mask
    if mask is None:
        raise ConfigError("LTH.RST.MASK is 'ticket', but no ticket is given.")
    shapes = {entry.name: entry.shape for entry in entries}
    wrong = [name for name, shape in shapes.items() if mask.shapes.get(name) != shape]
    if wrong:
        raise ConfigError(
            f"LTH.RST.MASK_TICKET has no mask of the right shape for {list_names(wrong)}; give a ticket of this model that "
            "prunes the same module groups."
        )
    counts = {}
    for name in shapes:
        size, kept = mask.numel_in(name), mask.kept_in(name)
        share = kept / size if size else 0.0
        # In the last cycle exactly the ticket's count.
        counts[name] = (
            kept if cycle == rst.cycles else max(kept, round(size * share ** (cycle / rst.cycles)))
        )
    return counts
