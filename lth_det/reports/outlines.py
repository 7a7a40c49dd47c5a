"""Outlines of COCO segmentations, for drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from lth_det.analysis.runs import run_lengths

Point = tuple[float, float]
Outline = tuple[Point, ...]


def outlines_of(segmentation: Any, *, height: int, width: int) -> tuple[Outline, ...]:
    """Return the outlines of a COCO segmentation (polygons, or run-length code of the given size) in pixels.

    A segmentation that cannot be decoded has no outlines.
    """
    if isinstance(segmentation, list):
        return tuple(
            tuple(zip(polygon[0::2], polygon[1::2], strict=False))
            for polygon in segmentation
            if isinstance(polygon, list) and len(polygon) >= 6
        )
    mask = _decode(segmentation, height=height, width=width)
    return () if mask is None else _contours(mask)


def _decode(segmentation: Any, *, height: int, width: int) -> np.ndarray | None:
    """Return a (height, width) mask of 0 and 1, or ``None`` when the code is damaged or of another size."""
    try:
        if list(segmentation["size"]) != [height, width]:
            return None
        runs = run_lengths(segmentation["counts"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if sum(runs) != height * width or min(runs, default=0) < 0:
        return None
    inside = np.arange(len(runs), dtype=np.uint8) % 2
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(width, height).T)


def _contours(mask: np.ndarray) -> tuple[Outline, ...]:
    import cv2

    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    smooth = (cv2.approxPolyDP(contour, 0.6, True) for contour in found)
    return tuple(
        tuple((float(x) + 0.5, float(y) + 0.5) for x, y in contour.reshape(-1, 2))
        for contour in smooth
        if len(contour) >= 3
    )
