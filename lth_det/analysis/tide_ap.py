"""What mending errors would gain: AP50 with some of them mended (the dAP of TIDE)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_det.analysis.checks import BoolArray, FloatArray, IntArray
from lth_det.analysis.columns import Detections
from lth_det.analysis.evaluate import Setting
from lth_det.analysis.groups import Group
from lth_det.analysis.numpy_backend import area_under
from lth_det.analysis.tide import BKG, TYPES, Errors

# x / 100 as in tidecv; COCO's points differ in the last bit, so the two AP50 can differ where a recall is just x / 100.
_RECALL_POINTS: FloatArray = np.arange(101) / 100

AXES_WITH_GAIN = ("size", "frequency", "difficulty", "occlusion")


@dataclass(frozen=True)
class _Points:
    """Every detection as it is, then every mended error as the true positive it would be, by class and score."""

    category: IntArray
    true: BoolArray
    error: IntArray  # which error a row belongs to, -1 for none
    mended: BoolArray  # whether the row exists only when its error is mended


class MendableAp:
    """AP50 of one file with any set of its errors mended."""

    def __init__(self, errors: Errors, objects: FloatArray) -> None:
        """Take the errors and the number of objects per class, (K,)."""
        self._objects = objects
        cells = errors.cells
        kept = np.flatnonzero(~errors.ignored)
        error_of = np.full(cells.detections, -1, dtype=np.int64)
        error_of[errors.detection] = np.arange(errors.detection.size)
        mendable = np.flatnonzero(errors.mends)
        detection = np.concatenate([kept, errors.detection[mendable]])
        category = np.concatenate(
            [cells.category[kept], cells.truth.category[errors.annotation[mendable]]]
        )
        mended = np.arange(detection.size) >= kept.size
        order = np.lexsort(
            (cells.row[detection], cells.image[detection], -cells.score[detection], category)
        )
        self._points = _Points(
            category[order],
            (errors.hit[detection] | mended)[order],
            np.where(mended, np.append(error_of[kept], mendable), error_of[detection])[order],
            mended[order],
        )

    def per_class(
        self, mended: BoolArray | None = None, uncounted: IntArray | None = None
    ) -> FloatArray:
        """Return AP50 per class (K,) when the errors ``mended`` (F,) are mended and ``uncounted`` (K,) objects dropped.

        NaN for classes without objects, and for classes of which nothing is left, neither objects nor detections.
        """
        points = self._points
        if mended is None:
            active = ~points.mended
        else:
            chosen = (points.error >= 0) & np.append(mended, False)[points.error]
            active = np.where(points.mended, chosen, ~chosen)
        objects = self._objects - (0 if uncounted is None else uncounted)
        return self._class_ap(points.category[active], points.true[active], objects)

    def perfect_ranking(self) -> FloatArray:
        """Return AP50 per class when every true positive is ranked before every false positive."""
        points = self._points
        active = ~points.mended
        category, true = points.category[active], points.true[active]
        order = np.lexsort((~true, category))
        return self._class_ap(category[order], true[order], self._objects)

    def _class_ap(self, category: IntArray, true: BoolArray, objects: FloatArray) -> FloatArray:
        classes = objects.size
        start = np.searchsorted(category, np.arange(classes + 1))
        place = np.flatnonzero(true)
        segment = category[place]
        first = np.searchsorted(place, start[:-1])
        hits = (np.arange(place.size) - first[segment] + 1).astype(np.float64)
        rank = place - start[segment] + 1
        found = hits / np.maximum(objects, 1.0)[segment]
        ap = area_under(segment, found, hits / rank, classes, _RECALL_POINTS)[0]
        ap[objects <= 0] = 0.0
        left = (objects > 0) | (np.diff(start) > 0)
        ap[(self._objects <= 0) | ~left] = np.nan
        return ap


@dataclass(frozen=True)
class FileErrors:
    """Errors of one file, by type in the order of ``TYPES`` (E).

    ``ap50`` (K,), ``mended`` (E, K) AP50 with all errors of a type mended, ``special`` (2, K) without false positives
    and without false negatives, ``count`` (E, K) errors per class (of the detection; of the object for missed ones).
    ``group_count`` and ``group_gain`` (E, G): errors about objects of a group (background: of the detection's own value)
    and the gain of mending those only, NaN where it was not asked for or makes no sense.
    """

    ap50: FloatArray
    mended: FloatArray
    special: FloatArray
    count: FloatArray
    group_count: FloatArray
    group_gain: FloatArray


def file_errors(setting: Setting, detections: Detections, errors: Errors) -> FileErrors:
    """Return what the errors of one result file of boxes or masks cost."""
    objects = setting.table.counts[:, 0]
    ap = MendableAp(errors, objects)
    found = np.zeros(errors.missed.size, dtype=bool)
    found[errors.taken] = True
    unfound = _per_class(errors, setting.table.members[0] & ~found, objects.size)
    now = ap.per_class()
    mended = [ap.per_class(errors.kind == code) for code in range(len(TYPES) - 1)]
    mended.append(ap.per_class(uncounted=_per_class(errors, errors.missed, objects.size)))
    category = errors.cells.category[errors.detection]
    count = [
        np.bincount(category[errors.kind == code], minlength=objects.size)
        for code in range(len(TYPES) - 1)
    ]
    count.append(_per_class(errors, errors.missed, objects.size))
    counts, gains = _by_group(setting, detections, errors, ap, _mean(now))
    return FileErrors(
        ap50=now,
        mended=np.stack(mended),
        special=np.stack([ap.perfect_ranking(), ap.per_class(uncounted=unfound)]),
        count=np.stack(count).astype(np.float64),
        group_count=counts,
        group_gain=gains,
    )


def mean_errors(files: Sequence[FileErrors]) -> FileErrors:
    """Return the mean over the seeds of a model."""
    if len(files) == 1:
        return files[0]

    def mean(name: str) -> FloatArray:
        return np.asarray(np.mean([getattr(f, name) for f in files], axis=0), dtype=np.float64)

    return FileErrors(
        *(mean(n) for n in ("ap50", "mended", "special", "count", "group_count", "group_gain"))
    )


def _by_group(
    setting: Setting, detections: Detections, errors: Errors, ap: MendableAp, now: float
) -> tuple[FloatArray, FloatArray]:
    groups, classes = setting.table.groups, setting.table.counts.shape[0]
    counts, gains = np.full((2, len(TYPES), len(groups)), np.nan)
    for g, group in enumerate(groups):
        if len(group.parts) != 1:
            continue
        member = np.append(setting.table.members[g], False)  # the last entry: about no object
        inside = member[errors.annotation]
        own = _detection_side(setting, detections, errors, group)
        background = errors.kind == BKG
        if own is not None:
            inside = np.where(background, own, inside)
        with_gain = group.axis in AXES_WITH_GAIN
        for code in range(len(TYPES) - 1):
            if code == BKG and own is None:
                continue
            chosen = inside & (errors.kind == code)
            counts[code, g] = chosen.sum()
            if with_gain:
                gains[code, g] = _mean(ap.per_class(chosen)) - now if chosen.any() else 0.0
        missed = errors.missed & setting.table.members[g]
        counts[-1, g] = missed.sum()
        if with_gain:
            gains[-1, g] = _mean(ap.per_class(uncounted=_per_class(errors, missed, classes))) - now
    return counts, gains


def _detection_side(
    setting: Setting, detections: Detections, errors: Errors, group: Group
) -> BoolArray | None:
    """Return which false positives (F,) have the group's value themselves; None for states."""
    attribute, bin_ = group.parts[0]
    if attribute.detections is None:
        return None
    value = attribute.detections(setting.truth, detections)
    return bin_.contains(value[errors.cells.row[errors.detection]])


def _per_class(errors: Errors, chosen: BoolArray, classes: int) -> IntArray:
    return np.bincount(errors.cells.truth.category[chosen], minlength=classes)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
