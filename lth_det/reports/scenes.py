"""Ground truth and detections by image, read for pictures.

The numbers of a report come from its results; what is matched here only decides which pictures to show and how to
colour them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_det.errors import DataError, InputError

LOWEST_SCORE = 0.05
MOST_DETECTIONS = 100

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Item:
    """One object or one detection.

    Attributes:
        category: category id of the dataset.
        box: x, y, width, height in pixels.
        score: 0 to 1; 1 for objects.
        crowd: a region of many objects, in which detections are neither right nor wrong.
        segmentation: polygons or run-length code in COCO format, or ``None``.
        keypoints: (x, y, flag) of each keypoint in pixels; a flag of 0 means not labelled.
    """

    category: int
    box: Box
    score: float = 1.0
    crowd: bool = False
    segmentation: Any = None
    keypoints: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Picture:
    """One image of the dataset: its file name and its size in pixels."""

    image_id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Category:
    """Name of a category and the pairs of keypoints (counted from 0) that its skeleton connects."""

    name: str
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Scenes:
    """Images, categories and objects (by image) of one ground-truth file."""

    pictures: Mapping[int, Picture]
    categories: Mapping[int, Category]
    objects: Mapping[int, tuple[Item, ...]]

    def category_name(self, category: int) -> str:
        """Return the name of a category id, or the id itself when the file does not name it."""
        known = self.categories.get(category)
        return known.name if known else f"category {category}"


def read_scenes(path: Path) -> Scenes:
    """Read a ground-truth file in COCO format.

    Raises:
        DataError: the file is missing, no JSON, or not in COCO format.
    """
    raw = _read_json(path, DataError, "ground truth")
    try:
        pictures = {int(entry["id"]): _picture(entry) for entry in raw["images"]}
        categories = {int(entry["id"]): _category(entry) for entry in raw["categories"]}
        objects = _by_image((entry["image_id"], _item(entry, 1.0)) for entry in raw["annotations"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"{path} is not a ground-truth file in COCO format ({error!r}); check the file."
        ) from error
    return Scenes(pictures, categories, objects)


def read_detections(path: Path) -> Mapping[int, tuple[Item, ...]]:
    """Read detections in COCO format and return, by image, the best ``MOST_DETECTIONS`` of at least ``LOWEST_SCORE``.

    Detections of one image are ordered by falling score; equal scores keep the order of the file.

    Raises:
        InputError: the file is missing, no JSON, or not a list of detections.
    """
    raw = _read_json(path, InputError, "detections")
    try:
        good = (
            (entry["image_id"], _item(entry, float(entry["score"])))
            for entry in raw
            if float(entry["score"]) >= LOWEST_SCORE
        )
        by_image = _by_image(good)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"{path} is not a list of detections in COCO format ({error!r}); check the file."
        ) from error
    return {
        image: tuple(sorted(items, key=lambda item: -item.score)[:MOST_DETECTIONS])
        for image, items in by_image.items()
    }


def _read_json(path: Path, kind: type[DataError] | type[InputError], what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise kind(f"The {what} {path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise kind(f"The {what} {path} is not valid JSON ({error}).") from error


def _picture(entry: Mapping[str, Any]) -> Picture:
    return Picture(
        int(entry["id"]), str(entry["file_name"]), int(entry["width"]), int(entry["height"])
    )


def _category(entry: Mapping[str, Any]) -> Category:
    # COCO counts the keypoints of a skeleton from 1.
    skeleton = tuple((int(a) - 1, int(b) - 1) for a, b in entry.get("skeleton") or ())
    return Category(str(entry["name"]), skeleton)


def _item(entry: Mapping[str, Any], score: float) -> Item:
    segmentation = entry.get("segmentation")
    flat = [float(value) for value in entry.get("keypoints") or ()]
    box = tuple(float(value) for value in entry["bbox"])
    if len(box) != 4 or not all(map(math.isfinite, (*box, score))):
        raise ValueError(f"unusable box {entry['bbox']} or score")
    return Item(
        category=int(entry["category_id"]),
        box=(box[0], box[1], box[2], box[3]),
        score=score,
        crowd=bool(entry.get("iscrowd", 0)),
        segmentation=segmentation or None,
        keypoints=tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True)),
    )


def _by_image(pairs: Iterable[tuple[Any, Item]]) -> dict[int, tuple[Item, ...]]:
    found: dict[int, list[Item]] = {}
    for image, item in pairs:
        found.setdefault(int(image), []).append(item)
    return {image: tuple(items) for image, items in found.items()}
