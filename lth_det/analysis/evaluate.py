"""One result file against the ground truth, over all object groups: AP and recall per threshold, class and group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_det.analysis.backends import Backend, GroupBits, Request, Verdicts
from lth_det.analysis.cells import Cells, Truth, sort_detections
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.columns import Detections, GroundTruth
from lth_det.analysis.groups import GroupTable, chunks, group_bits
from lth_det.analysis.overlap import overlaps

IOU_THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: FloatArray = np.linspace(0.0, 1.0, 101)
DETECTION_LIMITS = {"bbox": (1, 10, 100), "segm": (1, 10, 100), "keypoints": (20,)}
LVIS_DETECTIONS_PER_IMAGE = 300


@dataclass(frozen=True)
class Setting:
    """What stays the same for all result files of one IoU type."""

    iou_type: str
    truth: GroundTruth
    cells: Truth
    table: GroupTable
    backend: Backend
    limits: tuple[int, ...]
    sigmas: FloatArray | None = None
    curve_groups: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Matched:
    """A result file after matching; ``verdicts`` and ``bits`` have one entry per chunk of 64 groups."""

    cells: Cells
    overlap: FloatArray
    verdicts: tuple[Verdicts, ...]
    bits: tuple[GroupBits, ...]


@dataclass(frozen=True)
class Table:
    """AP and recall over all groups (G), NaN where a class has no object in a group.

    ``ap``, ``ap_normalised`` (T, K, G); ``recall`` (L, T, K, G); ``curves`` {group index: precision (T, K, R)}.
    """

    ap: FloatArray
    ap_normalised: FloatArray
    recall: FloatArray
    curves: dict[int, FloatArray]


def match_file(setting: Setting, detections: Detections) -> Matched:
    """Return the verdicts of every group about every detection."""
    lvis = setting.truth.verified is not None
    cells = sort_detections(
        detections,
        setting.cells,
        per_cell=LVIS_DETECTIONS_PER_IMAGE if lvis else setting.limits[-1],
        per_image=LVIS_DETECTIONS_PER_IMAGE if lvis else None,
    )
    overlap = overlaps(
        cells,
        setting.truth,
        detections,
        iou_type=setting.iou_type,
        backend=setting.backend,
        sigmas=setting.sigmas,
    )
    bits = tuple(
        group_bits(setting.table, chunk, setting.truth, detections, cells)
        for chunk in chunks(setting.table)
    )
    verdicts = tuple(setting.backend.match(cells, overlap, IOU_THRESHOLDS, b) for b in bits)
    return Matched(cells, overlap, verdicts, bits)


def score(setting: Setting, matched: Matched, *, images: BoolArray | None = None) -> Table:
    """Return AP and recall of every group.

    Args:
        setting: the ground truth side.
        matched: the result file.
        images: (I,) evaluate these images only; None: all.
    """
    counts, prevalence = setting.table.counts, setting.table.prevalence()
    if images is not None:
        counts = _counts_on(setting, images)
    ap, normalised, recall = [], [], []
    curves: dict[int, FloatArray] = {}
    limits = setting.limits if setting.truth.verified is None else (LVIS_DETECTIONS_PER_IMAGE,)
    for chunk, verdicts, bits in zip(
        chunks(setting.table), matched.verdicts, matched.bits, strict=True
    ):
        wanted = _within(setting.curve_groups, chunk) if images is None else ()
        request = Request(
            IOU_THRESHOLDS, RECALL_POINTS, limits, counts[:, chunk], prevalence[:, chunk], wanted
        )
        if images is not None:
            verdicts, bits = only_images(verdicts, bits, images[matched.cells.image])
        scores = setting.backend.accumulate(matched.cells, verdicts, bits, request)
        ap.append(scores.ap)
        if scores.ap_normalised is not None:
            normalised.append(scores.ap_normalised)
        recall.append(scores.recall)
        curves |= {chunk.start + g: c for g, c in zip(wanted, scores.curves, strict=True)}
    return Table(
        np.concatenate(ap, axis=2),
        np.concatenate(normalised, axis=2),
        np.concatenate(recall, axis=3),
        curves,
    )


def _within(groups: Sequence[int], chunk: slice) -> tuple[int, ...]:
    return tuple(g - chunk.start for g in groups if chunk.start <= g < chunk.stop)


def _counts_on(setting: Setting, images: BoolArray) -> FloatArray:
    there = images[setting.cells.image]
    counts = np.zeros_like(setting.table.counts)
    for g, members in enumerate(setting.table.members):
        counts[:, g] = np.bincount(
            setting.cells.category[members & there], minlength=counts.shape[0]
        )
    return counts


def only_images(
    verdicts: Verdicts, bits: GroupBits, there: BoolArray
) -> tuple[Verdicts, GroupBits]:
    """Return the verdicts with every detection outside the images (``there`` (M,) false) counting neither way."""
    none = np.uint64(0)
    return (
        Verdicts(
            np.where(there, verdicts.hit, none),
            np.where(there, verdicts.ignored, bits.mask),
            verdicts.match,
        ),
        GroupBits(bits.objects, np.where(there, bits.unmatched, none), bits.count),
    )
