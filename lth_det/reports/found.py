"""Which objects a model found in an image, at IoU 0.5, for pictures.

The rule is that of COCO: by falling score, a detection takes the free object of its class with the highest IoU of
boxes, at least 0.5; one that only overlaps a crowd region is ignored. Because a detection never depends on those with
lower scores, one matching serves every score cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lth_det.reports.scenes import Item, Scenes

IOU = 0.5
CUTS = tuple(round(0.05 * step, 2) for step in range(1, 20))
FOUND, FALSE, IGNORED = "found", "false", "ignored"

Detections = Mapping[int, tuple[Item, ...]]


@dataclass(frozen=True)
class Match:
    """Matching of one image.

    Attributes:
        states: ``found``, ``false`` or ``ignored`` for every detection.
        found_at: for every object the score of the detection that found it; 0 when none did.
    """

    states: tuple[str, ...]
    found_at: tuple[float, ...]


def match(objects: Sequence[Item], detections: Sequence[Item]) -> Match:
    """Match ``detections`` (by falling score) to ``objects`` of one image."""
    states = [FALSE] * len(detections)
    found_at = [0.0] * len(objects)
    for category in sorted({item.category for item in detections}):
        rows = [index for index, item in enumerate(detections) if item.category == category]
        columns = [index for index, item in enumerate(objects) if item.category == category]
        if not columns:
            continue
        overlaps = _overlaps([detections[i] for i in rows], [objects[j] for j in columns])
        for row, values in zip(rows, overlaps, strict=True):
            _match_one(
                row, dict(zip(columns, values, strict=True)), objects, detections, states, found_at
            )
    return Match(tuple(states), tuple(found_at))


def match_all(scenes: Scenes, detections: Detections) -> dict[int, Match]:
    """Match every image of ``scenes``; images without detections have a match, too."""
    return {
        image: match(scenes.objects.get(image, ()), detections.get(image, ()))
        for image in scenes.pictures
    }


def best_cut(scenes: Scenes, detections: Detections, matches: Mapping[int, Match]) -> float:
    """Return the score cut of ``CUTS`` with the highest F1 over all images; the lowest one on a tie."""
    objects = sum(not item.crowd for items in scenes.objects.values() for item in items)
    right: list[float] = []
    wrong: list[float] = []
    for image, result in matches.items():
        for item, state in zip(detections.get(image, ()), result.states, strict=True):
            if state != IGNORED:
                (right if state == FOUND else wrong).append(item.score)

    def f1(cut: float) -> float:
        hits = sum(score >= cut for score in right)
        false = sum(score >= cut for score in wrong)
        return 2 * hits / max(hits + false + objects, 1)

    return max(CUTS, key=lambda cut: (f1(cut), -cut))


def _overlaps(detections: Sequence[Item], objects: Sequence[Item]) -> np.ndarray:
    """Return the (detections, objects) IoUs of boxes; with a crowd region, the covered share of the detection."""
    from pycocotools import mask as coco_mask

    return np.asarray(
        coco_mask.iou(
            np.array([item.box for item in detections], dtype=np.float64),
            np.array([item.box for item in objects], dtype=np.float64),
            [int(item.crowd) for item in objects],
        )
    )


def _match_one(
    row: int,
    overlaps: Mapping[int, float],
    objects: Sequence[Item],
    detections: Sequence[Item],
    states: list[str],
    found_at: list[float],
) -> None:
    free = {
        column: value
        for column, value in overlaps.items()
        if value >= IOU and not objects[column].crowd and not found_at[column]
    }
    if free:
        best = max(free, key=lambda column: (free[column], -column))
        found_at[best] = detections[row].score
        states[row] = FOUND
    elif any(value >= IOU and objects[column].crowd for column, value in overlaps.items()):
        states[row] = IGNORED
