"""Photographs and marks as pixels, drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.errors import DataError
from lth_det.io import inside
from lth_det.reports.marks import Mark, Panel
from lth_det.reports.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION

STATE_COLOURS = {
    "truth": GREEN,
    "found": BLUE,
    "false": ORANGE,
    "missed": VERMILION,
    "ignored": PURPLE,
}
DASHES = {"false": (11, 8), "missed": (4, 8), "ignored": (16, 9)}
PANEL_WIDTH = 400
PAGE_SIDE = 640
MARGIN = 8
TITLE_HEIGHT = 24


def read_image_of(root: Path, name: str) -> np.ndarray:
    """Read the image that an annotation file names, as :func:`read_image` does, if it lies below ``root``.

    Raises:
        DataError: the name leads out of the folder, or the file is missing or no image.
    """
    path = inside(root, name)
    if path is None:
        raise DataError(
            f"The annotation file names the image {name[:100]!r}, which does not lie in {root}; images outside are not shown."
        )
    return read_image(path)


def read_image(path: Path) -> np.ndarray:
    """Read an image file as (height, width, 3) BGR bytes.

    Raises:
        DataError: the file is missing or no image.
    """
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"The image {path} cannot be read ({error.strerror or error}).") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DataError(f"The image {path} is damaged or in an unknown format.")
    return np.asarray(image)


def encode_for_page(image: np.ndarray) -> tuple[bytes, str]:
    """Return ``image`` in at most ``PAGE_SIDE`` pixels a side as (bytes, MIME type): PNG, or JPEG where far smaller."""
    import cv2

    scale = PAGE_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    png = encode_png(image)
    jpeg = bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1])
    return (jpeg, "image/jpeg") if 3 * len(jpeg) < len(png) else (png, "image/png")


def encode_png(image: np.ndarray) -> bytes:
    """Return a BGR image as PNG; equal pixels give equal bytes."""
    import cv2

    return bytes(cv2.imencode(".png", image)[1])


def strip(
    image: np.ndarray, panels: Sequence[Panel], *, cut: float, width: int = PANEL_WIDTH
) -> np.ndarray:
    """Draw ``panels`` of one image side by side, with titles.

    Args:
        image: (height, width, 3) BGR; not changed.
        panels: the views, left to right.
        cut: score cut; marks outside it are left out.
        width: of each panel, in pixels.

    Returns:
        (height, width, 3) BGR picture with a white ground.
    """
    import cv2

    scale = width / image.shape[1]
    height = max(1, round(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    base = cv2.resize(image, (width, height), interpolation=method)
    columns = []
    for view in panels:
        drawn = draw_marks(base, [mark for mark in view.marks if mark.visible(cut)], scale=scale)
        column = np.full((height + TITLE_HEIGHT + MARGIN, width + MARGIN, 3), 255, np.uint8)
        column[TITLE_HEIGHT : TITLE_HEIGHT + height, :width] = drawn
        _text(column, view.title, (0, TITLE_HEIGHT - 8), colour=(40, 31, 31), size=0.5)
        columns.append(column)
    joined: np.ndarray = np.concatenate(columns, axis=1)
    return joined


def draw_marks(image: np.ndarray, marks: Sequence[Mark], *, scale: float = 1.0) -> np.ndarray:
    """Return a copy of ``image`` (height, width, 3; BGR) with ``marks`` drawn.

    Args:
        image: the picture.
        marks: their coordinates are multiplied by ``scale`` first.
        scale: pixels of ``image`` per pixel of the dataset's image.
    """
    result: np.ndarray = image.copy()
    for mark in marks:
        if mark.state != "missed":
            result = _fill(result, mark, scale)
    for mark in marks:
        colour = _bgr(STATE_COLOURS[mark.state])
        _box(result, mark, scale, colour)
        _joints(result, mark, scale, colour)
        x, y = (round(value * scale) for value in mark.box[:2])
        place = (x + 2, y - 4) if y > 14 else (x + 2, y + 13)
        _text(result, mark.label, place, colour=(255, 255, 255), size=0.42, boxed=True)
    return result


def _bgr(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)


def _fill(image: np.ndarray, mark: Mark, scale: float) -> np.ndarray:
    import cv2

    if not mark.outlines:
        return image
    layer = image.copy()
    shapes = [np.round(np.array(outline) * scale).astype(np.int32) for outline in mark.outlines]
    cv2.fillPoly(layer, shapes, _bgr(STATE_COLOURS[mark.state]))
    return np.asarray(cv2.addWeighted(layer, 0.22, image, 0.78, 0))


def _box(image: np.ndarray, mark: Mark, scale: float, colour: tuple[int, int, int]) -> None:
    x, y, width, height = (value * scale for value in mark.box)
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
    for start, end in pairwise(corners):
        for part in _dashes(start, end, DASHES.get(mark.state)):
            _line(image, part, (255, 255, 255), 4)
            _line(image, part, colour, 2)


def _joints(image: np.ndarray, mark: Mark, scale: float, colour: tuple[int, int, int]) -> None:
    import cv2

    points = [None if joint is None else np.array(joint) * scale for joint in mark.joints]
    for first, second in mark.bones:
        start, end = points[first], points[second]
        if start is not None and end is not None:
            _line(image, (start, end), colour, 2)
    for point in points:
        if point is not None:
            centre = (round(float(point[0])), round(float(point[1])))
            cv2.circle(image, centre, 3, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(image, centre, 2, colour, -1, cv2.LINE_AA)


def _dashes(start: Any, end: Any, pattern: tuple[int, int] | None) -> list[tuple[Any, Any]]:
    first, last = np.array(start, dtype=float), np.array(end, dtype=float)
    length = float(np.linalg.norm(last - first))
    if pattern is None or length == 0:
        return [(first, last)]
    direction = (last - first) / length
    begins = np.arange(0, length, sum(pattern))
    return [
        (first + begin * direction, first + min(begin + pattern[0], length) * direction)
        for begin in begins
    ]


def _line(image: np.ndarray, ends: Any, colour: tuple[int, int, int], width: int) -> None:
    import cv2

    start, end = ((round(float(point[0])), round(float(point[1]))) for point in ends)
    cv2.line(image, start, end, colour, width, cv2.LINE_AA)


def _text(
    image: np.ndarray,
    text: str,
    place: tuple[int, int],
    *,
    colour: tuple[int, int, int],
    size: float,
    boxed: bool = False,
) -> None:
    import cv2

    if boxed:
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        corners = (
            (place[0] - 2, place[1] - height - 2),
            (place[0] + width + 2, place[1] + below - 2),
        )
        cv2.rectangle(image, *corners, (40, 31, 31), -1)
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
