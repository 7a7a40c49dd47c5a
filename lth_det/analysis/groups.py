"""Object groups: the bins of every attribute and their crosses, as columns of membership."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lth_det.analysis.attributes import Attribute, Bin
from lth_det.analysis.backends import MAX_GROUPS, Bits, GroupBits
from lth_det.analysis.cells import Cells, Truth
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.columns import Detections, GroundTruth

ALL = "all"


@dataclass(frozen=True)
class Group:
    """One bin of an axis, or one cell of a cross; ``parts`` are (attribute, bin) pairs that must all hold.

    ``axis`` and ``name`` are those of the result; a group belongs to a ``family`` whose bins share the prevalence N of
    the normalised precision. The group "all" has no parts.
    """

    axis: str
    name: str
    family: str
    parts: tuple[tuple[Attribute, Bin], ...]

    @property
    def label(self) -> str:
        """Unique name ``axis/bin``."""
        return f"{self.axis}/{self.name}" if self.axis else self.name


@dataclass(frozen=True)
class GroupTable:
    """All groups of one IoU type and which annotations are their objects.

    ``members`` (G, N) in the order of :class:`Truth`; ``counts`` (K, G) objects per class; ``images`` (G,) number of
    images with an object. Group 0 is "all".
    """

    groups: tuple[Group, ...]
    members: BoolArray
    counts: FloatArray

    def index(self, label: str) -> int:
        """Return the position of the group called ``label``."""
        return [g.label for g in self.groups].index(label)

    def of_axis(self, axis: str) -> dict[str, int]:
        """Return bin name -> position of the groups of one axis, in order."""
        return {g.name: i for i, g in enumerate(self.groups) if g.axis == axis}

    def prevalence(self) -> FloatArray:
        """Return ``N / objects`` (K, G): N is the class's mean count over the bins of a family (Hoiem et al. 2012)."""
        factor = np.ones_like(self.counts)
        families = [g.family for g in self.groups]
        for family in dict.fromkeys(families):
            columns = [i for i, f in enumerate(families) if f == family]
            mean = self.counts[:, columns].mean(axis=1, keepdims=True)
            own = self.counts[:, columns]
            factor[:, columns] = np.divide(mean, own, out=np.ones_like(own), where=own > 0)
        return factor


def make_groups(
    attributes: Sequence[Attribute], crosses: Sequence[Sequence[Attribute]]
) -> tuple[Group, ...]:
    """Return the group "all", every bin of every attribute, and every cell of every cross."""
    groups = [Group("", ALL, ALL, ())]
    for attribute in attributes:
        groups += [
            Group(attribute.axis, b.name, attribute.name, ((attribute, b),)) for b in attribute.bins
        ]
    for cross in crosses:
        axis = "_x_".join(a.axis for a in cross)
        for cell in product(*(a.bins for a in cross)):
            parts = tuple(zip(cross, cell, strict=True))
            groups.append(Group(axis, "/".join(b.name for b in cell), axis, parts))
    return tuple(groups)


def group_table(groups: tuple[Group, ...], truth: GroundTruth, cells: Truth) -> GroupTable:
    """Return which annotations are objects of which group."""
    values = {a.name: a for g in groups for a, _ in g.parts}
    measured = {name: a.objects(truth)[cells.row] for name, a in values.items()}
    members = np.zeros((len(groups), cells.row.size), dtype=bool)
    counts = np.zeros((cells.number_of_classes, len(groups)))
    for i, group in enumerate(groups):
        inside = ~cells.ignored
        for attribute, bin_ in group.parts:
            inside &= bin_.contains(measured[attribute.name])
        members[i] = inside
        counts[:, i] = np.bincount(cells.category[inside], minlength=cells.number_of_classes)
    return GroupTable(groups, members, counts)


def group_bits(
    table: GroupTable, chunk: slice, truth: GroundTruth, detections: Detections, cells: Cells
) -> GroupBits:
    """Return the membership words of up to 64 groups.

    A detection is a false positive, when unmatched, where the detection-side predicates that exist hold; LVIS's
    unverified classes are false positives nowhere.
    """
    groups = table.groups[chunk]
    objects = _pack(table.members[chunk])
    measured: dict[str, FloatArray] = {}
    allowed = np.ones((len(groups), cells.detections), dtype=bool)
    for i, group in enumerate(groups):
        for attribute, bin_ in group.parts:
            if attribute.detections is None:
                continue
            if attribute.name not in measured:
                measured[attribute.name] = attribute.detections(truth, detections)[cells.row]
            allowed[i] &= bin_.contains(measured[attribute.name])
    if truth.verified is not None:
        cell = cells.image.astype(np.int64) * cells.truth.number_of_classes + cells.category
        allowed &= np.isin(cell, truth.verified) & ~np.isin(cell, truth.unverified)
    return GroupBits(objects, _pack(allowed), len(groups))


def chunks(table: GroupTable) -> list[slice]:
    """Return slices of at most 64 groups; each chunk is one pass over the overlaps."""
    return [
        slice(i, min(i + MAX_GROUPS, len(table.groups)))
        for i in range(0, len(table.groups), MAX_GROUPS)
    ]


def _pack(members: BoolArray) -> Bits:
    words = np.zeros(members.shape[1], dtype=np.uint64)
    for i, row in enumerate(members):
        words |= row.astype(np.uint64) << np.uint64(i)
    return words
