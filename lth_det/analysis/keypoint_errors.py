"""Error types of keypoints (Ronchi & Perona, ICCV 2017): jitter, inversion, swap, miss.

A detection is paired with the person it matches at OKS 0.1 (greedy, by score, at most 20 per image). The similarity of
a keypoint to a labelled point of type i of a person is ks = exp(-d^2 / (2 area (2 sigma_i)^2)). Then a keypoint is
*good* (ks >= 0.85 with its own point), a *jitter* (0.5 to 0.85), or else what it is most similar to, if that reaches
0.5: an *inversion* (its left/right counterpart on the same person), a *swap* (the same point or its counterpart on
another person); otherwise a *miss*. Only points that are labelled on the matched person count.

Left/right counterparts come from the names of the points ("left_eye", "right_eye"); without names there are no
inversions, except for 17 points, which are taken for COCO's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lth_det.analysis.backends import GroupBits
from lth_det.analysis.cells import Cells, sort_detections
from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.analysis.columns import Detections, GroundTruth
from lth_det.analysis.evaluate import Setting
from lth_det.analysis.overlap import overlaps

TYPES = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
LOCALISED, CLOSE, PAIRED = 0.85, 0.5, 0.1
DEFINITION = (
    "Ronchi & Perona 2017 on detections paired at OKS 0.1: good ks >= 0.85, jitter 0.5-0.85, otherwise inversion, swap "
    "or miss by what the point is most similar to (at least 0.5); labelled points only"
)


@dataclass(frozen=True)
class KeypointErrors:
    """Errors of one file: ``count`` (5, P) points by type; ``group_count`` (5, G); numbers of people.

    ``matched`` detections paired with a person, ``background`` detections paired with nobody, ``missed`` people with
    labelled points that no detection is paired with.
    """

    count: FloatArray
    group_count: FloatArray
    matched: float
    background: float
    missed: float


def keypoint_errors(setting: Setting, detections: Detections) -> KeypointErrors:
    """Return the keypoint error types of one result file."""
    cells = sort_detections(detections, setting.cells, per_cell=setting.limits[-1])
    overlap = overlaps(
        cells,
        setting.truth,
        detections,
        iou_type="keypoints",
        backend=setting.backend,
        sigmas=setting.sigmas,
    )
    everyone = setting.table.members[0]
    bits = GroupBits(
        everyone.astype(np.uint64), np.ones(cells.detections, dtype=np.uint64), count=1
    )
    verdicts = setting.backend.match(cells, overlap, np.array([PAIRED]), bits)
    hit = verdicts.hit[0].astype(bool)
    person = verdicts.match[0][hit].astype(np.int64)
    kinds = _kinds(setting, cells, detections, np.flatnonzero(hit), person)
    points = kinds.shape[1]
    count = np.stack([(kinds == code).sum(axis=0) for code in range(len(TYPES))])
    members = setting.table.members[:, person]  # (G, matched)
    group_count = np.stack(
        [members.astype(np.float64) @ (kinds == code).sum(axis=1) for code in range(len(TYPES))]
    )
    return KeypointErrors(
        count=count.reshape(len(TYPES), points).astype(np.float64),
        group_count=group_count,
        matched=float(hit.sum()),
        background=float((~hit & (verdicts.ignored[0] == 0)).sum()),
        missed=float(everyone.sum() - np.unique(person).size),
    )


def mean_keypoint_errors(files: Sequence[KeypointErrors]) -> KeypointErrors:
    """Return the mean over the seeds of a model."""
    return KeypointErrors(
        count=np.mean([f.count for f in files], axis=0),
        group_count=np.mean([f.group_count for f in files], axis=0),
        matched=float(np.mean([f.matched for f in files])),
        background=float(np.mean([f.background for f in files])),
        missed=float(np.mean([f.missed for f in files])),
    )


def counterparts(truth: GroundTruth) -> IntArray:
    """Return the index of the left/right counterpart of every keypoint (P,); a point without one is its own."""
    points = 0 if truth.keypoints is None else truth.keypoints.shape[1]
    own = np.arange(points)
    names = next((n for n in truth.categories.keypoints if len(n) == points), ())
    if not names and points == 17:  # COCO: nose, then left and right by turns
        return np.array([0, *(i + 1 if i % 2 else i - 1 for i in range(1, 17))])
    position = {name.lower(): i for i, name in enumerate(names)}
    for name, i in position.items():
        for one, other in (("left", "right"), ("right", "left")):
            if one in name:
                own[i] = position.get(name.replace(one, other), i)
    return own


def _kinds(
    setting: Setting, cells: Cells, detections: Detections, found: IntArray, person: IntArray
) -> IntArray:
    """Return the type of every point of every paired detection, (D, P); -1 for points that are not labelled."""
    truth, sigmas = setting.truth, setting.sigmas
    if truth.keypoints is None or detections.keypoints is None or sigmas is None:
        return np.zeros((0, 0), dtype=np.int64)
    guess = detections.keypoints[cells.row[found], :, :2]
    rows = setting.cells.row
    flip = counterparts(truth)
    kinds = np.full(guess.shape[:2], -1, dtype=np.int64)
    people = _people_by_image(setting)
    for i, (spots, who) in enumerate(zip(guess, person.tolist(), strict=True)):
        others = people[int(setting.cells.image[who])]
        others = others[others != who]
        own = truth.keypoints[rows[who]]
        labelled = own[:, 2] > 0
        # As in coco-analyze, the scale of the similarity is that of the person the detection is paired with.
        scale = 2.0 * (truth.area[rows[who]] + np.spacing(1)) * (2.0 * sigmas) ** 2
        straight = _similarity(spots, own[None], scale)[0]
        inverted = np.where(
            flip == np.arange(flip.size), 0.0, _similarity(spots, own[None, flip], scale)[0]
        )
        swapped = np.zeros(flip.size)
        if others.size:
            table = truth.keypoints[rows[others]]
            swapped = np.maximum(
                _similarity(spots, table, scale).max(axis=0),
                _similarity(spots, table[:, flip], scale).max(axis=0),
            )
        kind = np.where(swapped > inverted, SWAP, INVERSION)
        kind[np.maximum(swapped, inverted) < CLOSE] = MISS
        kind[straight >= CLOSE] = JITTER
        kind[straight >= LOCALISED] = GOOD
        kinds[i, labelled] = kind[labelled]
    return kinds


def _similarity(spots: FloatArray, people: FloatArray, scale: FloatArray) -> FloatArray:
    """Return ks (Q, P) of points (P, 2) to the points of people (Q, P, 3); 0 where those are not labelled."""
    distance = ((spots[None] - people[:, :, :2]) ** 2).sum(axis=2)
    return np.where(people[:, :, 2] > 0, np.exp(-distance / scale), 0.0)


def _people_by_image(setting: Setting) -> dict[int, IntArray]:
    everyone = np.flatnonzero(setting.table.members[0])
    image = setting.cells.image[everyone]
    order = np.argsort(image, kind="stable")
    images, start = np.unique(image[order], return_index=True)
    parts = np.split(everyone[order], start[1:])[: images.size]  # of nobody, one empty part
    return dict(zip(images.tolist(), parts, strict=True))
