"""What the attributes measure: one float per annotation or detection, NaN where it cannot be measured."""

import functools

import numpy as np
from pycocotools import mask as mask_api

from lth_det.analysis import rle, runs
from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.analysis.columns import GroundTruth

_PERCENTILES = (10.0, 30.0, 70.0, 90.0)
_BAND_MIDDLE = np.array([5.0, 20.0, 50.0, 80.0, 95.0])
_CROWDED_IOU = 0.1
_BORDER_PX = 1.0
_PAIRS_AT_ONCE = 2_000_000
_CELLS_AT_ONCE = 4_000_000


def percentile_band(truth: GroundTruth, area: FloatArray, category: IntArray) -> FloatArray:
    """Return the middle of the within-class percentile band of each area (Hoiem et al. 2012: 10/30/70/90).

    The edges are those of the class's annotated objects; a class without objects gives NaN.
    """
    band = np.full(area.shape, np.nan)
    for k in np.unique(category):
        known = truth.area[(truth.category == k) & truth.objects]
        if known.size:
            mine = category == k
            edges = np.percentile(known, _PERCENTILES)
            band[mine] = _BAND_MIDDLE[np.searchsorted(edges, area[mine], side="right")]
    return band


def width_over_height(box: FloatArray) -> FloatArray:
    """Return the aspect ratio of XYWH boxes (N, 4); a box without area gives NaN."""
    solid = (box[:, 2] > 0) & (box[:, 3] > 0)
    ratio: FloatArray = np.divide(box[:, 2], box[:, 3], out=np.full(len(box), np.nan), where=solid)
    return ratio


def touches_border(truth: GroundTruth, box: FloatArray, image: IntArray) -> FloatArray:
    """Return 1.0 where a box comes within 1 px of the image border, else 0.0; NaN where the size is not stated."""
    width, height = truth.images.width[image], truth.images.height[image]
    touching = (
        (box[:, 0] <= _BORDER_PX)
        | (box[:, 1] <= _BORDER_PX)
        | (box[:, 0] + box[:, 2] >= width - _BORDER_PX)
        | (box[:, 1] + box[:, 3] >= height - _BORDER_PX)
    ).astype(np.float64)
    return np.where((width > 0) & (height > 0), touching, np.nan)


def fill(truth: GroundTruth) -> FloatArray:
    """Return the share of its box that an object fills, ``area / (width * height)``; NaN for a box without area."""
    whole = truth.box[:, 2] * truth.box[:, 3]
    share: FloatArray = np.divide(
        truth.area, whole, out=np.full(whole.size, np.nan), where=whole > 0
    )
    return share


def neighbours(truth: GroundTruth) -> FloatArray:
    """Return how many other objects of the image overlap an object's box with an IoU above 0.1."""
    count = np.zeros(truth.ids.size)
    for first, second in _object_pairs(truth):
        shared = _shared(truth.box[first], truth.box[second])
        own, other = (truth.box[i, 2] * truth.box[i, 3] for i in (first, second))
        count += np.bincount(
            first[shared > _CROWDED_IOU * (own + other - shared)], minlength=count.size
        )
    return count


def composite_level(truth: GroundTruth) -> FloatArray:
    """Return 0 (easy), 1 (moderate) or 2 (hard) from size, occlusion and truncation, in the manner of KITTI."""
    occlusion = np.nan_to_num(covered_share(truth))
    cut = np.nan_to_num(touches_border(truth, truth.box, truth.image)) > 0
    easy = (truth.area >= 96.0**2) & (occlusion < 0.10) & ~cut
    moderate = (truth.area >= 32.0**2) & (occlusion < 0.35)
    return np.where(easy, 0.0, np.where(moderate, 1.0, 2.0))


def covered_share(truth: GroundTruth) -> FloatArray:
    """Return the share of each object's box that the union of all other objects of its image covers, 0-1.

    Objects are their masks, or their boxes where they have none (as in an image without a stated size); crowd regions cover
    nothing. NaN for a box without area. The result is remembered for the last ground truth, because two attributes need it.
    """
    return _covered_share(_Identity(truth))


