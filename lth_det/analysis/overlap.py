"""Overlap of every detection with every annotation of its cell: box IoU, mask IoU, keypoint similarity (OKS)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from lth_det.analysis.backends import Backend
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray
from lth_det.analysis.columns import Detections, GroundTruth
from lth_det.errors import InputError

# The constants of the COCO keypoint challenge, nose to ankles (pycocotools.cocoeval.Params.setKpParams).
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
_PAIRS_AT_ONCE = 100_000


def overlaps(
    cells: Cells,
    truth: GroundTruth,
    detections: Detections,
    *,
    iou_type: str,
    backend: Backend,
    sigmas: FloatArray | None = None,
) -> FloatArray:
    """Return all overlaps, flat in the order of :meth:`Cells.pairs`, float64 in 0-1.

    With a crowd annotation the union is the detection's own area (COCO's rule for boxes and masks). Equal to
    pycocotools' ``maskUtils.iou`` and ``computeOks``.

    Args:
        cells: the sorted input.
        truth: ground truth columns.
        detections: detection columns.
        iou_type: ``bbox``, ``segm`` or ``keypoints``.
        backend: what computes box IoU.
        sigmas: (P,) per-keypoint constants; needed for keypoints.

    Raises:
        InputError: an annotation of an evaluated class has no mask.
    """
    if iou_type == "bbox":
        return backend.box_iou(
            cells,
            np.ascontiguousarray(detections.box[cells.row]),
            np.ascontiguousarray(truth.box[cells.truth.row]),
        )
    if iou_type == "segm":
        return _mask_overlaps(cells, truth, detections)
    return _keypoint_overlaps(cells, truth, detections, np.asarray(sigmas, dtype=np.float64))


def resolve_sigmas(truth: GroundTruth, sigmas: Sequence[float] | None) -> FloatArray:
    """Return the (P,) keypoint constants: those given, those in the file (``keypoint_sigmas``), or COCO's for 17 points.

    Raises:
        InputError: none of these fits the number of points, or one is not positive.
    """
    points, chosen = _chosen_sigmas(truth, sigmas)
    if not _fit(points, chosen):
        raise InputError(
            f"--keypoint-sigmas: {points} positive numbers are needed, one per keypoint of the ground truth, "
            f"but {len(chosen) or 'none'} are known."
        )
    return np.array(chosen, dtype=np.float64)


def sigmas_known(truth: GroundTruth, sigmas: Sequence[float] | None) -> bool:
    """Return whether there are keypoint constants that fit the ground truth; see :func:`resolve_sigmas`."""
    return _fit(*_chosen_sigmas(truth, sigmas))


def _chosen_sigmas(
    truth: GroundTruth, sigmas: Sequence[float] | None
) -> tuple[int, Sequence[float]]:
    points = 0 if truth.keypoints is None else truth.keypoints.shape[1]
    stated = [s for s in truth.categories.sigmas if s]
    return points, sigmas or (stated[0] if stated else COCO_SIGMAS if points == 17 else ())


def _fit(points: int, sigmas: Sequence[float]) -> bool:
    return len(sigmas) == points > 0 and min(sigmas) > 0


def _mask_overlaps(cells: Cells, truth: GroundTruth, detections: Detections) -> FloatArray:
    out = np.zeros(int(cells.overlap_offset[-1]))
    codes = detections.rle or ()
    for c in np.flatnonzero(np.diff(cells.overlap_offset)):
        d0, d1 = cells.detection_offset[c : c + 2]
        g0, g1 = cells.truth_offset[c : c + 2]
        rows = cells.truth.row[g0:g1]
        found = mask_api.iou(
            [codes[row] for row in cells.row[d0:d1]],
            masks_of(truth, rows),
            cells.truth.reusable[g0:g1].tolist(),
        )
        out[cells.overlap_offset[c] : cells.overlap_offset[c + 1]] = np.asarray(found).ravel()
    return out


def masks_of(truth: GroundTruth, rows: IntArray) -> list[dict[str, Any]]:
    """Return the masks of annotations.

    Raises:
        InputError: one has none.
    """
    masks = truth.segmentation or ()
    wanted = []
    for row in rows.tolist():
        mask = masks[row] if masks else None
        if mask is None:
            raise InputError(
                f"{truth.source.path or 'ground truth'}: annotation {int(truth.ids[row])} has no segmentation, so masks "
                "cannot be evaluated; leave `--iou-type segm` out or complete the file."
            )
        wanted.append(mask)
    return wanted


def _keypoint_overlaps(
    cells: Cells, truth: GroundTruth, detections: Detections, sigmas: FloatArray
) -> FloatArray:
    if truth.keypoints is None or detections.keypoints is None or not cells.overlap_offset[-1]:
        return np.zeros(int(cells.overlap_offset[-1]))
    first, second = cells.pairs()
    out = np.empty(first.size)
    for start in range(0, first.size, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        out[part] = _oks(
            truth, detections, cells.truth.row[second[part]], cells.row[first[part]], sigmas
        )
    return out


def _oks(
    truth: GroundTruth, detections: Detections, rows: IntArray, found: IntArray, sigmas: FloatArray
) -> FloatArray:
    points, guess = truth.keypoints, detections.keypoints
    if points is None or guess is None:
        return np.zeros(rows.size)
    target = np.nan_to_num(points[rows])
    labelled: BoolArray = target[:, :, 2] > 0
    some = np.asarray(np.any(labelled, axis=1))
    delta = guess[found, :, :2] - target[:, :, :2]
    # Without labelled points COCO measures the distance to the box grown to three times its size.
    box = truth.box[rows]
    low = (box[:, :2] - box[:, 2:])[:, None, :]
    high = (box[:, :2] + box[:, 2:] * 2)[:, None, :]
    spot = guess[found, :, :2]
    outside = np.maximum(0.0, low - spot) + np.maximum(0.0, spot - high)
    delta = np.where(some[:, None, None], delta, outside)
    variance = (sigmas * 2) ** 2
    area = (truth.area[rows] + np.spacing(1))[:, None]
    exponent = (delta[:, :, 0] ** 2 + delta[:, :, 1] ** 2) / variance / area / 2
    counted = labelled | ~some[:, None]
    value: FloatArray = np.where(counted, np.exp(-exponent), 0.0).sum(axis=1) / counted.sum(axis=1)
    return value
