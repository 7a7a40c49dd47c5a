"""Allocations: how many weights each scope keeps, so that the density of the whole is met exactly.

A scope is a set of parameters whose scores compete. An allocation is a small class with a ``name`` and ``scopes``;
add your own from any module with :func:`register_allocation`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from lth_det.errors import ConfigError, ScopeError
from lth_det.pruning.apportion import apportion, keep_count
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask, numel


@dataclasses.dataclass(frozen=True)
class Scope:
    """Parameters whose scores compete, and how many of their elements are kept.

    Attributes:
        label: For messages, such as ``"group backbone"``.
        names: The parameters, in the order that decides ties.
        keep_count: Number of elements to keep over all of them.
    """

    label: str
    names: tuple[str, ...]
    keep_count: int


@dataclasses.dataclass(frozen=True)
class AllocationRequest:
    """What an allocation has to divide.

    Attributes:
        shapes: Prunable parameter -> shape, in model order.
        groups: Prunable parameter -> module group.
        available: Prunable parameter -> elements that are not pruned yet.
        density: Kept / prunable elements to reach, in 0-1; None if the allocation knows the counts itself.
    """

    shapes: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, str]
    available: Mapping[str, int]
    density: float | None

    @property
    def sizes(self) -> dict[str, int]:
        """Prunable parameter -> number of elements."""
        return {name: numel(shape) for name, shape in self.shapes.items()}

    @property
    def names_by_group(self) -> dict[str, tuple[str, ...]]:
        """Module group -> its prunable parameters, in model order."""
        names: dict[str, list[str]] = {}
        for name in self.shapes:
            names.setdefault(self.groups[name], []).append(name)
        return {group: tuple(members) for group, members in names.items()}

    def size_of(self, names: Sequence[str]) -> int:
        """Return the number of elements of some parameters."""
        return sum(numel(self.shapes[name]) for name in names)

    def available_in(self, names: Sequence[str]) -> int:
        """Return the number of elements of some parameters that are not pruned yet."""
        return sum(self.available[name] for name in names)

    def required_density(self) -> float:
        """Return the density.

        Raises:
            ScopeError: none is given.
        """
        if self.density is None:
            raise ScopeError("This allocation needs a density (or prune rate); give one.")
        return self.density


class Allocation(Protocol):
    """Density of the whole -> scopes with whole counts."""

    @property
    def name(self) -> str:
        """The name that tickets record."""
        ...

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return disjoint scopes that cover all parameters of the request.

        Raises:
            ScopeError: the density cannot be reached.
        """
        ...


AllocationFactory = Callable[..., Allocation]
ALLOCATIONS: dict[str, AllocationFactory] = {}
"""The allocations that a config can name."""

_Factory = TypeVar("_Factory", bound=AllocationFactory)


def register_allocation(name: str) -> Callable[[_Factory], _Factory]:
    """Return a decorator that makes a class (or function) known as the allocation ``name``.

    Raises:
        ConfigError: the name is taken by another allocation.
    """

    def register(factory: _Factory) -> _Factory:
        if ALLOCATIONS.get(name, factory) is not factory:
            raise ConfigError(
                f"There is already an allocation called {name!r}; choose another name."
            )
        ALLOCATIONS[name] = factory
        return factory

    return register


def build_allocation(name: str, **options: Any) -> Allocation:
    """Return the allocation registered under a name, made with these options.

    Raises:
        ConfigError: the name is unknown, or the options are not those of this allocation.
    """
    if name not in ALLOCATIONS:
        known = ", ".join(sorted(ALLOCATIONS))
        raise ConfigError(f"There is no allocation {name!r}; choose one of {known}.")
    factory = ALLOCATIONS[name]
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ConfigError(f"The allocation {name!r} does not fit its options: {error}.") from error
    return factory(**options)


@register_allocation("global")
class GlobalAllocation:
    """All parameters compete with each other: one scope."""

    name = "global"

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return one scope with all parameters."""
        names = tuple(request.shapes)
        count = keep_count(request.size_of(names), request.required_density())
        return [Scope("network", names, count)]


def layer_scopes(request: AllocationRequest, weights: Sequence[float]) -> list[Scope]:
    """Return a scope for each parameter, with shares of the density's count in proportion to ``weights``.

    A layer cannot keep more than it has left: it then keeps all of that, and the others get the rest in proportion.

    Raises:
        ScopeError: more is to be kept than is left.
    """
    names = tuple(request.shapes)
    total = keep_count(request.size_of(names), request.required_density())
    counts = apportion(weights, [request.available[name] for name in names], total)
    return [
        Scope(f"layer {name}", (name,), count) for name, count in zip(names, counts, strict=True)
    ]


@register_allocation("uniform")
class UniformAllocation:
    """Every layer has the same density, as near as whole counts allow."""

    name = "uniform"

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each parameter."""
        return layer_scopes(request, [float(size) for size in request.sizes.values()])


@register_allocation("erk")
class ErkAllocation:
    """Erdos-Renyi-Kernel: density of a layer in proportion to sum(shape) / product(shape).

    Layers whose density would pass 1 are dense and the others share the rest (Evci et al. 2020, arXiv 1911.11134,
    section 3; Mocanu et al. 2018 for fully connected layers).
    """

    name = "erk"

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each parameter."""
        # density * size = const * sum(shape): the product cancels. A scalar counts as one.
        weights = [float(sum(shape) or 1) for shape in request.shapes.values()]
        return layer_scopes(request, weights)


@register_allocation("layer_ratios")
class LayerRatioAllocation:
    """Every layer keeps a given number of elements, such as those of another ticket.

    Args:
        kept: Parameter -> number of elements to keep, for exactly the prunable parameters.
    """

    name = "layer_ratios"

    def __init__(self, kept: Mapping[str, int]) -> None:
        self.kept = dict(kept)

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each parameter; a density, if given, must mean the same total.

        Raises:
            ScopeError: other names than the prunable ones, more than a layer has left, or another total.
        """
        other = sorted(set(self.kept) ^ set(request.shapes))
        if other:
            raise ScopeError(
                f"The layer counts must name exactly the prunable parameters; differing: {list_names(other)}."
            )
        if request.density is not None:
            expected = keep_count(sum(request.sizes.values()), request.density)
            if expected != sum(self.kept.values()):
                raise ScopeError(
                    f"The layer counts keep {sum(self.kept.values())} weights, but the density "
                    f"{request.density} means {expected}; give the density None to use the counts."
                )
        return [Scope(f"layer {name}", (name,), self.kept[name]) for name in request.shapes]


class TicketRatioAllocation:
    """Every layer keeps a share of the whole in proportion to what a ticket keeps there.

    At the ticket's own prune rate these are its counts, exactly. A layer that the ticket empties keeps nothing.

    Args:
        mask: The mask of the ticket; it may name more parameters than are prunable here.
    """

    name = "ticket_ratios"

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    def scopes(self, request: AllocationRequest) -> list[Scope]:
        """Return a scope for each parameter.

        Raises:
            ScopeError: the ticket lacks a parameter, or its layers have too little left for the density.
        """
        missing = [name for name in request.shapes if name not in self.mask]
        if missing:
            raise ScopeError(
                f"The ticket of LTH.LAYER_RATIOS has no mask of {list_names(missing)}."
            )
        return layer_scopes(request, [float(self.mask.kept_in(name)) for name in request.shapes])
