"""COCO matching without a compiler: the r-th best detection of every cell at once, once per pattern of groups.

A matching depends on a group only through which of the cell's annotations are objects of it, so groups with the same
pattern over a cell share one "virtual cell". Detections that overlap nothing by the lowest threshold are left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_det.analysis.backends import Bits, GroupBits, Verdicts
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray

_WORD = 64


@dataclass(frozen=True)
class _Virtual:
    """V virtual cells: ``cell`` (V,), the ``groups`` (V,) that share the pattern, ``inside`` rows of the pattern."""

    cell: IntArray
    groups: Bits
    sample: IntArray


@dataclass(frozen=True)
class _Matches:
    """One entry per match: index of threshold, detection, annotation; groups it holds for; whether in the group."""

    threshold: IntArray
    detection: IntArray
    annotation: IntArray
    groups: Bits
    inside: BoolArray


def match(cells: Cells, overlap: FloatArray, thresholds: FloatArray, bits: GroupBits) -> Verdicts:
    """Return the verdicts of all groups; equal to the compiled kernel's."""
    shape = (thresholds.size, cells.detections)
    hit = np.zeros(shape, dtype=np.uint64)
    ignored = np.broadcast_to(~bits.unmatched & bits.mask, shape).copy()
    taken = np.full(shape, -1, dtype=np.int32)
    for found in _all_matches(cells, overlap, thresholds, bits):
        where = found.threshold * cells.detections + found.detection
        groups = np.where(found.inside, found.groups, np.uint64(0))
        np.bitwise_or.at(hit.reshape(-1), where, groups)
        groups = np.where(found.inside, np.uint64(0), found.groups)
        np.bitwise_or.at(ignored.reshape(-1), where, groups)
        first = (found.groups & np.uint64(1)) != 0
        taken.reshape(-1)[where[first]] = found.annotation[first]
    ignored &= ~hit
    return Verdicts(hit, ignored, taken)


def _all_matches(
    cells: Cells, overlap: FloatArray, thresholds: FloatArray, bits: GroupBits
) -> list[_Matches]:
    if overlap.size == 0:
        return []
    detection, _ = cells.pairs()
    start = np.flatnonzero(np.diff(detection, prepend=-1))
    best = np.maximum.reduceat(overlap, start)
    hot = start[best >= min(thresholds[0], 1 - 1e-10)]  # storage place of each hot detection's row
    if hot.size == 0:
        return []
    hot_detection = detection[hot]
    hot_cell = np.searchsorted(cells.detection_offset, hot_detection, side="right") - 1
    live, first, count = np.unique(hot_cell, return_index=True, return_counts=True)
    virtual = _virtual_cells(cells, live, bits)
    rows = np.searchsorted(live, virtual.cell)
    width = np.diff(cells.truth_offset)[virtual.cell]
    bucket = np.ceil(np.log2(width)).astype(np.int64)
    out = []
    for size in np.unique(bucket):
        chosen = np.flatnonzero(bucket == size)
        chosen = chosen[np.argsort(-count[rows[chosen]], kind="stable")]
        job = _Job(
            offset=cells.truth_offset[virtual.cell[chosen]],
            width=width[chosen],
            groups=virtual.groups[chosen],
            sample=virtual.sample[chosen],
            first=first[rows[chosen]],
            steps=count[rows[chosen]],
        )
        out.append(_match_bucket(job, cells, (overlap, hot, hot_detection), thresholds, bits))
    return out


@dataclass(frozen=True)
class _Job:
    """Virtual cells of similar width, most hot detections first; ``first`` and ``steps`` point into the hot list."""

    offset: IntArray
    width: IntArray
    groups: Bits
    sample: IntArray
    first: IntArray
    steps: IntArray


def _match_bucket(
    job: _Job,
    cells: Cells,
    hot: tuple[FloatArray, IntArray, IntArray],
    thresholds: FloatArray,
    bits: GroupBits,
) -> _Matches:
    overlap, place, detection = hot
    column = np.arange(int(job.width.max()))
    have = column < job.width[:, None]
    target = np.where(have, job.offset[:, None] + column, 0)
    inside = have & (
        (bits.objects[target] >> job.sample[:, None].astype(np.uint64)) & np.uint64(1)
    ).astype(bool)
    reusable = cells.truth.reusable[target] > 0
    free = np.repeat(have[:, None, :], thresholds.size, axis=1)
    floor = np.minimum(thresholds, 1 - 1e-10)[None, :, None]
    parts: list[tuple[npt.NDArray[np.int64], ...]] = []
    for step in range(int(job.steps[0])):
        n = int(np.searchsorted(-job.steps, -step, side="left"))
        row = job.first[:n] + step
        reach = np.where(have[:n], place[row][:, None] + column, 0)
        iou = overlap[reach][:, None, :]
        possible = free[:n] & (iou >= floor)
        objects = possible & inside[:n, None, :]
        candidates = np.where(objects.any(axis=2, keepdims=True), objects, possible)
        value = np.where(candidates, iou, -1.0)
        last_best = value.shape[2] - 1 - value[:, :, ::-1].argmax(axis=2)
        v, t = np.nonzero(candidates.any(axis=2))
        j = last_best[v, t]
        free[v, t, j] = reusable[v, j]
        parts.append((v, t, detection[row[v]], target[v, j], inside[v, j].astype(np.int64)))
    v, t, d, g, inner = (np.concatenate(column_) for column_ in zip(*parts, strict=True))
    return _Matches(t, d, g, job.groups[v], inner.astype(bool))


def _virtual_cells(cells: Cells, live: IntArray, bits: GroupBits) -> _Virtual:
    """Return the distinct patterns of every live cell; ``sample`` is one group that has the pattern."""
    width = np.diff(cells.truth_offset)[live]
    small = live[width <= _WORD]
    parts = [_small_patterns(cells, small, bits)] if small.size else []
    parts += [_large_patterns(cells, int(c), bits) for c in live[width > _WORD]]
    return _Virtual(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _small_patterns(
    cells: Cells, live: IntArray, bits: GroupBits
) -> tuple[IntArray, Bits, IntArray]:
    offset, width = cells.truth_offset[live], np.diff(cells.truth_offset)[live]
    start = np.cumsum(width) - width
    local = np.arange(int(width.sum())) - np.repeat(start, width)
    objects = bits.objects[np.repeat(offset, width) + local]
    words = np.empty((live.size, bits.count), dtype=np.uint64)
    for group in range(bits.count):
        bit = (objects >> np.uint64(group)) & np.uint64(1)
        words[:, group] = np.bitwise_or.reduceat(bit << local.astype(np.uint64), start)
    order = np.argsort(words, axis=1, kind="stable")
    ranked = np.take_along_axis(words, order, axis=1)
    new = np.ones(words.shape, dtype=bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.flatnonzero(new.ravel())
    flat = order.ravel()
    groups = np.bitwise_or.reduceat(np.uint64(1) << flat.astype(np.uint64), first)
    return live[first // bits.count], groups, flat[first]


def _large_patterns(cells: Cells, cell: int, bits: GroupBits) -> tuple[IntArray, Bits, IntArray]:
    objects = bits.objects[cells.truth_offset[cell] : cells.truth_offset[cell + 1]]
    table = (objects[None, :] >> np.arange(bits.count, dtype=np.uint64)[:, None]) & np.uint64(1)
    _, sample, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    groups = np.zeros(sample.size, dtype=np.uint64)
    np.bitwise_or.at(groups, which.ravel(), np.uint64(1) << np.arange(bits.count, dtype=np.uint64))
    return np.full(sample.size, cell), groups, sample.astype(np.int64)
