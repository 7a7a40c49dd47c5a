"""Error types of boxes and masks: TIDE (Bolya et al., ECCV 2020), at foreground IoU 0.5 and background IoU 0.1.

Every false positive gets one type, in this order: localisation (best same-class IoU in [0.1, 0.5]), classification (IoU
>= 0.5 with an object of another class), duplicate (IoU >= 0.5 with an object already found), background (no object above
0.1), both (the rest). An object that no detection finds and no localisation or classification error could find is
missed. dAP is the gain of AP50 when all errors of a type are mended: the best localisation or classification error of a
free object becomes a true positive, all other errors are removed, a missed object is not counted.

As in the ``tidecv`` package at most 100 detections per image are looked at. Differences from it: classes without
objects are left out (it counts them as AP 0); a detection on a crowd region is no error; a negative dAP is not clamped.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as mask_api

from lth_det.analysis.backends import GroupBits
from lth_det.analysis.cells import Cells, sort_detections
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray
from lth_det.analysis.columns import Detections
from lth_det.analysis.evaluate import Setting
from lth_det.analysis.overlap import masks_of, overlaps

FOREGROUND, BACKGROUND = 0.5, 0.1
DETECTIONS_PER_IMAGE = 100
TYPES = ("cls", "loc", "both", "dupe", "bkg", "miss")
CLS, LOC, BOTH, DUPE, BKG = range(5)
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Errors:
    """All errors of one file.

    Per false positive (F): ``detection`` (index in ``cells``), ``kind``, ``annotation`` the object it is about (-1 for
    background), ``mends`` whether mending it finds that object. ``missed`` (N,) per annotation; ``hit`` (M,) true
    positives; ``ignored`` (M,); ``taken`` the annotations that were found.
    """

    cells: Cells
    detection: IntArray
    kind: IntArray
    annotation: IntArray
    mends: BoolArray
    missed: BoolArray
    hit: BoolArray
    ignored: BoolArray
    taken: IntArray


def find_errors(setting: Setting, detections: Detections) -> Errors:
    """Return the type of every error of a result file."""
    cells = sort_detections(
        detections,
        setting.cells,
        per_cell=DETECTIONS_PER_IMAGE,
        per_image=DETECTIONS_PER_IMAGE,
    )
    overlap = overlaps(
        cells, setting.truth, detections, iou_type=setting.iou_type, backend=setting.backend
    )
    everything = setting.table.members[0]
    bits = GroupBits(
        everything.astype(np.uint64), np.ones(cells.detections, dtype=np.uint64), count=1
    )
    verdicts = setting.backend.match(cells, overlap, np.array([FOREGROUND]), bits)
    hit, ignored = verdicts.hit[0].astype(bool), verdicts.ignored[0].astype(bool)
    used = np.zeros(everything.size, dtype=bool)
    used[verdicts.match[0][hit]] = True
    wrong = np.flatnonzero(~hit & ~ignored)
    kind, annotation = _classify(setting, cells, detections, wrong, used)
    mends = _best_per_object(cells, wrong, kind, annotation, used)
    could = np.zeros(everything.size, dtype=bool)
    could[annotation[np.isin(kind, (CLS, LOC))]] = True
    missed = everything & ~used & ~could
    return Errors(cells, wrong, kind, annotation, mends, missed, hit, ignored, np.flatnonzero(used))


@dataclass(frozen=True)
class _Best:
    """Best overlap of every false positive (F) with some kind of objects, and which object (-1: none overlaps)."""

    iou: FloatArray
    annotation: IntArray


def _classify(
    setting: Setting, cells: Cells, detections: Detections, wrong: IntArray, used: BoolArray
) -> tuple[IntArray, IntArray]:
    first, second, iou = _image_pairs(setting, cells, detections, wrong)
    same = cells.category[wrong][first] == cells.truth.category[second]
    number = wrong.size
    own = _best(first, second, np.where(same, iou, 0.0), number)
    other = _best(first, second, np.where(same, 0.0, iou), number)
    taken = _best(first, second, np.where(same & used[second], iou, 0.0), number)
    any_ = _best(first, second, iou, number)
    kind, annotation = np.full(number, BOTH), any_.annotation.copy()
    rules = (
        (BKG, any_.iou <= BACKGROUND, np.full(number, -1)),
        (DUPE, taken.iou >= FOREGROUND, taken.annotation),
        (CLS, other.iou >= FOREGROUND, other.annotation),
        (LOC, (own.iou >= BACKGROUND) & (own.iou <= FOREGROUND), own.annotation),
    )
    for (
        code,
        applies,
        about,
    ) in rules:  # later rules win: the order of the module's description, reversed
        kind[applies] = code
        annotation[applies] = about[applies]
    return kind, annotation


def _best(first: IntArray, second: IntArray, value: FloatArray, number: int) -> _Best:
    iou, annotation = np.zeros(number), np.full(number, -1, dtype=np.int64)
    if first.size:
        start = np.flatnonzero(np.diff(first, prepend=-1))
        top = np.maximum.reduceat(value, start)
        place = np.repeat(np.arange(start.size), np.diff(np.append(start, first.size)))
        at = np.where(value == top[place], np.arange(first.size), first.size)
        earliest = np.minimum.reduceat(at, start)
        iou[first[start]] = top
        annotation[first[start]] = np.where(top > 0, second[earliest], -1)
    return _Best(iou, annotation)


def _image_pairs(
    setting: Setting, cells: Cells, detections: Detections, wrong: IntArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return all pairs of a false positive (index into ``wrong``) and an object of its image that overlap, with IoU."""
    objects = np.flatnonzero(setting.table.members[0])
    objects = objects[np.argsort(setting.cells.image[objects], kind="stable")]
    image = setting.cells.image[objects]
    mine = cells.image[wrong]
    start = np.searchsorted(image, mine, side="left")
    count = np.searchsorted(image, mine, side="right") - start
    parts: list[tuple[IntArray, IntArray, FloatArray]] = []
    chunk = np.cumsum(count) // _PAIRS_AT_ONCE
    for rows in np.split(np.arange(wrong.size), np.flatnonzero(np.diff(chunk)) + 1):
        n = count[rows]
        first = np.repeat(rows, n)
        inside = np.arange(first.size) - np.repeat(np.cumsum(n) - n, n)
        second = objects[np.repeat(start[rows], n) + inside]
        found = detections.box[cells.row[wrong[first]]]
        iou = _pair_iou(found, setting.truth.box[setting.cells.row[second]])
        near = iou > 0
        parts.append((first[near], second[near], iou[near]))
    first, second, iou = (np.concatenate(column) for column in zip(*parts, strict=True))
    if setting.iou_type == "segm":
        iou = _mask_iou(setting, cells, detections, wrong, (first, second))
    return first, second, iou


