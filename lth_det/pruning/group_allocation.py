"""Allocations by module group: own rates, dense groups, and shares of a global budget."""

from collections.abc import Mapping

from lth_det.errors import ScopeError
from lth_det.pruning.allocation import AllocationRequest, Scope, register_allocation
from lth_det.pruning.apportion import apportion, keep_count
from lth_det.tickets.differences import list_names


@register_allocation("group")
class GroupAllocation:
    """Every module group has the density of the request or one of its own; inside a group the weights compete.

    The counts of all groups sum to the rounded sum of density * size. With densities of its own for some groups, the
    density of the whole is what results; see :class:`BudgetAllocation` to fix that of the whole.

    Args:
        densities: Group -> density of its own, in 0-1; 1 leaves a group dense. Others have that of the request.
    """

    name = "group"

    def __init__(self, densities: Mapping[str, float] | None = None) -> None:
        self.densities = dict(densities or {})

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each group.

        Raises:
            ScopeError: a group is unknown, a density is not in 0-1, or a group has fewer weights left than it
                should keep.
        """
        names = request.names_by_group
        _require_known("densities", self.densities, names)
        targets = []
        for group, members in names.items():
            density = self.densities.get(group)
            density = request.required_density() if density is None else density
            size = request.size_of(members)
            keep_count(size, density)  # checks the density
            targets.append(density * size)
            _require_left(group, density * size, request.available_in(members))
        total = round(round(sum(targets), 6))
        caps = [request.available_in(members) for members in names.values()]
        return _group_scopes(names, apportion(targets, caps, total))


@register_allocation("budget")
class BudgetAllocation:
    """The density of the whole is met exactly; some groups are fixed and the others share what remains.

    Args:
        fixed: Group -> density of its own, in 0-1; 1 leaves a group dense.
        shares: None: the groups that are not fixed compete with each other, weight by weight. Otherwise group ->
            share: a group's density is in proportion to its share, and weights compete inside their group only;
            groups not named have share 1.
    """

    name = "budget"

    def __init__(
        self,
        fixed: Mapping[str, float] | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.fixed = dict(fixed or {})
        self.shares = None if shares is None else dict(shares)

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each fixed group, and one for the rest or one for each of its groups.

        Raises:
            ScopeError: a group is unknown or both fixed and shared, a density is not in 0-1, a share is negative,
                or the fixed groups leave too little or too much for the others.
        """
        names = request.names_by_group
        self._check(names)
        fixed = {
            group: keep_count(request.size_of(names[group]), density)
            for group, density in self.fixed.items()
        }
        for group, count in fixed.items():
            _require_left(group, count, request.available_in(names[group]))
        size = sum(request.sizes.values())
        total = keep_count(size, request.required_density())
        rest = {group: members for group, members in names.items() if group not in fixed}
        left = total - sum(fixed.values())
        room = sum(request.available_in(members) for members in rest.values())
        if not 0 <= left <= room:
            raise ScopeError(
                f"The budget of {total} of {size} weights cannot be met: the fixed groups keep "
                f"{sum(fixed.values())} and the others can keep 0 to {room}; change the prune rate "
                "or the fixed groups."
            )
        scopes = [Scope(f"group {group}", names[group], count) for group, count in fixed.items()]
        return scopes + self._rest(request, rest, left)

    def _rest(
        self, request: AllocationRequest, rest: Mapping[str, tuple[str, ...]], left: int
    ) -> list[Scope]:
        if not rest:
            return []
        if self.shares is None:
            together = tuple(name for name in request.shapes if request.groups[name] in rest)
            return [Scope("budget of the other groups", together, left)]
        weights = [
            self.shares.get(group, 1.0) * request.size_of(members)
            for group, members in rest.items()
        ]
        caps = [request.available_in(members) for members in rest.values()]
        return _group_scopes(rest, apportion(weights, caps, left))

    def _check(self, names: Mapping[str, tuple[str, ...]]) -> None:
        shares = self.shares or {}
        _require_known("fixed groups", self.fixed, names)
        _require_known("shares", shares, names)
        both = sorted(set(self.fixed) & set(shares))
        if both:
            raise ScopeError(
                f"A group is either fixed or has a share, not both: {list_names(both)}."
            )
        bad = sorted(group for group, share in shares.items() if not 0.0 <= share < float("inf"))
        if bad:
            raise ScopeError(f"A share must be a number that is not negative: {list_names(bad)}.")


def _require_known(
    what: str, given: Mapping[str, float], names: Mapping[str, tuple[str, ...]]
) -> None:
    unknown = [group for group in given if group not in names]
    if unknown:
        raise ScopeError(
            f"The {what} name groups without prunable weights: {list_names(unknown)}; "
            f"there are {list_names(names)}."
        )


def _require_left(group: str, wanted: float, left: int) -> None:
    # One weight of tolerance: rounding between rounds may have given this group one less.
    if wanted > left + 1:
        raise ScopeError(
            f"The group {group} should keep {round(wanted)} weights, but only {left} are not "
            "pruned yet; its density must not grow from round to round."
        )


def _group_scopes(names: Mapping[str, tuple[str, ...]], counts: list[int]) -> list[Scope]:
    return [
        Scope(f"group {group}", members, count)
        for (group, members), count in zip(names.items(), counts, strict=True)
    ]
