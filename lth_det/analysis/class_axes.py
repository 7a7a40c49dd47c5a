"""Axes that sort classes, not objects: how frequent a class is in training, how hard it is for a reference model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.analysis import checks
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray
from lth_det.analysis.columns import GroundTruth, Source
from lth_det.analysis.read_json import parse_json, read_bytes, source_of
from lth_det.errors import InputError

FREQUENCY_BINS = ("rare", "common", "frequent")
DIFFICULTY_BINS = ("hard", "medium", "easy")
LVIS_LIMITS = (10, 100)
FEWEST_OBJECTS_TO_RANK = 10
_LVIS_LETTERS = {"r": "rare", "c": "common", "f": "frequent"}


@dataclass(frozen=True)
class TrainCounts:
    """How often each class (K,) occurs in training; -1 where that is not known."""

    images: IntArray
    instances: IntArray
    origin: str
    source: Source | None = None


@dataclass(frozen=True)
class ClassAxis:
    """Classes sorted into bins: ``bins`` maps a name to the classes in it, (K,) bool, in order."""

    name: str
    title: str
    bins: dict[str, BoolArray]
    definitions: dict[str, str]
    source: str

    def bin_of(self, k: int) -> str | None:
        """Return the name of the bin of class ``k``, None when it is in none."""
        return next((name for name, inside in self.bins.items() if inside[k]), None)


def terciles(values: FloatArray, eligible: BoolArray) -> IntArray:
    """Return 0, 1 or 2 per class by ascending value, ties by position; -1 for classes that are not eligible.

    The group of rank r among K classes is floor(3 r / K): 27, 27 and 26 for 80.
    """
    group = np.full(values.size, -1, dtype=np.int64)
    chosen = np.flatnonzero(eligible)
    order = chosen[np.argsort(values[chosen], kind="stable")]
    group[order] = 3 * np.arange(order.size) // max(order.size, 1)
    return group


def train_counts(
    truth: GroundTruth, train: str | os.PathLike[str] | Mapping[str, Any] | None
) -> TrainCounts:
    """Return class counts from a training annotation file, else from the ground truth's own fields, else a proxy.

    Crowd annotations are not counted. The proxy is the evaluated ground truth itself, and is called so.

    Raises:
        InputError: the training file cannot be used, or has other categories.
    """
    categories = truth.categories
    if train is not None:
        return _counts_of_file(truth, train)
    if (categories.train_images >= 0).all() and categories.ids.size:
        return TrainCounts(
            categories.train_images,
            categories.train_instances,
            "`image_count` / `instance_count` of the ground truth's categories",
        )
    images, instances = _count(
        truth.image[truth.objects], truth.category[truth.objects], categories.ids.size
    )
    return TrainCounts(images, instances, "proxy: the evaluated ground truth (no --train-gt)")


def _counts_of_file(
    truth: GroundTruth, train: str | os.PathLike[str] | Mapping[str, Any]
) -> TrainCounts:
    value: Any
    if isinstance(train, Mapping):
        where, value, data, path = "training annotations given in memory", train, None, None
    else:
        where, path = os.fspath(train), train
        data = read_bytes(train)
        value = parse_json(data, where)
    if not isinstance(value, Mapping) or "annotations" not in value:
        raise InputError(
            f"{where}: training annotations are a COCO ground truth with `annotations`."
        )
    records = checks.require_records(value["annotations"], where=where, what="annotation")
    kept = [r for r in records if not r.get("iscrowd")]
    columns = [
        checks.int_column(
            checks.field(kept, key, where=where, what="annotation"), where=where, label=key
        )
        for key in ("image_id", "category_id")
    ]
    known = np.isin(columns[1], truth.categories.ids)
    if kept and not known.any():
        raise InputError(
            f"{where}: none of its category ids is in the ground truth; check that the files belong together."
        )
    category = np.searchsorted(truth.categories.ids, columns[1][known])
    images, instances = _count(columns[0][known], category, truth.categories.ids.size)
    source = source_of(path, data, len(records))
    return TrainCounts(images, instances, "training annotations (--train-gt)", source)


def _count(image: IntArray, category: IntArray, classes: int) -> tuple[IntArray, IntArray]:
    pairs = np.unique(np.stack([category, image], axis=1), axis=0) if image.size else image[:, None]
    images = np.bincount(pairs[:, 0].astype(np.int64), minlength=classes)
    return images, np.bincount(category, minlength=classes)


def frequency_axis(
    truth: GroundTruth, counts: TrainCounts, evaluated: BoolArray, *, scheme: str
) -> ClassAxis:
    """Return classes as rare, common or frequent.

    Args:
        truth: the ground truth (its ``frequency`` letters decide for ``lvis`` and ``auto`` when all classes have one).
        counts: training counts.
        evaluated: (K,) classes to sort.
        scheme: ``lvis`` (images <= 10, <= 100, more), ``terciles``, ``auto`` (letters, else terciles), or two limits
            ``"LOW,HIGH"``; prefix ``instances:`` counts instances instead of images.

    Raises:
        InputError: an unknown scheme.
    """
    by, _, rule = scheme.rpartition(":")
    if by not in ("", "images", "instances"):
        raise InputError(f"--frequency {scheme}: count `images:` or `instances:`.")
    letters = truth.categories.frequency
    numbers = counts.instances if by == "instances" else counts.images
    what = "instances" if by == "instances" else "images"
    text: tuple[str, ...]
    if rule in ("auto", "lvis") and all(letter in _LVIS_LETTERS for letter in letters) and letters:
        code = np.array([list(_LVIS_LETTERS).index(letter) for letter in letters])
        text = ("`frequency` r", "`frequency` c", "`frequency` f")
        origin = "`frequency` of the ground truth's categories"
    elif rule in ("auto", "terciles"):
        code = terciles(numbers.astype(np.float64), evaluated)
        text = tuple(_range_text(numbers, code == i, f"training {what}") for i in range(3))
        origin = f"terciles of training {what}; {counts.origin}"
    else:
        low, high = LVIS_LIMITS if rule == "lvis" else _limits(scheme, rule)
        code = np.digitize(numbers, [low, high], right=True)
        text = (
            f"training {what} <= {low:g}",
            f"{low:g} < training {what} <= {high:g}",
            f"training {what} > {high:g}",
        )
        origin = f"training {what}; {counts.origin}"
    bins = {name: (code == i) & evaluated for i, name in enumerate(FREQUENCY_BINS)}
    return ClassAxis(
        "frequency",
        "Class frequency, by proxy" if "proxy" in origin else "Class frequency in training",
        bins,
        dict(zip(FREQUENCY_BINS, text, strict=True)),
        origin,
    )


def difficulty_axis(
    ap: FloatArray, objects: FloatArray, evaluated: BoolArray, *, source: str
) -> ClassAxis:
    """Return classes as hard, medium or easy: terciles of a reference model's AP, hard first.

    Classes with fewer than 10 objects, or without a computable AP, are unranked: in no bin.

    Args:
        ap: (K,) AP of the reference model, NaN where not computable.
        objects: (K,) number of evaluated objects.
        evaluated: (K,) classes to sort.
        source: which model and images, for the report.
    """
    eligible = evaluated & np.isfinite(ap) & (objects >= FEWEST_OBJECTS_TO_RANK)
    code = terciles(np.nan_to_num(ap), eligible)
    bins = {name: code == i for i, name in enumerate(DIFFICULTY_BINS)}
    text = {name: _range_text(ap, inside, "AP of the reference") for name, inside in bins.items()}
    return ClassAxis("difficulty", "Class difficulty", bins, text, source)


def _range_text(values: Any, inside: BoolArray, what: str) -> str:
    if not inside.any():
        return "no class"
    low, high = float(np.min(values[inside])), float(np.max(values[inside]))
    return f"{int(inside.sum())} classes, {what} {low:.4g} to {high:.4g}"


def _limits(scheme: str, rule: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in rule.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not low < high:
        raise InputError(
            f"--frequency {scheme}: use auto, terciles, lvis or two ascending limits such as 10,100."
        )
    return low, high
