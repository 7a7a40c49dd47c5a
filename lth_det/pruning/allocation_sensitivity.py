"""An allocation that spends a budget where it hurts least: curves of loss against prune rate, one for each group."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lth_det.errors import ScopeError
from lth_det.pruning.allocation import AllocationRequest, Scope, register_allocation
from lth_det.pruning.apportion import keep_count
from lth_det.tickets.differences import list_names

# How much evenly spread rates count where the losses are equal, as a share of the largest loss.
_EVEN = 1e-6

_MANY = 300_000

_Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SensitivityCurve:
    """Loss increase of the network when one module group is pruned: straight between the measured rates.

    Attributes:
        rates: prune rates, ascending, the first 0.
        increases: loss above that of the dense network, not falling, the first 0.
    """

    rates: tuple[float, ...]
    increases: tuple[float, ...]

    def __post_init__(self) -> None:
        rises = all(list(values) == sorted(values) for values in (self.rates, self.increases))
        if not (rises and self.rates[0] == 0 == self.increases[0]):
            raise ScopeError(
                f"A sensitivity curve begins at rate 0 with increase 0 and does not fall: {self}."
            )

    @classmethod
    def from_losses(
        cls, rates: Sequence[float], losses: Sequence[float], dense: float
    ) -> "SensitivityCurve":
        """Return the curve of measured losses, made monotone: each point gets the largest increase up to it.

        Pruning a little can lower the loss; that is noise or luck of one batch, and counts as no increase.

        Raises:
            ScopeError: a loss is not finite.
        """
        if not np.isfinite([*losses, dense]).all():
            raise ScopeError(
                "A loss that was measured for LTH.SCOPE 'sensitivity' is not finite; leave the highest rates out of "
                "LTH.SENSITIVITY.RATES."
            )
        raised = np.maximum.accumulate(np.maximum(np.asarray(losses, float) - dense, 0.0))
        return cls((0.0, *map(float, rates)), (0.0, *map(float, raised)))

    def increase_at(self, rate: float | _Floats) -> _Floats:
        """Return the loss increase at a rate up to the last one."""
        return np.asarray(np.interp(rate, self.rates, self.increases))


def cheapest_counts(
    sizes: Mapping[str, int],
    curves: Mapping[str, SensitivityCurve],
    total: int,
    at_least: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return how many weights of each group to prune so that the summed loss increase is smallest.

    The sum of the counts is exactly ``total``. Losses are assumed to add up, which is what makes this a search over
    curves and not over networks. Because the curves are straight between their points, some best solution has all
    groups but one at a point; so every combination of points is tried with every group as the one that takes the rest.
    Of equal solutions the more even one is taken. Beyond 300,000 combinations (more than six groups of eight points)
    those that prune less for a higher loss are dropped on the way, and the result may miss the best one by a little.

    Args:
        sizes: group -> number of prunable weights.
        curves: group -> its curve; the last rate is the highest that may be chosen.
        total: weights to prune over all groups.
        at_least: group -> weights that are pruned already; 0 where missing.

    Raises:
        ScopeError: the total cannot be reached.
    """
    low = {group: (at_least or {}).get(group, 0) for group in sizes}
    high = {g: max(low[g], round(curves[g].rates[-1] * size)) for g, size in sizes.items()}
    if not sum(low.values()) <= total <= sum(high.values()):
        raise ScopeError(
            f"{total} weights cannot be pruned within LTH.SENSITIVITY.RATES: the groups can have "
            f"{sum(low.values())} to {sum(high.values())} pruned; add a higher rate or prune less."
        )
    costs = {
        group: _Cost(size, curves[group], sum(sizes.values())) for group, size in sizes.items()
    }
    best: tuple[float, dict[str, int]] | None = None
    for free in sizes:
        others = {
            group: _points(curves[group], size, low[group], high[group])
            for group, size in sizes.items()
            if group != free
        }
        found = _best_with_rest(free, others, costs, total, (low[free], high[free]))
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    if best is None:
        raise ScopeError(f"{total} weights cannot be shared out over {list_names(sizes)}.")
    return {group: best[1][group] for group in sizes}


@dataclasses.dataclass(frozen=True)
class _Cost:
    size: int
    curve: SensitivityCurve
    network: int

    def __call__(self, counts: _Floats) -> _Floats:
        rates = counts / max(self.size, 1)
        even = _EVEN * max(self.curve.increases[-1], 1e-12) * self.size / self.network
        return np.asarray(self.curve.increase_at(rates) + even * rates**2)


def _points(curve: SensitivityCurve, size: int, low: int, high: int) -> list[int]:
    counts = {round(rate * size) for rate in curve.rates}
    return sorted({low, high} | {count for count in counts if low < count < high})


def _best_with_rest(
    free: str,
    others: Mapping[str, list[int]],
    costs: Mapping[str, _Cost],
    total: int,
    limits: tuple[int, int],
) -> tuple[float, dict[str, int]] | None:
    room = float(total - limits[0] - sum(points[0] for points in others.values()))
    sums, losses = np.zeros(1), np.zeros(1)
    chosen = np.zeros((1, 0), np.int64)
    for group, points in others.items():
        steps = np.asarray(points, float)
        sums = (sums[:, None] + steps).ravel()
        losses = (losses[:, None] + costs[group](steps)).ravel()
        chosen = np.column_stack(
            [np.repeat(chosen, len(points), axis=0), np.tile(points, len(chosen))]
        ).astype(np.int64)
        room += points[0]  # what this group may have beside the least of those to come
        keep = np.flatnonzero(sums <= room)
        if keep.size > _MANY:
            keep = keep[_not_dominated(sums[keep], losses[keep])]
        sums, losses, chosen = sums[keep], losses[keep], chosen[keep]
    rest = total - sums
    allowed = np.flatnonzero((rest >= limits[0]) & (rest <= limits[1]))
    if allowed.size == 0:
        return None
    whole = losses[allowed] + costs[free](rest[allowed])
    place = int(np.argmin(whole))
    row = allowed[place]
    counts = dict(zip(others, chosen[row].tolist(), strict=True))
    return float(whole[place]), {**counts, free: int(rest[row])}


def _not_dominated(sums: _Floats, losses: _Floats) -> npt.NDArray[np.int64]:
    """Return the places of states that no other beats in both: more pruned, lower loss."""
    order = np.lexsort((losses, -sums))
    before = np.concatenate([[np.inf], np.minimum.accumulate(losses[order])[:-1]])
    return np.sort(order[losses[order] < before])


@register_allocation("sensitivity")
class SensitivityAllocation:
    """Each module group gets the rate that costs least in all; inside a group its weights compete.

    Args:
        curves: Group -> its sensitivity curve.
    """

    name = "sensitivity"

    def __init__(self, curves: Mapping[str, SensitivityCurve]) -> None:
        self.curves = dict(curves)

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each group.

        Raises:
            ScopeError: a group has no curve, or the density cannot be reached within the measured rates.
        """
        names = request.names_by_group
        missing = [group for group in names if group not in self.curves]
        if missing:
            raise ScopeError(f"There is no sensitivity curve of {list_names(missing)}.")
        sizes = {group: request.size_of(members) for group, members in names.items()}
        pruned = {group: sizes[group] - request.available_in(m) for group, m in names.items()}
        size = sum(sizes.values())
        total = size - keep_count(size, request.required_density())
        counts = cheapest_counts(sizes, self.curves, total, pruned)
        return [
            Scope(f"group {group}", members, sizes[group] - counts[group])
            for group, members in names.items()
        ]
