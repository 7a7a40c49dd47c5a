"""Axes of the result: every bin is an object group together with the classes that are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from lth_det.analysis.attributes import Attribute
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.class_axes import ClassAxis
from lth_det.analysis.groups import GroupTable

FULL, FIRST, SECOND = "all images", "first half", "second half"
THIN_OBJECTS, THIN_IMAGES = 20, 5

RULES = {
    "class": "mean over the classes of the bin; everything else of those classes is evaluated as usual",
    "geometry": "objects outside the bin are ignored, so are detections matched to them; an unmatched detection is a "
    "false positive only in the bin of its own value (COCO's rule for areas)",
    "state": "objects outside the bin are ignored, so are detections matched to them; an unmatched detection has no "
    "state and is a false positive in every bin: compare AR, APn or models inside one bin, not raw AP between bins",
}


@dataclass(frozen=True)
class Selection:
    """Classes (K,) that are averaged, scored on all images or on one half of them (cross-fitting)."""

    images: str
    classes: BoolArray


@dataclass(frozen=True)
class AxisBin:
    """One bin; its value is the mean over the selections of the mean over their classes of group ``group``."""

    name: str
    group: int
    selections: tuple[Selection, ...]
    definition: str
    edges: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axis:
    """One axis; ``key`` is its name in a model of the JSON."""

    name: str
    key: str
    title: str
    kind: str
    unit: str | None
    rule: str
    source: str
    comparable: bool
    partition: bool
    bins: tuple[AxisBin, ...]
    parts: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the ``axes`` entry of the schema."""
        return {
            "title": self.title,
            "kind": self.kind,
            "unit": self.unit,
            "rule": self.rule,
            "source": self.source,
            "comparable": self.comparable,
            "partition": self.partition,
            "parts": list(self.parts) if self.parts else None,
            "bins": [
                {
                    "name": b.name,
                    "definition": b.definition,
                    "edges": [_finite(e) for e in b.edges] if b.edges else None,
                }
                for b in self.bins
            ],
        }


@dataclass(frozen=True)
class FittedAxis:
    """A class axis with the images each of its rankings is scored on.

    Without cross-fitting there is one entry: the axis, all images. With it there are two: ranked on one half, scored on
    the other.
    """

    name: str
    rankings: tuple[tuple[str, ClassAxis], ...]

    @property
    def axis(self) -> ClassAxis:
        """The (first) class axis, for titles and names."""
        return self.rankings[0][1]


def object_axes(
    attributes: Sequence[Attribute], table: GroupTable, classes: BoolArray
) -> list[Axis]:
    """Return one axis per attribute; attributes that share an axis (coarse and fine sizes) are joined."""
    everything = (Selection(FULL, classes),)
    axes = []
    for name in dict.fromkeys(a.axis for a in attributes):
        members = [a for a in attributes if a.axis == name]
        index = table.of_axis(name)
        bins = [
            AxisBin(b.name, index[b.name], everything, b.definition(a.unit), (b.low, b.high))
            for a in members
            for b in a.bins
        ]
        first = members[0]
        axes.append(
            Axis(
                name,
                f"by_{name}",
                first.title,
                first.kind,
                first.unit,
                RULES[first.kind],
                first.source,
                first.kind == "geometry",
                all(a.partition for a in members),
                tuple(bins),
            )
        )
    return axes


def class_axis(fitted: FittedAxis) -> Axis:
    """Return the axis of a sorting of classes."""
    names = list(fitted.axis.bins)
    bins = tuple(
        AxisBin(
            name,
            0,
            tuple(Selection(images, axis.bins[name]) for images, axis in fitted.rankings),
            "; ".join(axis.definitions[name] for _, axis in fitted.rankings),
        )
        for name in names
    )
    axis = fitted.axis
    return Axis(
        fitted.name, f"by_{fitted.name}", axis.title, "class", None, RULES["class"], axis.source, True, True, bins
    )  # fmt: skip


def cross_axis(
    attributes: Sequence[Attribute],
    fitted: Sequence[FittedAxis],
    table: GroupTable,
    classes: BoolArray,
) -> Axis:
    """Return the cross of object attributes and class axes, attributes first in the names of the bins."""
    axis = "_x_".join(a.axis for a in attributes)
    index = table.of_axis(axis) if attributes else {}
    bins = []
    for cell in product(*(a.bins for a in attributes)):
        group = index["/".join(b.name for b in cell)] if cell else 0
        for names in product(*(f.axis.bins for f in fitted)):
            name = "/".join((*(b.name for b in cell), *names))
            bins.append(AxisBin(name, group, _joint(fitted, names, classes), name))
    name = "_x_".join((*(a.axis for a in attributes), *(f.name for f in fitted)))
    states = any(a.kind == "state" for a in attributes)
    return Axis(
        name,
        name,
        " x ".join((*(a.title for a in attributes), *(f.axis.title for f in fitted))),
        "cross",
        None,
        RULES["state"] if states else RULES["geometry"] if attributes else RULES["class"],
        "; ".join((*(a.source for a in attributes), *(f.axis.source for f in fitted))),
        not states,
        all(a.partition for a in attributes),
        tuple(bins),
        (*(a.axis for a in attributes), *(f.name for f in fitted)),
    )


def _joint(
    fitted: Sequence[FittedAxis], names: tuple[str, ...], classes: BoolArray
) -> tuple[Selection, ...]:
    halves = next((f.rankings for f in fitted if len(f.rankings) > 1), None)
    scored = [images for images, _ in halves] if halves else [FULL]
    selections = []
    for i, images in enumerate(scored):
        inside = classes.copy()
        for f, name in zip(fitted, names, strict=True):
            inside &= f.rankings[min(i, len(f.rankings) - 1)][1].bins[name]
        selections.append(Selection(images, inside))
    return tuple(selections)


def mean_over(values: dict[str, FloatArray], bin_: AxisBin) -> float:
    """Return the value of a bin: mean over its selections of the mean over classes, NaN when none has a value.

    Args:
        values: images -> (K, G) per-class values.
        bin_: the bin.
    """
    means = [_mean(values[s.images][s.classes, bin_.group]) for s in bin_.selections]
    return _mean(np.array(means))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _finite(edge: float) -> float | None:
    return float(edge) if np.isfinite(edge) else None
