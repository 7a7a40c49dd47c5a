"""The contact sheet: some images of every split, with what is annotated on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lth_det.data.shapes.figure import KEYPOINT_NAMES, SKELETON
from lth_det.data.shapes.paint import Colour, Image
from lth_det.data.shapes.splits import CLASSIFICATION, SPLITS, Split
from lth_det.errors import DataError

_ZOOM = 2
_WIDTH, _SCENE, _CROP = 1304, 320, 128  # pixels: four scenes or ten crops, and gaps
_GAP, _TITLE = 8, 20
_CROPS = 10
# Scenes that show much: an occlusion, a hole, a crowd, a cut-off object.
_TRAIN, _VAL, _KEYPOINTS = (2, 3, 16, 34), (3, 32, 97, 138), (2, 31, 25, 47)
# Okabe and Ito's palette as BGR; each category keeps its colour on the whole sheet.
_COLOURS: tuple[Colour, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)


def contact_sheet(folder: Path, path: Path) -> None:
    """Draw the contact sheet of a data set as a PNG with a palette of 256 colours.

    Rows: scenes of ``shapes_train``, scenes of ``shapes_val`` with masks and boxes, scenes of
    ``shapes_keypoints_val`` with skeletons, images of ``shapes_cls_train``.

    Args:
        folder: Folder of the data set.
        path: The PNG to write; its folder is made.

    Raises:
        DataError: The data set cannot be read or the picture cannot be written.
    """
    crops = _pictures(folder, SPLITS["cls_train"], range(2 * _CROPS))
    rows = [
        ("shapes_train", _pictures(folder, SPLITS["train"], _TRAIN)),
        ("shapes_val: masks and boxes", _pictures(folder, SPLITS["val"], _VAL)),
        (
            "shapes_keypoints_val: full dots are visible, rings hidden; left and right differ",
            _pictures(folder, SPLITS["keypoints_val"], _KEYPOINTS),
        ),
        ("shapes_cls_train", crops[:_CROPS]),
        ("", crops[_CROPS:]),
    ]
    strips = [_strip(pictures) for _, pictures in rows]
    sheet, tops = _stack(strips, [_TITLE if title else 0 for title, _ in rows])
    titles = [(top, title) for (title, _), top in zip(rows, tops, strict=True) if title]
    _save(sheet, titles, path)


def _strip(pictures: list[Image]) -> Image:
    height, width = pictures[0].shape[:2]
    gap = (_WIDTH - len(pictures) * width) // max(1, len(pictures) - 1)
    strip = np.full((height, _WIDTH, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        strip[:, k * (width + gap) : k * (width + gap) + width] = picture
    return strip


def _stack(strips: list[Image], title_heights: list[int]) -> tuple[Image, list[int]]:
    """Return the sheet and the y of each strip."""
    parts, tops, y = [], [], 0
    for strip, title in zip(strips, title_heights, strict=True):
        parts += [np.full((title + _GAP, _WIDTH, 3), 255, np.uint8), strip]
        tops.append(y + title + _GAP)
        y = tops[-1] + strip.shape[0]
    return np.concatenate(parts), tops


def _save(sheet: Image, titles: list[tuple[int, str]], path: Path) -> None:
    from matplotlib.figure import Figure
    from PIL import Image as PillowImage

    height, width = sheet.shape[:2]
    figure = Figure(figsize=((width + 2 * _GAP) / 100, (height + _GAP) / 100), dpi=100)
    figure.figimage(cv2.cvtColor(sheet, cv2.COLOR_BGR2RGB), xo=_GAP, yo=_GAP)
    for top, title in titles:
        y = 1 - (top - 7) / (height + _GAP)
        figure.text(_GAP / (width + 2 * _GAP), y, title, fontsize=11, va="baseline")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        with PillowImage.open(path) as full:
            small = full.convert("RGB").quantize(256)  # a third of the size, dithered
        small.save(path, optimize=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}).") from error


def _pictures(folder: Path, split: Split, indices: Iterable[int]) -> list[Image]:
    path = folder / split.annotations
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete {folder} to draw it again."
        ) from error
    names = {category["id"]: category["name"] for category in content["categories"]}
    pictures = []
    records = content["images"]
    for record in (records[index % len(records)] for index in indices):
        annotations = [a for a in content["annotations"] if a["image_id"] == record["id"]]
        image = cv2.imread(str(folder / split.image_dir / record["file_name"]), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{record['file_name']} of {split.name} cannot be read as an image.")
        large = cv2.resize(image, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
        if split.name == "val":
            large = draw_instances(large, annotations, names, zoom=_ZOOM)
        elif split.name == "keypoints_val":
            large = draw_keypoints(large, annotations, zoom=_ZOOM)
        side = _CROP if split.kind == CLASSIFICATION else _SCENE
        if large.shape[0] != side:
            large = np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA))
        pictures.append(large)
    return pictures


def draw_instances(
    image: Image, annotations: list[dict[str, Any]], names: dict[int, str], *, zoom: int
) -> Image:
    """Return the image with masks, boxes and names of its objects; crowds get a dashed look.

    Args:
        image: (H, W, 3) BGR, already enlarged by ``zoom``.
        annotations: COCO annotations in unenlarged pixels; polygons or uncompressed run lengths.
        names: Category id -> name.
        zoom: Enlargement.
    """
    result: Image = image.copy()
    for annotation in annotations:
        colour = _COLOURS[(annotation["category_id"] - 1) % len(_COLOURS)]
        fill = result.copy()
        for ring in _rings(annotation["segmentation"], zoom):
            cv2.fillPoly(fill, [ring], colour)
            cv2.polylines(fill, [ring], True, colour, 2, cv2.LINE_AA)
        result = np.asarray(cv2.addWeighted(fill, 0.4, result, 0.6, 0), np.uint8)
    for annotation in annotations:
        colour = _COLOURS[(annotation["category_id"] - 1) % len(_COLOURS)]
        x, y, w, h = (round(value * zoom) for value in annotation["bbox"])
        cv2.rectangle(result, (x, y), (x + w - 1, y + h - 1), colour, 1)
        name = names[annotation["category_id"]] + (" crowd" if annotation["iscrowd"] else "")
        (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
        top = max(0, y - height - 5)
        left = min(x, max(0, result.shape[1] - width - 4))
        cv2.rectangle(result, (left, top), (left + width + 4, top + height + 5), colour, -1)
        corner = (left + 2, top + height + 2)
        cv2.putText(
            result, name, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (20, 20, 20), 1, cv2.LINE_AA
        )
    return result


def _rings(segmentation: Any, zoom: int) -> list[Any]:
    if isinstance(segmentation, list):
        return [np.array(ring, np.int32).reshape(-1, 1, 2) * zoom for ring in segmentation]
    height, width = segmentation["size"]
    flags = np.arange(len(segmentation["counts"])) % 2
    flat = np.repeat(flags, segmentation["counts"]).astype(np.uint8)
    mask = flat.reshape(width, height).T
    enlarged = cv2.resize(mask, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    return list(cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def draw_keypoints(image: Image, annotations: list[dict[str, Any]], *, zoom: int) -> Image:
    """Return the image with skeletons: full dots are visible (2), hollow ones hidden (1)."""
    result: Image = image.copy()
    for annotation in annotations:
        triples = np.array(annotation["keypoints"]).reshape(-1, 3)
        points = {
            name: ((x * zoom + zoom // 2, y * zoom + zoom // 2), v)
            for name, (x, y, v) in zip(KEYPOINT_NAMES, triples.tolist(), strict=True)
        }
        for start, end in SKELETON:
            if points[start][1] and points[end][1]:
                cv2.line(result, points[start][0], points[end][0], (255, 255, 255), 3, cv2.LINE_AA)
                cv2.line(result, points[start][0], points[end][0], (60, 60, 60), 1, cv2.LINE_AA)
        for name, (point, visible) in points.items():
            side = 1 if name.startswith("left") else 5 if name.startswith("right") else 3
            if visible:
                cv2.circle(result, point, 5, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(result, point, 4, _COLOURS[side], -1 if visible == 2 else 2, cv2.LINE_AA)
    return result
