"""Attributes of single objects: a name, a function that measures it, and the bins of the value.

An attribute that a detection has too (size, aspect, truncation) is *geometric*: an unmatched detection is a false
positive only in the bin of its own value, as COCO does for areas. One that only annotations have (occlusion, crowding,
...) is a *state*: an unmatched detection is a false positive in every bin, so raw AP depends on how common a bin is;
compare AR, normalised AP, or two models inside one bin.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lth_det.analysis import measures
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.columns import Detections, GroundTruth
from lth_det.errors import InputError

ObjectFunction = Callable[[GroundTruth], FloatArray]
DetectionFunction = Callable[[GroundTruth, Detections], FloatArray]


@dataclass(frozen=True)
class Bin:
    """Values in ``[low, high)``; with ``closed`` also ``high`` itself (COCO's size ranges share their edges)."""

    name: str
    low: float
    high: float
    closed: bool = False

    def contains(self, value: FloatArray) -> BoolArray:
        """Return which values (N,) are in the bin; NaN is in no bin."""
        below = value <= self.high if self.closed else value < self.high
        inside: BoolArray = (value >= self.low) & below
        return inside

    def definition(self, unit: str) -> str:
        """Return the rule in words."""
        end = "<=" if self.closed else "<"
        high = "" if self.high == np.inf else f" {end} {self.high:g}"
        return f"{self.low:g} <= {unit}{high}"


@dataclass(frozen=True)
class Attribute:
    """A property of single objects.

    ``objects`` returns one value per annotation (NaN: in no bin), ``detections`` one per detection, or is None for a
    state. ``partition``: every value is in one bin at most. ``in_json`` is the name of the axis in the result.
    """

    name: str
    title: str
    unit: str
    source: str
    bins: tuple[Bin, ...]
    objects: ObjectFunction
    detections: DetectionFunction | None = None
    partition: bool = True
    in_json: str = ""

    @property
    def kind(self) -> str:
        """``geometry`` (measured on both sides) or ``state`` (annotations only)."""
        return "state" if self.detections is None else "geometry"

    @property
    def axis(self) -> str:
        """Name of the axis in the result; finer sizes share the axis of the COCO sizes."""
        return self.in_json or self.name


def edges_to_bins(names: tuple[str, ...], edges: tuple[float, ...]) -> tuple[Bin, ...]:
    """Return consecutive half-open bins; one name more than inner edges would need is an error.

    Raises:
        InputError: the edges do not ascend, or their number does not fit.
    """
    if len(edges) != len(names) + 1 or any(a >= b for a, b in pairwise(edges)):
        raise InputError(
            f"bins: {len(names)} bins need {len(names) + 1} ascending edges, but {list(edges)} was given."
        )
    return tuple(Bin(n, a, b) for n, a, b in zip(names, edges[:-1], edges[1:], strict=True))


def size_bins(sides: tuple[float, ...]) -> tuple[Bin, ...]:
    """Return half-open area bins between object sides in pixels: (8, 16) gives 0-8px, 8-16px and 16px+."""
    edges = (0.0, *sides)
    names = [f"{a:g}-{b:g}px" for a, b in pairwise(edges)] + [f"{edges[-1]:g}px+"]
    squares = (*(e * e for e in edges), np.inf)
    return edges_to_bins(tuple(names), squares)


_AREA_SOURCE = "`area` of the annotation (of its box where missing); of a detection its box area (masks: mask area)"

COCO_SIZE = Attribute(
    name="size",
    title="Object size (COCO)",
    unit="px^2",
    source=_AREA_SOURCE,
    bins=(
        Bin("small", 0.0, 32.0**2, closed=True),
        Bin("medium", 32.0**2, 96.0**2, closed=True),
        Bin("large", 96.0**2, 1e10, closed=True),
    ),
    objects=lambda truth: truth.area,
    detections=lambda _, found: found.area,
    partition=False,
)
FINE_SIZE = Attribute(
    name="size_fine",
    title="Object size (fine)",
    unit="px^2",
    source=_AREA_SOURCE,
    bins=size_bins((8.0, 16.0, 32.0, 64.0, 96.0, 192.0)),
    objects=lambda truth: truth.area,
    detections=lambda _, found: found.area,
    in_json="size",
)
RELATIVE_SIZE = Attribute(
    name="size_rel",
    title="Object size within its class",
    unit="percentile of the class's areas",
    source=_AREA_SOURCE + "; edges are the class's 10th, 30th, 70th and 90th percentile",
    bins=edges_to_bins(("XS", "S", "M", "L", "XL"), (0.0, 10.0, 30.0, 70.0, 90.0, np.inf)),
    objects=lambda truth: measures.percentile_band(truth, truth.area, truth.category),
    detections=lambda truth, found: measures.percentile_band(truth, found.area, found.category),
)
OCCLUSION = Attribute(
    name="occlusion",
    title="Occlusion",
    unit="share of the box covered by other objects",
    source="union of the masks of all other objects of the image, of their boxes where the file has no masks",
    bins=edges_to_bins(("bare", "partial", "heavy"), (0.0, 0.10, 0.35, np.inf)),
    objects=measures.covered_share,
)
CROWDING = Attribute(
    name="crowding",
    title="Crowding",
    unit="other objects of any class at box IoU > 0.1",
    source="boxes of the image's other objects",
    bins=edges_to_bins(("alone", "few", "many"), (0.0, 1.0, 3.0, np.inf)),
    objects=measures.neighbours,
)
TRUNCATION = Attribute(
    name="truncation",
    title="Truncation",
    unit="1 if the box comes within 1 px of the image border",
    source="box and image size",
    bins=edges_to_bins(("inside", "truncated"), (0.0, 1.0, 2.0)),
    objects=lambda truth: measures.touches_border(truth, truth.box, truth.image),
    detections=lambda truth, found: measures.touches_border(truth, found.box, found.image),
)
ASPECT = Attribute(
    name="aspect",
    title="Aspect ratio",
    unit="width / height of the box",
    source="box",
    bins=edges_to_bins(
        ("very_tall", "tall", "square", "wide", "very_wide"), (0.0, 0.4, 0.8, 1.25, 2.5, np.inf)
    ),
    objects=lambda truth: measures.width_over_height(truth.box),
    detections=lambda _, found: measures.width_over_height(found.box),
)
THINNESS = Attribute(
    name="thinness",
    title="Thinness",
    unit="share of its box that the object fills",
    source="`area` of the annotation over the area of its box",
    bins=edges_to_bins(("thin", "slender", "full"), (0.0, 0.3, 0.6, np.inf)),
    objects=measures.fill,
)
KITTI = Attribute(
    name="kitti",
    title="Composite difficulty (cumulative, after KITTI)",
    unit="0 easy, 1 moderate, 2 hard",
    source="easy: area >= 96^2, occlusion < 0.10, not truncated; moderate: area >= 32^2, occlusion < 0.35; "
    "hard: all. Each level includes the easier ones; harder objects are ignored",
    bins=(Bin("easy", 0.0, 1.0), Bin("moderate", 0.0, 2.0), Bin("hard", 0.0, 3.0)),
    objects=measures.composite_level,
    partition=False,
)
VISIBLE_KEYPOINTS = Attribute(
    name="visible_keypoints",
    title="Labelled keypoints",
    unit="number of labelled keypoints",
    source="`num_keypoints` of the annotation",
    bins=edges_to_bins(("1-5", "6-10", "11-15", "16+"), (1.0, 6.0, 11.0, 16.0, np.inf)),
    objects=lambda truth: truth.num_keypoints.astype(np.float64),
)

_COMMON = (
    COCO_SIZE,
    FINE_SIZE,
    RELATIVE_SIZE,
    OCCLUSION,
    CROWDING,
    TRUNCATION,
    ASPECT,
    THINNESS,
    KITTI,
)


def default_attributes(iou_type: str) -> tuple[Attribute, ...]:
    """Return the attributes analysed when none are named; keypoints have the number of labelled points too.

    COCO has no small keypoint objects: there ``small`` holds what little a file has, and is thin.
    """
    return (*_COMMON, VISIBLE_KEYPOINTS) if iou_type == "keypoints" else _COMMON


def external_attribute(name: str, labels: dict[int, str], source: str) -> Attribute:
    """Return a state attribute from labels given per annotation id; annotations without a label are in no bin.

    Args:
        name: name of the axis, a plain word.
        labels: annotation id -> label.
        source: where the labels came from, for the report.

    Raises:
        InputError: the name is taken or not a plain word, or there are no labels.
    """
    taken = {a.axis for a in (*_COMMON, VISIBLE_KEYPOINTS)} | {
        "frequency",
        "difficulty",
        "category",
    }
    if not name.isidentifier() or name in taken:
        raise InputError(
            f"--attribute {name}: choose a plain word that is not one of {', '.join(sorted(taken))}."
        )
    names = sorted(set(labels.values()))
    if not names:
        raise InputError(f"--attribute {name}: {source} holds no labels.")
    code = {label: float(i) for i, label in enumerate(names)}

    def values(truth: GroundTruth) -> FloatArray:
        return np.array([code.get(labels.get(i, ""), np.nan) for i in truth.ids.tolist()])

    return Attribute(
        name=name,
        title=name.replace("_", " "),
        unit="label",
        source=source,
        bins=tuple(Bin(n, i, i + 1) for i, n in enumerate(names)),
        objects=values,
    )
