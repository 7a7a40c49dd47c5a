"""Detections and ground truth sorted into (image, class) cells, the unit of COCO matching.

The order inside a cell and across a class is what makes the result equal pycocotools': detections by descending score,
ties in file order; ground truth in file order; a class's detections by descending score, ties by image id, then by
rank in the cell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.analysis.columns import Detections, GroundTruth

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Truth:
    """The ground truth of one IoU type, sorted by cell.

    ``row`` (N,) is each annotation's row in :class:`GroundTruth`; ``cell`` (N,) its ``image * K + category``, ascending;
    ``reusable`` marks crowds, which absorb any number of detections; ``ignored`` what is never an object (crowds, and
    for keypoints annotations without labelled points). ``classes`` (K,) is false for classes left out altogether.
    """

    row: IntArray
    cell: IntArray
    image: IntArray
    category: IntArray
    reusable: ByteArray
    ignored: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.bool_]
    number_of_images: int
    number_of_classes: int


@dataclass(frozen=True)
class Cells:
    """One result file against the ground truth.

    ``row`` (M,) each kept detection's row in :class:`Detections`, sorted by cell and descending score; ``rank`` (M,)
    its place in its cell from 0. Cell ``c`` holds detections ``detection_offset[c]:detection_offset[c + 1]`` and
    annotations ``truth_offset[c]:truth_offset[c + 1]`` of :class:`Truth`; its overlaps, detections by annotations, start
    at ``overlap_offset[c]``. ``order`` (M,) lists detections by class and global score rank, class ``k`` holding
    ``class_offset[k]:class_offset[k + 1]`` of it.
    """

    truth: Truth
    row: IntArray
    image: npt.NDArray[np.int32]
    category: IntArray
    score: FloatArray
    rank: npt.NDArray[np.int32]
    detection_offset: IntArray
    truth_offset: IntArray
    overlap_offset: IntArray
    order: IntArray
    class_offset: IntArray

    @property
    def detections(self) -> int:
        """Number of detections kept."""
        return int(self.row.size)

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return for every overlap, in storage order, the detection (index here) and annotation (index in truth)."""
        n_det, n_gt = np.diff(self.detection_offset), np.diff(self.truth_offset)
        width = np.repeat(n_gt, n_det)
        cell_of = np.repeat(np.arange(n_det.size), n_det)
        detection = np.repeat(np.arange(self.detections), width)
        start = np.cumsum(width) - width
        inside = np.arange(detection.size) - np.repeat(start, width)
        return detection, np.repeat(self.truth_offset[cell_of], width) + inside


def sort_truth(truth: GroundTruth, iou_type: str) -> Truth:
    """Return the ground truth sorted by cell for one IoU type.

    For keypoints only classes with annotated keypoints (or with a list of point names) count, and annotations without
    labelled points are ignored, as in pycocotools.
    """
    classes = np.ones(truth.categories.ids.size, dtype=bool)
    ignored = truth.crowd.copy()
    if iou_type == "keypoints" and truth.keypoints is not None:
        having = ~np.isnan(truth.keypoints[:, 0, 0])
        classes = np.bincount(truth.category[having], minlength=classes.size) > 0
        classes |= np.array([bool(p) for p in truth.categories.keypoints], dtype=bool)
        ignored |= truth.num_keypoints == 0
    cell = truth.image * classes.size + truth.category
    row = np.flatnonzero(classes[truth.category]).astype(np.int64)
    row = row[np.argsort(cell[row], kind="stable")]
    return Truth(
        row=row,
        cell=cell[row],
        image=truth.image[row],
        category=truth.category[row],
        reusable=truth.crowd[row].astype(np.uint8),
        ignored=ignored[row],
        classes=classes,
        number_of_images=truth.images.ids.size,
        number_of_classes=classes.size,
    )


def sort_detections(
    detections: Detections, truth: Truth, *, per_cell: int, per_image: int | None = None
) -> Cells:
    """Return detections sorted into cells, at most ``per_cell`` in each.

    Args:
        detections: one result file.
        truth: the sorted ground truth.
        per_cell: pycocotools' largest maxDets.
        per_image: LVIS's limit over all classes of an image; None: no such limit.
    """
    classes = truth.number_of_classes
    keep = np.flatnonzero(truth.classes[detections.category])
    if per_image is not None:
        keep = _strongest(keep, detections, per_image)
    cell = detections.image[keep] * classes + detections.category[keep]
    by_cell = np.lexsort((-detections.score[keep], cell))
    row, cell = keep[by_cell], cell[by_cell]
    rank = np.arange(row.size) - np.searchsorted(cell, cell, side="left")
    kept = rank < per_cell
    row, cell, rank = row[kept], cell[kept], rank[kept]
    cells = np.union1d(cell, truth.cell)
    ends = np.append(cells, np.iinfo(np.int64).max)
    detection_offset = np.searchsorted(cell, ends).astype(np.int64)
    truth_offset = np.searchsorted(truth.cell, ends).astype(np.int64)
    sizes = np.diff(detection_offset) * np.diff(truth_offset)
    image, category, score = cell // classes, cell % classes, detections.score[row]
    order = np.lexsort((rank, image, -score, category)).astype(np.int64)
    return Cells(
        truth=truth,
        row=row,
        image=image.astype(np.int32),
        category=category,
        score=score,
        rank=rank.astype(np.int32),
        detection_offset=detection_offset,
        truth_offset=truth_offset,
        overlap_offset=np.append(0, np.cumsum(sizes)).astype(np.int64),
        order=order,
        class_offset=np.searchsorted(category[order], np.arange(classes + 1)).astype(np.int64),
    )


def _strongest(keep: IntArray, detections: Detections, limit: int) -> IntArray:
    order = keep[np.lexsort((-detections.score[keep], detections.image[keep]))]
    image = detections.image[order]
    rank = np.arange(order.size) - np.searchsorted(image, image, side="left")
    return np.sort(order[rank < limit])
