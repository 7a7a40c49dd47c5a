"""Which parameters a network has, which of them may be pruned and to which module group each belongs."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from torch import Tensor

from lth_det.errors import ScopeError
from lth_det.tickets.differences import list_names

GROUPS = (
    "stem",
    "backbone",
    "fpn",
    "rpn",
    "box_head",
    "mask_head",
    "keypoint_head",
    "res5",
    "predictors",
    "other",
)
"""The module groups of a detector, in the order of tables."""


@dataclasses.dataclass(frozen=True)
class ParameterEntry:
    """One parameter of a network.

    Attributes:
        name: Its name in ``named_parameters``, without ``module.``.
        shape: Its shape.
        numel: Its number of elements.
        group: Its module group.
        prunable: Whether it may be pruned.
        frozen: Whether it is not trained.
        reason: Why it is not prunable, in a few words; "" if it is.
    """

    name: str
    shape: tuple[int, ...]
    numel: int
    group: str
    prunable: bool
    frozen: bool
    reason: str = ""


class ParameterTable(Sequence[ParameterEntry]):
    """All parameters of a network in model order; a shared parameter is there once.

    Raises:
        ScopeError: two entries have the same name.
    """

    def __init__(self, entries: Iterable[ParameterEntry]) -> None:
        self._entries = tuple(entries)
        counts = collections.Counter(entry.name for entry in self._entries)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ScopeError(f"These parameters are in the table twice: {list_names(twice)}.")

    @overload
    def __getitem__(self, index: int) -> ParameterEntry: ...
    @overload
    def __getitem__(self, index: slice) -> "ParameterTable": ...
    def __getitem__(self, index: int | slice) -> "ParameterEntry | ParameterTable":
        if isinstance(index, slice):
            return ParameterTable(self._entries[index])
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ParameterEntry]:
        return iter(self._entries)

    def __repr__(self) -> str:
        return (
            f"ParameterTable({len(self)} parameters, "
            f"{self.prunable_parameters} of {self.total_parameters} elements prunable)"
        )

    @property
    def total_parameters(self) -> int:
        """Number of elements of all parameters, trainable and frozen."""
        return sum(entry.numel for entry in self._entries)

    @property
    def prunable_parameters(self) -> int:
        """Number of elements that may be pruned."""
        return sum(entry.numel for entry in self._entries if entry.prunable)

    @property
    def prunable_names(self) -> tuple[str, ...]:
        """Names of the prunable parameters, in model order."""
        return tuple(entry.name for entry in self._entries if entry.prunable)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that occur: those of ``GROUPS`` in that order, then others as they come."""
        present = dict.fromkeys(entry.group for entry in self._entries)
        known = [group for group in GROUPS if group in present]
        return (*known, *(group for group in present if group not in GROUPS))

    @property
    def group_of(self) -> dict[str, str]:
        """Parameter name -> group, for all parameters."""
        return {entry.name: entry.group for entry in self._entries}

    def in_group(self, name: str) -> tuple[ParameterEntry, ...]:
        """Return the entries of one group, in model order; empty if the group does not occur."""
        return tuple(entry for entry in self._entries if entry.group == name)


def parameter_table(
    named_parameters: Iterable[tuple[str, Tensor]],
    group_of: Callable[[str, Tensor], str],
    reason_not_prunable: Callable[[str, Tensor], str],
) -> ParameterTable:
    """Return the table of named parameters; a tensor that comes again under another name is left out.

    Args:
        named_parameters: Such as ``model.named_parameters()``.
        group_of: The module group of a parameter.
        reason_not_prunable: Why a parameter may not be pruned, "" if it may.
    """
    seen: set[int] = set()
    entries = []
    for name, parameter in named_parameters:
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        reason = reason_not_prunable(name, parameter)
        entries.append(
            ParameterEntry(
                name=name,
                shape=tuple(parameter.shape),
                numel=parameter.numel(),
                group=group_of(name, parameter),
                prunable=not reason,
                frozen=not parameter.requires_grad,
                reason=reason,
            )
        )
    return ParameterTable(entries)