class _Identity:
    """Hashes a ground truth by identity, so that results can be remembered per object."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth = truth

    def __hash__(self) -> int:
        return id(self.truth)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.truth is self.truth


@functools.lru_cache(maxsize=1)
def _covered_share(key: _Identity) -> FloatArray:
    truth = key.truth
    whole = truth.box[:, 2] * truth.box[:, 3]
    share = np.where(whole > 0, 0.0, np.nan)
    firsts, seconds = [], []
    for first, second in _object_pairs(truth):
        near = _shared(truth.box[first], truth.box[second]) > 0
        firsts.append(first[near])
        seconds.append(second[near])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    if not first.size:
        return share
    order = np.argsort(first, kind="stable")
    first, second = first[order], second[order]
    owners, start = np.unique(first, return_index=True)
    if truth.segmentation is not None:
        for owner, others in zip(owners.tolist(), np.split(second, start[1:]), strict=True):
            share[owner] = _area_under_masks(truth, owner, others) / whole[owner]
        return share
    low, high = _common(truth.box[first], truth.box[second])
    share[owners] = union_areas(low, high, start) / whole[owners]
    return share


def _common(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return lower and higher corners (..., 2) of what boxes (..., 4) XYWH have in common."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    return low, high


def _area_under_masks(truth: GroundTruth, owner: int, others: IntArray) -> float:
    """Return the area in px^2 of the owner's box under the masks of the others (the box of one without a mask)."""
    image = truth.image[owner]
    size = (int(truth.images.height[image]), int(truth.images.width[image]))
    if min(size) < 1:
        # An image that states no size has no masks, and pycocotools runs for minutes over masks without pixels.
        low, high = _common(truth.box[owner], truth.box[others])
        return float(union_areas(low, high, np.zeros(1, dtype=np.int64))[0])
    stored = truth.segmentation or ()
    masks = [stored[i] or rle.code_of_box(truth.box[i], size) for i in others.tolist()]
    mine = rle.code_of_box(truth.box[owner], size)
    if size[0] * size[1] >= runs.LARGE:
        return float(runs.covered(mine["counts"], [mask["counts"] for mask in masks]))
    union = mask_api.merge(masks)
    return float(mask_api.area(mask_api.merge([union, mine], intersect=True)))


def union_areas(low: FloatArray, high: FloatArray, start: IntArray) -> FloatArray:
    """Return the area of the union of each owner's rectangles, (O,), by coordinate compression.

    Args:
        low: (R, 2) lower corners, an owner's rectangles side by side.
        high: (R, 2) higher corners.
        start: (O,) first rectangle of every owner, ascending.
    """
    count = np.diff(np.append(start, len(low)))
    areas = np.empty(start.size)
    for n in np.unique(count).tolist():
        chosen = np.flatnonzero(count == n)
        for part in np.array_split(chosen, 1 + chosen.size * 4 * n * n // _CELLS_AT_ONCE):
            rows = start[part][:, None] + np.arange(n)
            areas[part] = _unions_of(low[rows], high[rows])
    return areas


def _unions_of(low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the union areas of (O, n, 2) rectangles: which cells of the grid of all their edges are covered."""
    edges = np.sort(np.concatenate([low, high], axis=1), axis=1)
    step = np.diff(edges, axis=1)
    inside = (low[:, :, None] <= edges[:, None, :-1]) & (high[:, :, None] >= edges[:, None, 1:])
    covered = np.zeros((len(low), step.shape[1], step.shape[1]), dtype=bool)
    for i in range(low.shape[1]):
        covered |= inside[:, i, :, 0, None] & inside[:, i, None, :, 1]
    area: FloatArray = np.einsum("oi,oij,oj->o", step[:, :, 0], covered, step[:, :, 1])
    return area


def _shared(a: FloatArray, b: FloatArray) -> FloatArray:
    low, high = _common(a, b)
    side = np.maximum(high - low, 0.0)
    area: FloatArray = side[:, 0] * side[:, 1]
    return area


def _object_pairs(truth: GroundTruth) -> list[tuple[IntArray, IntArray]]:
    """Return all ordered pairs of different objects of the same image, in chunks of at most about 2 million."""
    rows = np.flatnonzero(truth.objects)
    rows = rows[np.argsort(truth.image[rows], kind="stable")]
    image = truth.image[rows]
    start = np.searchsorted(image, image, side="left")
    count = np.searchsorted(image, image, side="right") - start
    chunk = np.cumsum(count) // _PAIRS_AT_ONCE
    chunks = []
    for part in np.split(np.arange(rows.size), np.flatnonzero(np.diff(chunk)) + 1):
        n = count[part]
        first = np.repeat(part, n)
        inside = np.arange(first.size) - np.repeat(np.cumsum(n) - n, n)
        second = np.repeat(start[part], n) + inside
        other = first != second
        chunks.append((rows[first[other]], rows[second[other]]))
    return chunks
