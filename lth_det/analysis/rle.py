"""Masks as COCO run-length codes: conversion of polygons, and a check of every code before C code reads it.

pycocotools decodes a compressed code without looking whether its runs add up to the image; a damaged code there means
wrong areas or reads past the end of memory. Here all codes of a file are decoded at once with NumPy and refused when
their runs are negative or do not fill the image exactly. See runs.py for what else is kept from the C code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from lth_det.analysis import checks, runs
from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.errors import InputError

_LARGEST_COORDINATE = 1e5
_LONGEST_OUTLINE = 1e6
"""Pixels of the polygons of one annotation; drawing takes memory and time for each of them, however short the text is."""
_BORDER = 8.0  # px around the image within which the side of a box stays where it is
_MOST_PIXELS = (
    2**28
)  # pycocotools takes 4 bytes for each when it merges masks, and does not look whether it got them
_MOST_CHARACTERS = (
    7  # of one run length: 7 x 5 bits hold every count of such an image, and differences of counts
)


def code_areas(
    counts: Sequence[bytes], pixels: IntArray, *, where: str, label: str, merged: bool = False
) -> FloatArray:
    """Return the area in px^2 of compressed codes, (N,) float64, after checking them.

    Args:
        counts: the ``counts`` strings.
        pixels: (N,) height times width of each mask.
        where: the file, for the sentence.
        label: one mask in words ("mask of result"), for the sentence.
        merged: these masks will be merged, for which empty runs are refused.

    Raises:
        InputError: a code has other characters, is cut off, its runs do not add up to ``pixels``, or ``merged`` and a run
            after the first is empty.
    """
    number = len(counts)
    if number == 0:
        return np.zeros(0)
    length = np.fromiter(map(len, counts), dtype=np.int64, count=number)
    if (length == 0).any():
        _refuse(int(np.argmin(length)), where=where, label=label)
    code = np.frombuffer(b"".join(counts), dtype=np.uint8).astype(np.int64) - 48
    owner = np.repeat(np.arange(number), length)
    last = (code & 0x20) == 0
    final = np.cumsum(length) - 1
    strange = (code < 0) | (code > 63)
    strange[final] |= ~last[final]
    if strange.any():
        _refuse(int(owner[int(np.argmax(strange))]), where=where, label=label)
    run_end = np.flatnonzero(last)
    run_start = np.append(0, run_end[:-1] + 1)
    run_length = run_end - run_start + 1
    run_owner = owner[run_end]
    if run_length.max() > _MOST_CHARACTERS:
        _refuse(int(run_owner[int(run_length.argmax())]), where=where, label=label)
    place = np.arange(code.size) - np.repeat(run_start, run_length)
    value = np.add.reduceat((code & 0x1F) << (5 * place), run_start)
    negative = (code[run_end] & 0x10) != 0
    value = np.where(negative, value - (np.int64(1) << (5 * run_length)), value)
    length_of = _undo_differences(value, run_owner)
    total = np.bincount(run_owner, weights=length_of, minlength=number)
    wrong = total != pixels
    wrong |= np.bincount(run_owner, weights=length_of < 0, minlength=number) > 0
    if wrong.any():
        _refuse(int(np.argmax(wrong)), where=where, label=label)
    local = _local(run_owner)
    if merged and ((length_of == 0) & (local > 0)).any():
        index = int(run_owner[int(np.argmax((length_of == 0) & (local > 0)))])
        raise InputError(
            f"{where}: the {label} number {index} has a run of no pixels; encode it again (pycocotools writes none)."
        )
    area: FloatArray = np.bincount(
        run_owner, weights=length_of * (local % 2), minlength=number
    ).astype(np.float64)
    return area


def _undo_differences(value: IntArray, owner: IntArray) -> IntArray:
    """Return run lengths: from the fourth number of a code on, each is stored minus the one two places before."""
    runs = value.copy()
    local = _local(owner)
    for parity in (0, 1):
        chain = value[parity::2]
        total = np.cumsum(chain)
        restart = local[parity::2] <= 2
        start = np.maximum.accumulate(np.where(restart, np.arange(chain.size), 0))
        runs[parity::2] = total - total[start] + chain[start]
    return np.asarray(runs, dtype=np.int64)


def _local(owner: IntArray) -> IntArray:
    first = np.searchsorted(owner, owner, side="left")
    local: IntArray = np.arange(owner.size, dtype=np.int64) - first
    return local


def _refuse(index: int, *, where: str, label: str) -> None:
    raise InputError(
        f"{where}: the {label} number {index} is damaged: its runs do not fill its image; write the file again."
    )


def check_size(height: int, width: int, *, where: str, what: str) -> None:
    """Check that an image size can carry masks.

    Raises:
        InputError: a side is not positive, or the image has 2^28 pixels or more.
    """
    if height < 1 or width < 1 or height * width >= _MOST_PIXELS:
        raise InputError(
            f"{where}: {what} has the size {height} x {width} (height x width), which cannot carry a mask; "
            "give `height` and `width` of the image in pixels."
        )


def to_code(segmentation: Any, size: tuple[int, int], *, where: str, what: str) -> dict[str, Any]:
    """Return a polygon list or a run-length code as a compressed code ``{"size": [h, w], "counts": bytes}``.

    As in pycocotools, a list whose parts have four numbers holds boxes. Codes are not checked here (:func:`code_areas`
    does that for many at once), only their size is.

    Args:
        segmentation: the JSON value.
        size: (height, width) of the image in pixels.
        where: the file, for the sentence.
        what: the annotation or result, for the sentence.

    Raises:
        InputError: neither, or of another size than the image.
    """
    if isinstance(segmentation, dict):
        return _dict_to_code(segmentation, size, where=where, what=what)
    if isinstance(segmentation, list) and segmentation and _are_polygons(segmentation):
        length = sum(map(_outline, segmentation))
        if length > _LONGEST_OUTLINE:
            raise InputError(
                f"{where}: {what} has polygons with an outline of {length:.0f} pixels, more than the "
                f"{_LONGEST_OUTLINE:.0f} allowed; check the coordinates."
            )
        if size[0] * size[1] >= runs.LARGE and _reach(segmentation, size) >= runs.LARGE:
            raise InputError(
                f"{where}: {what} has polygons over {runs.LARGE:,} pixels or more, which pycocotools cannot encode safely; "
                "give a run-length code."
            )
        boxes = len(segmentation[0]) == 4
        shapes = np.array(segmentation, dtype=np.float64) if boxes else segmentation
        parts = mask_api.frPyObjects(shapes, size[0], size[1])
        merged: dict[str, Any] = mask_api.merge(parts)
        return merged
    raise InputError(
        f"{where}: {what} has a segmentation that is neither polygons (lists of at least 6 numbers) nor a run-length code."
    )


def code_of_box(box: FloatArray, size: tuple[int, int]) -> dict[str, Any]:
    """Return the code of a box (4,) XYWH in an image of ``size`` (height, width); what lies outside is left out.

    pycocotools takes memory for every pixel of a box's sides, also for those outside: a side of 1e9 ends the process.
    """
    most = np.array([size[1], size[0]]) + _BORDER
    low = np.clip(box[:2], -_BORDER, most)
    high = np.clip(box[:2] + box[2:], -_BORDER, most)
    code: dict[str, Any] = mask_api.frPyObjects(
        np.concatenate([low, high - low])[None], size[0], size[1]
    )[0]
    return code


def _outline(part: list[float]) -> float:
    if len(part) == 4:
        return 2.0 * (abs(part[2]) + abs(part[3]))
    x, y = part[::2], part[1::2]
    return sum(
        max(abs(x[i] - x[i - 1]), abs(y[i] - y[i - 1]))
        for i in range(len(x))  # from the last point to the first one, too
    )


def _reach(parts: list[list[float]], size: tuple[int, int]) -> float:
    """Return the pixels of the rectangle around all parts within the image; no run of theirs is longer."""
    sides = []
    for axis, most in ((0, size[1]), (1, size[0])):
        values = [v for part in parts for v in part[axis::2]]
        if len(parts[0]) == 4:  # boxes: corner and side
            values = [v for part in parts for v in (part[axis], part[axis] + part[axis + 2])]
        low, high = (min(max(edge, 0.0), most) for edge in (min(values) - 1, max(values) + 1))
        sides.append(high - low)
    return sides[0] * sides[1]


def _are_polygons(parts: list[Any]) -> bool:
    if not set(map(type, parts)) <= {list}:
        return False
    lengths = set(map(len, parts))
    if lengths != {4} and not all(length >= 6 and length % 2 == 0 for length in lengths):
        return False
    return all(
        type(v) in (int, float) and -_LARGEST_COORDINATE <= v <= _LARGEST_COORDINATE
        for part in parts
        for v in part
    )


def _dict_to_code(
    value: dict[str, Any], size: tuple[int, int], *, where: str, what: str
) -> dict[str, Any]:
    stated, counts = value.get("size"), value.get("counts")
    if not (isinstance(stated, list | tuple) and list(stated) == [size[0], size[1]]):
        raise InputError(
            f"{where}: {what} has a mask of size {checks.shown(stated)}, but its image is {size[0]} x {size[1]} (height x width); "
            "masks must have the size of the original image."
        )
    if isinstance(counts, str) and counts.isascii():
        return {"size": [size[0], size[1]], "counts": counts.encode()}
    if isinstance(counts, bytes):
        return {"size": [size[0], size[1]], "counts": counts}
    if isinstance(counts, list) and _fills(counts, size[0] * size[1]):
        code = runs.compress(runs.without_empty(counts))
        return {"size": [size[0], size[1]], "counts": code}
    raise InputError(
        f"{where}: {what} has a mask whose runs do not fill its image; write the file again."
    )


def _fills(counts: list[Any], pixels: int) -> bool:
    return set(map(type, counts)) <= {int} and all(c >= 0 for c in counts) and sum(counts) == pixels
