"""The back end that needs nothing but NumPy; see :class:`lth_det.analysis.backends.Backend`."""

from dataclasses import dataclass

import numpy as np

from lth_det.analysis import numpy_match
from lth_det.analysis.backends import Bits, GroupBits, PlainResults, Request, Scores, Verdicts
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray

_TINY = np.spacing(1)  # as in pycocotools' precision
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
_REPLICATES_AT_ONCE = 64


@dataclass(frozen=True)
class _Events:
    """The hits of one group, by (threshold, class) segment and score: what AP is made of.

    ``segment`` (E,) threshold * K + class; ``place`` (E,) position in the class order; ``true`` and ``false`` (E,)
    numbers of true and false positives up to here.
    """

    segment: IntArray
    place: IntArray
    true: FloatArray
    false: FloatArray


class NumpyBackend:
    """The four loops in NumPy."""

    name = "numpy"

    def box_iou(self, cells: Cells, detections: FloatArray, truth: FloatArray) -> FloatArray:
        """Return box IoU of all pairs of all cells."""
        first, second = cells.pairs()
        a, b = detections[first].T, truth[second].T
        width = np.minimum(a[2] + a[0], b[2] + b[0]) - np.maximum(a[0], b[0])
        height = np.minimum(a[3] + a[1], b[3] + b[1]) - np.maximum(a[1], b[1])
        meet = (width > 0) & (height > 0)
        shared = np.where(meet, width * height, 0.0)
        own = a[2] * a[3]
        union = np.where(cells.truth.reusable[second] > 0, own, own + b[2] * b[3] - shared)
        iou: FloatArray = np.divide(shared, union, out=np.zeros(shared.size), where=meet)
        return iou

    def read_results(self, data: bytes) -> PlainResults | None:
        """Return None: the general reader is as fast as NumPy could be."""
        return None

    def match(
        self, cells: Cells, overlap: FloatArray, thresholds: FloatArray, bits: GroupBits
    ) -> Verdicts:
        """Match as COCO does, once per pattern of groups."""
        return numpy_match.match(cells, overlap, thresholds, bits)

    def accumulate(
        self, cells: Cells, verdicts: Verdicts, bits: GroupBits, request: Request
    ) -> Scores:
        """Return AP and recall per threshold, class and group."""
        thresholds, (classes, groups) = request.thresholds.size, request.objects.shape
        segments, points = thresholds * classes, request.recall_points.size
        ap = np.full((segments, groups), np.nan)
        normalised = np.full((segments, groups), np.nan)
        recall = np.full((len(request.limits), segments, groups), np.nan)
        curves = np.full((len(request.curve_groups), segments, points), np.nan)
        rank = cells.rank[cells.order]
        changes = _changes(cells, verdicts, bits)
        for group in range(groups):
            objects = np.tile(request.objects[:, group], thresholds)
            some = objects > 0
            events = _group_events(cells, changes, group)
            found = events.true / objects[events.segment]
            precision = events.true / (events.false + events.true + _TINY)
            area, curve = area_under(events.segment, found, precision, segments)
            ap[some, group] = area[some]
            if group in request.curve_groups:
                curves[request.curve_groups.index(group)][some] = curve[some]
            if request.prevalence is not None:
                true = (
                    events.true * np.tile(request.prevalence[:, group], thresholds)[events.segment]
                )
                precision = true / (events.false + true + _TINY)
                normalised[some, group] = area_under(events.segment, found, precision, segments)[0][
                    some
                ]
            for i, limit in enumerate(request.limits):
                early = np.bincount(
                    events.segment, weights=rank[events.place] < limit, minlength=segments
                )
                recall[i, some, group] = early[some] / objects[some]
        shape = (thresholds, classes, groups)
        return Scores(
            ap.reshape(shape),
            normalised.reshape(shape) if request.prevalence is not None else None,
            recall.reshape(-1, *shape),
            curves.reshape(-1, thresholds, classes, points),
        )

    def bootstrap(
        self,
        cells: Cells,
        verdicts: Verdicts,
        bits: GroupBits,
        group: int,
        weights: FloatArray,
    ) -> FloatArray:
        """Return AP (B, T, K) of one group with image weights (B, I)."""
        thresholds, classes = verdicts.hit.shape[0], cells.class_offset.size - 1
        out = np.full((weights.shape[0], thresholds, classes), np.nan)
        member = _bit(bits.objects, group)
        image = cells.truth.image[member]
        category = cells.truth.category[member]
        for start in range(0, weights.shape[0], _REPLICATES_AT_ONCE):
            part = slice(start, start + _REPLICATES_AT_ONCE)
            weight = np.ascontiguousarray(weights[part].T)  # (I, b)
            objects = np.zeros((classes, weight.shape[1]))
            np.add.at(objects, category, weight[image])
            for k in range(classes):
                out[part, :, k] = _class_replicates(
                    cells, verdicts, (bits, group, k), weight, objects[k]
                )
        return out


def _bit(words: Bits, group: int) -> BoolArray:
    bit: BoolArray = ((words >> np.uint64(group)) & np.uint64(1)).astype(bool)
    return bit


