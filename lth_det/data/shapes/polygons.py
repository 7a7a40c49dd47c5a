"""Binary masks as COCO segmentations: exact polygons without holes, run lengths."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]
Loop = list[tuple[int, int]]

_FALLING, _RISING = 0b1001, 0b0110  # two pixels that touch only by a corner
_CORNER_COPIES = np.array(
    [2 if k in (_FALLING, _RISING) else k.bit_count() % 2 for k in range(16)], np.uint8
)
"""How often a point of the pixel grid is a corner, by the four pixels around it."""


def mask_box(mask: BoolMask) -> tuple[int, int, int, int]:
    """Return the smallest box around the true pixels as (x, y, width, height) in pixels.

    Raises:
        ValueError: No pixel is true.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        raise ValueError("an empty mask has no box")
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def mask_polygons(mask: BoolMask) -> list[list[int]]:
    """Return polygons along the pixel edges that cover exactly the true pixels.

    Corners are integers with pixel (x, y) covering [x, x+1) x [y, y+1), so that pycocotools
    rasterises the polygons back to the same mask. COCO polygons cannot have holes: a region with a
    hole is cut in two at the hole's middle column, and the parts share that edge.

    Args:
        mask: (H, W).

    Returns:
        Flat lists [x0, y0, x1, y1, ...] of at least four corners, clockwise on the screen; empty
        for an empty mask. Pixels that touch only by a corner are in different polygons or visits.
    """
    if not mask.any():
        return []
    x, y, width, height = mask_box(mask)
    loops = _solid_loops(mask[y : y + height, x : x + width])
    return [[c for px, py in loop for c in (px + x, py + y)] for loop in loops]


def _solid_loops(region: BoolMask) -> list[Loop]:
    outer, holes = _loops(region)
    if not holes:
        return outer
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    if count > 2:  # cut only the components that have holes
        return [loop for label in range(1, count) for loop in _solid_loops(labels == label)]
    columns = [x for x, _ in holes[0]]
    cut = (min(columns) + max(columns)) // 2
    left, right = region.copy(), region.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return _solid_loops(left) + _solid_loops(right)


def _loops(region: BoolMask) -> tuple[list[Loop], list[Loop]]:
    """Return the boundary loops of a region: outer ones, and those around holes."""
    xs, ys, horizontal, vertical = _corners(region)
    outer: list[Loop] = []
    holes: list[Loop] = []
    seen = bytearray(len(xs))
    for start in range(len(xs)):
        if seen[start]:
            continue
        loop, here = [], start
        while not seen[here]:  # go right along the top first: clockwise
            there = horizontal[here]
            seen[here] = seen[there] = 1
            loop += [(xs[here], ys[here]), (xs[there], ys[there])]
            here = vertical[there]
        # Corners come row by row, so the start is the leftmost of the loop's topmost corners.
        x, y = loop[0]
        inside = y < region.shape[0] and x < region.shape[1] and bool(region[y, x])
        (outer if inside else holes).append(loop)
    return outer, holes


def _corners(region: BoolMask) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return all boundary corners row by row: x, y, and the corner at the other end of each edge.

    On a line of pixel edges the corners, in order, are by turns the start and the end of an edge.
    Where two pixels touch only by a corner it counts twice, once for each pixel.
    """
    height, width = region.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = region
    # The four pixels around each corner as bits: 1 above left, 2 above right, 4 and 8 below.
    around = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
    copies = _CORNER_COPIES[around].ravel()
    places = np.flatnonzero(copies)
    places = np.repeat(places, copies[places])
    ys, xs = np.divmod(places, width + 1)
    first = np.ones(len(xs), bool)
    first[1:] = places[1:] != places[:-1]
    # The first copy ends the edge from the left. It ends the edge from above at a falling touch
    # (that is the upper left pixel's corner) and starts the edge down at a rising one.
    down_first = np.where(around.ravel()[places] == _RISING, ~first, first)
    order = np.lexsort((~down_first, ys, xs))
    horizontal = np.arange(len(xs)) ^ 1
    vertical = np.empty(len(xs), np.int64)
    vertical[order] = order[np.arange(len(xs)) ^ 1]
    return xs.tolist(), ys.tolist(), horizontal.tolist(), vertical.tolist()


def mask_rle(mask: BoolMask) -> dict[str, Any]:
    """Return COCO's uncompressed run lengths: {"size": [H, W], "counts": [...]}, column by column.

    The first run counts false pixels and may be zero.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(bounds).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": counts}
