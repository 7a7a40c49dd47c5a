"""Which objects a model finds, and which of the reference's it loses.

An object is found when a detection of its class matches it at IoU (or OKS) 0.5, among detections above the score at
which the class's F1 is best for that model: what a user would see, not what a low score hides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.analysis import statistics
from lth_det.analysis.axes import FULL, AxisBin
from lth_det.analysis.breakdown import Frame
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.columns import Detections, GroundTruth
from lth_det.analysis.evaluate import Matched, Setting

_NEAR = 0.1


@dataclass(frozen=True)
class Found:
    """What one file finds.

    ``found`` (N,) per annotation in the order of :class:`Truth`; ``score`` (N,) and ``box`` (N, 4) of the detection that
    found it (NaN where none did); ``cuts`` (K,) best-F1 scores (NaN: no true positive).
    """

    found: BoolArray
    score: FloatArray
    box: FloatArray
    cuts: FloatArray


def best_cuts(setting: Setting, matched: Matched) -> FloatArray:
    """Return per class (K,) the score with the best F1 at IoU 0.5; of equals the highest; NaN without true positives."""
    cells, verdicts = matched.cells, matched.verdicts[0]
    one = np.uint64(1)
    hit = (verdicts.hit[0] & one).astype(bool)[cells.order]
    counted = ~(verdicts.ignored[0] & one).astype(bool)[cells.order]
    score = cells.score[cells.order]
    cuts = np.full(cells.class_offset.size - 1, np.nan)
    for k in range(cuts.size):
        part = slice(int(cells.class_offset[k]), int(cells.class_offset[k + 1]))
        true = np.cumsum(hit[part])
        if true.size == 0 or true[-1] == 0:
            continue
        # A cut keeps all detections of equal score: only the last of them is a possible cut.
        last = np.append(np.diff(score[part]) != 0, True)
        f1 = 2.0 * true / (np.cumsum(counted[part]) + setting.table.counts[k, 0])
        f1[~last] = -1.0
        cuts[k] = score[part][int(np.argmax(f1))]
    return cuts


def find_objects(setting: Setting, matched: Matched, detections: Detections) -> Found:
    """Return which annotations a file finds."""
    cells, verdicts = matched.cells, matched.verdicts[0]
    cuts = best_cuts(setting, matched)
    number = cells.truth.row.size
    score, box = np.full(number, np.nan), np.full((number, 4), np.nan)
    seen = (verdicts.hit[0] & np.uint64(1)).astype(bool) & (cells.score >= cuts[cells.category])
    target = verdicts.match[0][seen]
    score[target], box[target] = cells.score[seen], detections.box[cells.row[seen]]
    return Found(np.isfinite(score), score, box, cuts)


def by_majority(files: Sequence[Found]) -> BoolArray:
    """Return which annotations (N,) more than half of the seeds find."""
    share = np.asarray(np.mean([f.found for f in files], axis=0))
    majority: BoolArray = share > 0.5
    return majority


def exchange(frame: Frame, reference: BoolArray, model: BoolArray) -> dict[str, Any]:
    """Return how many objects both find, were lost, gained, or are found by neither, in all and per bin."""
    objects = frame.table.members[0]
    counts = _four(reference[objects], model[objects])
    value: dict[str, Any] = dict(counts)
    value["p"] = statistics.sign_test(counts["gained"], counts["lost"])
    value["by"] = {
        axis.key: {
            b.name: _four(reference[inside], model[inside])
            for b in axis.bins
            for inside in [_members(frame, b)]
        }
        for axis in frame.axes
        if axis.kind != "cross" and all(s.images == FULL for b in axis.bins for s in b.selections)
    }
    return value


def _members(frame: Frame, bin_: AxisBin) -> BoolArray:
    inside: BoolArray = (
        frame.table.members[bin_.group] & bin_.selections[0].classes[frame.cells.category]
    )
    return inside


def _four(reference: BoolArray, model: BoolArray) -> dict[str, int]:
    return {
        "both": int((reference & model).sum()),
        "lost": int((reference & ~model).sum()),
        "gained": int((~reference & model).sum()),
        "neither": int((~reference & ~model).sum()),
    }


@dataclass(frozen=True)
class Loss:
    """A lost object (index in :class:`Truth`) and what the model has nearest to it, None when nothing overlaps."""

    index: int
    nearest: dict[str, Any] | None


def lost_objects(
    setting: Setting,
    found: tuple[Found, Found],
    detections: Detections,
    matched: Matched,
    *,
    most: int,
) -> tuple[int, list[Loss]]:
    """Return how many objects were lost between ``found`` (reference, model), and the ``most`` of the highest reference score, highest first.

    The nearest detection is the one of the image, of any class, with the highest box IoU (at least 0.1).
    """
    objects = setting.table.members[0]
    reference, model = found
    lost = np.flatnonzero(objects & reference.found & ~model.found)
    order = np.lexsort((lost, -reference.score[lost]))
    chosen = lost[order][:most]
    by_image = np.argsort(matched.cells.image, kind="stable")
    image = matched.cells.image[by_image]
    names = setting.truth.categories.names
    result = []
    for index in chosen.tolist():
        start, end = np.searchsorted(image, setting.cells.image[index] + np.array([0, 1]))
        there = by_image[start:end]
        rows = matched.cells.row[there]
        iou = _box_iou(setting.truth.box[setting.cells.row[index]], detections.box[rows])
        nearest = None
        if iou.size and iou.max() >= _NEAR:
            best = int(np.argmax(iou))
            nearest = {
                "bbox": detections.box[rows[best]].round(2).tolist(),
                "score": float(matched.cells.score[there[best]]),
                "iou": float(iou[best]),
                "category": names[int(matched.cells.category[there[best]])],
            }
        result.append(Loss(index, nearest))
    return int(lost.size), result


def lost_dicts(
    frame: Frame, truth: GroundTruth, reference: Found, losses: Sequence[Loss]
) -> list[dict[str, Any]]:
    """Return the ``LOST`` objects of the schema."""
    cells = frame.cells
    result = []
    for loss in losses:
        row, image = int(cells.row[loss.index]), int(cells.image[loss.index])
        result.append(
            {
                "image_id": int(truth.images.ids[image]),
                "file_name": truth.images.names[image],
                "width": int(truth.images.width[image]) or None,
                "height": int(truth.images.height[image]) or None,
                "annotation_id": int(truth.ids[row]),
                "category": truth.categories.names[int(cells.category[loss.index])],
                "bbox": truth.box[row].tolist(),
                "area": float(truth.area[row]),
                "reference_score": float(reference.score[loss.index]),
                "reference_box": reference.box[loss.index].round(2).tolist(),
                "model_best": loss.nearest,
                "bins": _bins_of(frame, loss.index),
            }
        )
    return result


def _bins_of(frame: Frame, index: int) -> dict[str, str]:
    category = int(frame.cells.category[index])
    bins: dict[str, str] = {}
    for axis in frame.axes:
        if axis.kind == "cross" or len(axis.bins[0].selections) > 1:
            continue
        for bin_ in axis.bins:
            inside = frame.table.members[bin_.group, index] and bin_.selections[0].classes[category]
            if inside and axis.name not in bins:
                bins[axis.name] = bin_.name
    return bins


def _box_iou(one: FloatArray, many: FloatArray) -> FloatArray:
    low = np.maximum(one[:2], many[:, :2])
    high = np.minimum(one[:2] + one[2:], many[:, :2] + many[:, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=1)
    union = one[2] * one[3] + many[:, 2] * many[:, 3] - shared
    iou: FloatArray = np.divide(shared, union, out=np.zeros(len(many)), where=union > 0)
    return iou


def cuts_dict(cuts: FloatArray, names: Mapping[int, str]) -> dict[str, float]:
    """Return class name -> score of the best F1."""
    return {name: float(cuts[k]) for k, name in names.items()}
