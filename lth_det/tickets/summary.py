"""Sparsity and prune rate of a network, its module groups and its layers, as data and as text."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from lth_det.errors import ScopeError
from lth_det.tickets.differences import list_names, require_equal_shapes
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable


@dataclasses.dataclass(frozen=True)
class SparsityCounts:
    """Counts of elements of a network or of a part of it.

    Attributes:
        total_parameters: All elements, trainable and frozen.
        prunable_parameters: Those that may be pruned.
        pruned_parameters: Those that are pruned.
    """

    total_parameters: int
    prunable_parameters: int
    pruned_parameters: int

    @property
    def sparsity(self) -> float:
        """Pruned / all elements, in 0-1; 0 if there is none."""
        return self.pruned_parameters / self.total_parameters if self.total_parameters else 0.0

    @property
    def prune_rate(self) -> float:
        """Pruned / prunable elements, in 0-1; 0 if none is prunable."""
        if not self.prunable_parameters:
            return 0.0
        return self.pruned_parameters / self.prunable_parameters

    def to_dict(self) -> dict[str, Any]:
        """Return counts and both rates by their JSON names."""
        return {
            **dataclasses.asdict(self),
            "sparsity": self.sparsity,
            "prune_rate": self.prune_rate,
        }


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """Counts of one parameter; ``prunable`` is true if it may be pruned."""

    name: str
    group: str
    shape: tuple[int, ...]
    total_parameters: int
    prunable: bool
    pruned_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Return the counts by their JSON names."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True)
class SparsitySummary:
    """Counts of the network, of each module group that occurs and of each parameter, in model order."""

    total: SparsityCounts
    groups: dict[str, SparsityCounts]
    layers: tuple[LayerSparsity, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the stable JSON form of ``inspect_ticket.py`` and ``results.json``."""
        return {
            **self.total.to_dict(),
            "groups": {name: counts.to_dict() for name, counts in self.groups.items()},
            "layers": [layer.to_dict() for layer in self.layers],
        }


def sparsity_summary(table: ParameterTable, mask: Mask | None) -> SparsitySummary:
    """Return how much of a network a mask prunes; None and prunable parameters without a mask are dense.

    Raises:
        MaskMismatchError: the mask names a parameter that the table lacks, or has another shape.
        ScopeError: the mask prunes parameters that the table says are not prunable.
    """
    if mask is not None:
        require_equal_shapes(
            {entry.name: entry.shape for entry in table},
            mask.shapes,
            what="The mask does not fit the network",
            allow_missing=True,
        )
    layers = tuple(
        LayerSparsity(
            name=entry.name,
            group=entry.group,
            shape=entry.shape,
            total_parameters=entry.numel,
            prunable=entry.prunable,
            pruned_parameters=_pruned_in(mask, entry.name),
        )
        for entry in table
    )
    outside = [layer.name for layer in layers if layer.pruned_parameters and not layer.prunable]
    if outside:
        raise ScopeError(
            f"The mask prunes {list_names(outside)}, which this scope does not allow; "
            "use the scope the ticket was made with."
        )
    groups = {
        group: _counts(layer for layer in layers if layer.group == group) for group in table.groups
    }
    return SparsitySummary(total=_counts(layers), groups=groups, layers=layers)


def sparsity_table(summary: SparsitySummary) -> str:
    """Return the printed form: a line for each module group and one for the network."""
    rows = [("group", "parameters", "prunable", "pruned", "sparsity", "prune rate")]
    for name, counts in [*summary.groups.items(), ("network", summary.total)]:
        rows.append(
            (
                name,
                f"{counts.total_parameters:,}",
                f"{counts.prunable_parameters:,}",
                f"{counts.pruned_parameters:,}",
                f"{100 * counts.sparsity:.2f} %",
                f"{100 * counts.prune_rate:.2f} %" if counts.prunable_parameters else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _pruned_in(mask: Mask | None, name: str) -> int:
    if mask is None or name not in mask:
        return 0
    return mask.numel_in(name) - mask.kept_in(name)


def _counts(layers: Iterable[LayerSparsity]) -> SparsityCounts:
    total = prunable = pruned = 0
    for layer in layers:
        total += layer.total_parameters
        prunable += layer.total_parameters if layer.prunable else 0
        pruned += layer.pruned_parameters
    return SparsityCounts(total, prunable, pruned)