@dataclass(frozen=True)
class _Changes:
    """Detections whose state differs from "unmatched" in any group and threshold, by threshold and class order.

    ``place`` (E,) position in the class order, ``segment`` (E,) threshold * K + class; ``hit``, ``live`` and
    ``unmatched`` (E,) words of the groups in which it is a hit, counts at all, and would count when unmatched;
    ``changed`` (E,) the groups it is here for. ``base`` (M,) are the ``unmatched`` words of all detections.
    """

    place: IntArray
    segment: IntArray
    hit: Bits
    live: Bits
    unmatched: Bits
    changed: Bits
    base: Bits


def _changes(cells: Cells, verdicts: Verdicts, bits: GroupBits) -> _Changes:
    base = bits.unmatched[cells.order]
    hit = verdicts.hit[:, cells.order]
    live = ~verdicts.ignored[:, cells.order] & bits.mask
    changed = hit | (live ^ base)
    threshold, place = np.nonzero(changed)
    classes = cells.class_offset.size - 1
    return _Changes(
        place=place,
        segment=threshold * classes + cells.category[cells.order][place],
        hit=hit[threshold, place],
        live=live[threshold, place],
        unmatched=base[place],
        changed=changed[threshold, place],
        base=base,
    )


def _group_events(cells: Cells, changes: _Changes, group: int) -> _Events:
    mine = np.flatnonzero(_bit(changes.changed, group))
    place, segment = changes.place[mine], changes.segment[mine]
    is_hit = _bit(changes.hit[mine], group)
    change = _bit(changes.live[mine], group).astype(np.int64) - _bit(changes.unmatched[mine], group)
    start = np.searchsorted(segment, segment, side="left")
    counted = np.append(0, np.cumsum(_bit(changes.base, group)))
    classes = cells.class_offset.size - 1
    running = counted[place + 1] - counted[cells.class_offset[segment % classes]]
    alive = running + _within(change, start)
    true = _within(is_hit.astype(np.int64), start)
    return _Events(
        segment[is_hit],
        place[is_hit],
        true[is_hit].astype(np.float64),
        (alive - true)[is_hit].astype(np.float64),
    )


def _within(values: IntArray, start: IntArray) -> IntArray:
    """Running sums that begin anew at each segment; ``start`` is the index at which an element's segment begins."""
    total = np.append(0, np.cumsum(values))
    sums: IntArray = total[1:] - total[start]
    return sums


def area_under(
    segment: IntArray,
    found: FloatArray,
    precision: FloatArray,
    segments: int,
    points: FloatArray = _RECALL_POINTS,
) -> tuple[FloatArray, FloatArray]:
    """Return the mean monotone precision at the recall ``points`` (S,) and the curves (S, R) of all segments.

    Args:
        segment: (E,) ascending segment of every hit.
        found: (E,) recall reached with it, ascending inside a segment.
        precision: (E,) precision at it.
        segments: number of segments; those without hits give 0.
        points: ascending recall points.
    """
    best = precision.copy()
    ends = np.searchsorted(segment, np.arange(segments + 1))
    for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if b - a > 1:
            best[a:b] = np.maximum.accumulate(best[a:b][::-1])[::-1]
    to = np.searchsorted(points, found, side="right")
    since = np.where(np.diff(segment, prepend=-1) != 0, 0, np.append(0, to[:-1]))
    steps = to - since
    curve = np.zeros((segments, points.size))
    inside = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    curve[np.repeat(segment, steps), np.repeat(since, steps) + inside] = np.repeat(best, steps)
    return curve.sum(axis=1) / points.size, curve


def _class_replicates(
    cells: Cells,
    verdicts: Verdicts,
    which: tuple[GroupBits, int, int],
    weight: FloatArray,
    objects: FloatArray,
) -> FloatArray:
    """Return AP (b, T) of one class and group; ``weight`` (I, b), ``objects`` (b,) weighted numbers of objects."""
    bits, group, k = which
    order = cells.order[cells.class_offset[k] : cells.class_offset[k + 1]]
    image = cells.image[order]
    unmatched = _bit(bits.unmatched[order], group)
    out = np.zeros((weight.shape[1], verdicts.hit.shape[0]))
    running = np.cumsum(weight[image] * unmatched[:, None], axis=0)
    positive = np.where(objects > 0, objects, 1.0)
    for t in range(verdicts.hit.shape[0]):
        hit, live = _bit(verdicts.hit[t, order], group), ~_bit(verdicts.ignored[t, order], group)
        place = np.flatnonzero(hit | (live != unmatched))
        if not hit.any():
            continue
        share = weight[image[place]]
        change = (live[place].astype(np.float64) - unmatched[place])[:, None]
        alive = running[place] + np.cumsum(share * change, axis=0)
        true = np.cumsum(share * hit[place][:, None], axis=0)
        keep = hit[place]
        found, precision = true[keep] / positive, true[keep] / (alive[keep] + _TINY)
        best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        to = np.searchsorted(_RECALL_POINTS, found, side="right")
        out[:, t] = (best * np.diff(to, axis=0, prepend=0)).sum(axis=0) / _RECALL_POINTS.size
    out[objects <= 0] = np.nan
    return out
