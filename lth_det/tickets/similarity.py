"""How alike two masks are, for the whole, each module group and each layer, beside what chance gives."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from lth_det.errors import ScopeError
from lth_det.tickets.differences import list_names, require_equal_shapes
from lth_det.tickets.mask import Mask, MaskOverlap, chance_overlap


@dataclasses.dataclass(frozen=True)
class Similarity:
    """Similarity of two masks on a set of parameters.

    Attributes:
        elements: Number of elements, kept and pruned.
        kept_first: Elements that the first mask keeps.
        kept_second: Elements that the second mask keeps.
        overlap: IoU of the kept sets against two uniform masks of these densities.
        layer_overlap: The same IoU against two masks that are random but have the layer densities of these two.
            This is the fair comparison of tickets: layer ratios alike raise the IoU without any weight in common.
    """

    elements: int
    kept_first: int
    kept_second: int
    overlap: MaskOverlap
    layer_overlap: MaskOverlap

    def to_dict(self) -> dict[str, Any]:
        """Return counts, IoU, and both chance levels with their corrected values; NaN is not computable."""
        return {
            "elements": self.elements,
            "kept_first": self.kept_first,
            "kept_second": self.kept_second,
            "iou": self.overlap.iou,
            "chance": self.overlap.chance,
            "kappa": self.overlap.kappa,
            "layer_chance": self.layer_overlap.chance,
            "layer_kappa": self.layer_overlap.kappa,
        }


@dataclasses.dataclass(frozen=True)
class MaskSimilarity:
    """Similarity of two masks as a whole, by module group and by parameter."""

    total: Similarity
    groups: dict[str, Similarity]
    layers: dict[str, Similarity]

    def to_dict(self) -> dict[str, Any]:
        """Return the similarities by name."""
        return {
            "total": self.total.to_dict(),
            "groups": {name: value.to_dict() for name, value in self.groups.items()},
            "layers": {name: value.to_dict() for name, value in self.layers.items()},
        }


def mask_similarity(first: Mask, second: Mask, groups: Mapping[str, str]) -> MaskSimilarity:
    """Return how alike two masks of one network are.

    Args:
        first: A mask.
        second: Another one of the same parameters.
        groups: Parameter -> module group; may name others too. Its order is that of layers and groups.

    Raises:
        MaskMismatchError: the masks have other names or shapes.
        ScopeError: a parameter has no group.
    """
    require_equal_shapes(
        first.shapes, second.shapes, what="The second mask does not fit the first one"
    )
    without = [name for name in first if name not in groups]
    if without:
        raise ScopeError(f"These parameters have no module group: {list_names(without)}.")
    counts = {name: _LayerCounts.of(first, second, name) for name in groups if name in first}
    members: dict[str, list[str]] = {}
    for name in counts:
        members.setdefault(groups[name], []).append(name)
    return MaskSimilarity(
        total=_similarity(counts.values()),
        groups={
            group: _similarity(counts[name] for name in names) for group, names in members.items()
        },
        layers={name: _similarity([count]) for name, count in counts.items()},
    )


@dataclasses.dataclass(frozen=True)
class _LayerCounts:
    elements: int
    first: int
    second: int
    both: int

    @classmethod
    def of(cls, first: Mask, second: Mask, name: str) -> "_LayerCounts":
        return cls(
            elements=first.numel_in(name),
            first=first.kept_in(name),
            second=second.kept_in(name),
            both=first.kept_in_both(second, name),
        )


def _similarity(layers: Iterable[_LayerCounts]) -> Similarity:
    filled = [layer for layer in layers if layer.elements]
    elements = sum(layer.elements for layer in filled)
    first = sum(layer.first for layer in filled)
    second = sum(layer.second for layer in filled)
    both = sum(layer.both for layer in filled)
    # Expected size of the intersection of random masks with these layer densities.
    expected = sum(layer.first * layer.second / layer.elements for layer in filled)
    either = first + second - expected
    uniform = chance_overlap(first / elements, second / elements) if elements else 0.0
    union = first + second - both
    return Similarity(
        elements=elements,
        kept_first=first,
        kept_second=second,
        overlap=MaskOverlap.from_counts(both=both, either=union, chance=uniform),
        layer_overlap=MaskOverlap.from_counts(
            both=both, either=union, chance=expected / either if either > 0 else 0.0
        ),
    )
