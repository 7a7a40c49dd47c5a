"""AP, AR and counts of every bin: from arrays over classes and groups to the numbers of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.analysis.axes import (
    FIRST,
    FULL,
    SECOND,
    THIN_IMAGES,
    THIN_OBJECTS,
    Axis,
    AxisBin,
    Selection,
    mean_over,
)
from lth_det.analysis.cells import Truth
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.file_scores import METRICS, FileScores
from lth_det.analysis.groups import GroupTable

SIZES = ("small", "medium", "large")
CURVE_KINDS = ("50", "75", "mean")


@dataclass(frozen=True)
class Count:
    """Objects, images with an object, and classes with an object of one bin."""

    objects: int
    images: int
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the counts with the flag of bins too thin to read much into."""
        thin = self.objects < THIN_OBJECTS or self.images < THIN_IMAGES
        return {
            "objects": self.objects,
            "images": self.images,
            "classes": self.classes,
            "thin": thin,
        }


@dataclass(frozen=True)
class Frame:
    """What all models of one IoU type share: groups, axes, counts per bin, and the image halves of cross-fitting."""

    iou_type: str
    table: GroupTable
    cells: Truth
    axes: tuple[Axis, ...]
    categories: Axis
    counts: Mapping[str, Mapping[str, Count]]

    def everything(self) -> AxisBin:
        """Return the bin of all objects of all evaluated classes."""
        return AxisBin("all", 0, (Selection(FULL, self.cells.classes),), "all objects")


def make_frame(
    table: GroupTable,
    cells: Truth,
    axes: Sequence[Axis],
    *,
    iou_type: str,
    names: Sequence[str],
    halves: tuple[BoolArray, BoolArray] | None,
) -> Frame:
    """Return the frame; ``names`` (K,) are the class names."""
    one = np.eye(cells.number_of_classes, dtype=bool)
    bins = tuple(
        AxisBin(names[k], 0, (Selection(FULL, one[k]),), names[k])
        for k in np.flatnonzero(cells.classes).tolist()
    )
    categories = Axis(
        "category",
        "by_category",
        "Class",
        "class",
        None,
        "one class",
        "categories",
        True,
        True,
        bins,
    )
    counts = {
        axis.key: {b.name: _count(b, table, cells, halves) for b in axis.bins}
        for axis in (*axes, categories)
    }
    return Frame(iou_type, table, cells, tuple(axes), categories, counts)


def _count(
    bin_: AxisBin, table: GroupTable, cells: Truth, halves: tuple[BoolArray, BoolArray] | None
) -> Count:
    objects = 0
    images = np.zeros(cells.number_of_images, dtype=bool)
    classes = np.zeros(cells.number_of_classes, dtype=bool)
    for selection in bin_.selections:
        inside = table.members[bin_.group] & selection.classes[cells.category]
        if selection.images != FULL and halves is not None:
            inside &= halves[(FIRST, SECOND).index(selection.images)][cells.image]
        objects += int(inside.sum())
        images[cells.image[inside]] = True
        classes[cells.category[inside]] = True
    return Count(objects, int(images.sum()), int(classes.sum()))


def coco_numbers(frame: Frame, scores: FileScores) -> dict[str, float]:
    """Return pycocotools' summary: 12 numbers for boxes and masks, 10 for keypoints, and ``AR``; NaN, never -1."""
    everything, classes = frame.everything(), frame.cells.classes
    numbers = {m: mean_over(scores.values[m], everything) for m in ("AP", "AP50", "AP75", "AR")}
    sizes = frame.table.of_axis("size")
    for name in SIZES:
        if name not in sizes or (name == "small" and frame.iou_type == "keypoints"):
            continue
        of_size = AxisBin(name, sizes[name], everything.selections, name)
        numbers[f"AP{name[0]}"] = mean_over(scores.values["AP"], of_size)
        numbers[f"AR{name[0]}"] = mean_over(scores.values["AR"], of_size)
    if frame.iou_type == "keypoints":
        for i, name in enumerate(("AR50", "AR75")):
            numbers[name] = class_mean(scores.recall_at[i], classes)
        return numbers
    limits = (1, 10, 100) if len(scores.recall) == 3 else ()
    for i, limit in enumerate(limits):
        numbers[f"AR{limit}"] = class_mean(scores.recall[i][:, 0], classes)
    return numbers


def bin_dict(frame: Frame, axis: Axis, bin_: AxisBin, scores: FileScores) -> dict[str, Any]:
    """Return the ``BIN`` object of the schema, without its interval."""
    value: dict[str, Any] = {m: mean_over(scores.values[m], bin_) for m in METRICS}
    if axis.kind == "class":
        value["APn"] = None
    return value | frame.counts[axis.key][bin_.name].to_dict() | {"interval": None}


def axis_dict(frame: Frame, axis: Axis, scores: FileScores) -> dict[str, dict[str, Any]]:
    """Return bin name -> ``BIN`` of one axis."""
    return {b.name: bin_dict(frame, axis, b, scores) for b in axis.bins}


def sensitivity(frame: Frame, scores: FileScores) -> dict[str, dict[str, Any]]:
    """Return per object attribute the bins of lowest and highest normalised AP (Hoiem et al. 2012); thin bins count not."""
    found = {}
    for axis in frame.axes:
        if axis.kind not in ("geometry", "state"):
            continue
        values = {
            b.name: mean_over(scores.values["APn"], b)
            for b in axis.bins
            if not frame.counts[axis.key][b.name].to_dict()["thin"]
        }
        known = {name: v for name, v in values.items() if np.isfinite(v)}
        if known:
            low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
            found[axis.name] = {"lowest": [low, known[low]], "highest": [high, known[high]]}
    return found


def curves(frame: Frame, scores: FileScores) -> dict[str, Any]:
    """Return class-mean precision at 101 recall points, for all objects, coarse sizes and the bins of class axes."""
    strata = {"all": frame.everything()}
    for axis in frame.axes:
        if axis.kind == "class" or axis.name == "size":
            strata |= {
                f"{axis.name}/{b.name}": b
                for b in axis.bins
                if b.group in scores.curves and all(s.images == FULL for s in b.selections)
            }
    precision = {}
    for name, bin_ in strata.items():
        stack = scores.curves[bin_.group][:, bin_.selections[0].classes]
        known = np.isfinite(stack[0, :, 0])
        if known.any():
            mean = stack[:, known].mean(axis=1)
            precision[name] = {
                kind: mean[i].round(6).tolist() for i, kind in enumerate(CURVE_KINDS)
            }
    return {"recall": np.linspace(0.0, 1.0, 101).round(2).tolist(), "precision": precision}


def class_mean(values: FloatArray, classes: BoolArray) -> float:
    """Return the mean of per-class values (K,) over the chosen classes that have one; NaN when none has."""
    known = values[classes & np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