def _pair_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    side = np.maximum(high - low, 0.0)
    shared = side[:, 0] * side[:, 1]
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared
    iou: FloatArray = np.divide(shared, union, out=np.zeros(len(a)), where=shared > 0)
    return iou


def _mask_iou(
    setting: Setting,
    cells: Cells,
    detections: Detections,
    wrong: IntArray,
    pairs: tuple[IntArray, IntArray],
) -> FloatArray:
    """Return mask IoU of pairs whose boxes overlap, one call per false positive."""
    first, second = pairs
    codes = detections.rle or ()
    iou = np.zeros(first.size)
    ends = np.flatnonzero(np.diff(first)) + 1
    for part in np.split(np.arange(first.size), ends):
        if part.size:
            code = codes[cells.row[wrong[first[part[0]]]]]
            targets = masks_of(setting.truth, setting.cells.row[second[part]])
            iou[part] = np.asarray(mask_api.iou([code], targets, [0] * part.size)).ravel()
    return iou


def _best_per_object(
    cells: Cells, wrong: IntArray, kind: IntArray, annotation: IntArray, used: BoolArray
) -> BoolArray:
    """Return which localisation and classification errors are the best-scored one of a free object."""
    mends = np.zeros(wrong.size, dtype=bool)
    candidates = np.flatnonzero(np.isin(kind, (CLS, LOC)) & (annotation >= 0))
    candidates = candidates[~used[annotation[candidates]]]
    order = np.lexsort(
        (cells.row[wrong[candidates]], -cells.score[wrong[candidates]], annotation[candidates])
    )
    ranked = candidates[order]
    first = np.append(True, np.diff(annotation[ranked]) != 0)[: ranked.size]
    mends[ranked[first]] = True
    return mends
