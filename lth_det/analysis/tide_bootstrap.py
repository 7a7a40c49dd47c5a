"""Bootstrap intervals of error types: how much of a dAP is image noise.

Every "all errors of this type mended" is one more way to judge the same detections, so the replicates of all types come
out of the kernel that replicates AP: the ways take the place of IoU thresholds. Mended localisation and classification
errors are additional detections that count in their own way only.
"""

from dataclasses import dataclass, replace

import numpy as np

from lth_det.analysis.backends import Backend, Bits, GroupBits, Verdicts
from lth_det.analysis.bootstrap import Draws, row_means
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.tide import TYPES, Errors

EVERYTHING, WITHOUT_MISSED = 0, 1


@dataclass(frozen=True)
class _Ways:
    """Detections and mended copies (P) by class and score, judged in W ways."""

    cells: Cells
    hit: BoolArray
    counted: BoolArray
    original: BoolArray


def error_replicates(
    errors: Errors, objects: BoolArray, classes: BoolArray, draws: Draws, *, backend: Backend
) -> FloatArray | None:
    """Return dAP of every type in every bootstrap row, (B + J, E); None without draws.

    Args:
        errors: the errors of one file.
        objects: (N,) annotations that are objects.
        classes: (K,) classes that are averaged; those without a weighted object leave a row.
        draws: shared image weights.
        backend: what replicates AP.
    """
    if draws.count == 0:
        return None
    ways = _judge(errors)
    one = np.uint64(1)
    members = objects.astype(np.uint64) | (objects & ~errors.missed).astype(np.uint64) << one
    both = np.uint64(3)  # a detection is the same for both groups; only the objects differ
    bits = GroupBits(members, _words(ways.original, both), count=2)
    verdicts = Verdicts(
        _words(ways.hit & ways.counted, both),
        _words(~ways.counted, both),
        np.full(ways.hit.shape, -1, dtype=np.int32),
    )
    ap = backend.bootstrap(ways.cells, verdicts, bits, EVERYTHING, draws.weights)
    plain = Verdicts(verdicts.hit[:1], verdicts.ignored[:1], verdicts.match[:1])
    fewer = backend.bootstrap(ways.cells, plain, bits, WITHOUT_MISSED, draws.weights)
    now = row_means(ap[:, 0, classes])
    gains = [row_means(ap[:, w, classes]) - now for w in range(1, len(TYPES))]
    gains.append(row_means(fewer[:, 0, classes]) - now)
    return np.stack(gains, axis=1)


def _words(flags: BoolArray, word: np.uint64) -> Bits:
    return np.ascontiguousarray(np.where(flags, word, np.uint64(0)))


def _judge(errors: Errors) -> _Ways:
    """Return the ways: as it is, then with each type of false positive mended."""
    cells = errors.cells
    mended = np.flatnonzero(errors.mends)
    row = np.concatenate([np.arange(cells.detections), errors.detection[mended]])
    category = np.concatenate([cells.category, cells.truth.category[errors.annotation[mended]]])
    original = np.arange(row.size) < cells.detections
    kind = np.full(cells.detections, -1)
    kind[errors.detection] = errors.kind
    kind = np.concatenate([kind, errors.kind[mended]])
    hit = np.concatenate([errors.hit, np.ones(mended.size, dtype=bool)])
    usable = np.concatenate([~errors.ignored, np.ones(mended.size, dtype=bool)])
    order = np.lexsort((cells.row[row], cells.image[row], -cells.score[row], category))
    counted = [usable & original]
    counted += [
        usable & np.where(original, kind != code, kind == code) for code in range(len(TYPES) - 1)
    ]
    moved = replace(
        cells,
        row=cells.row[row][order],
        image=cells.image[row][order],
        category=category[order],
        score=cells.score[row][order],
        rank=cells.rank[row][order],
        order=np.arange(row.size),
        class_offset=np.searchsorted(
            category[order], np.arange(cells.truth.number_of_classes + 1)
        ).astype(np.int64),
    )
    return _Ways(
        moved,
        np.broadcast_to(hit[order], (len(counted), row.size)),
        np.stack(counted)[:, order],
        original[order],
    )
