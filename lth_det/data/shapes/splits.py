"""The six splits: names, folders, and the pictures and annotations of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.data.shapes.config import FIGURE, GENERATOR_VERSION, ShapesConfig
from lth_det.data.shapes.dice import Dice
from lth_det.data.shapes.figure import KEYPOINT_NAMES, SKELETON
from lth_det.data.shapes.paint import Image
from lth_det.data.shapes.polygons import mask_box, mask_polygons, mask_rle
from lth_det.data.shapes.scene import (
    Scene,
    SceneObject,
    draw_crop,
    draw_keypoint_scene,
    draw_scene,
)

INSTANCES, KEYPOINTS, CLASSIFICATION = "instances", "keypoints", "classification"


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        name: Name after ``shapes_``: "train", "keypoints_val", "cls_train", ...
        kind: ``INSTANCES``, ``KEYPOINTS`` or ``CLASSIFICATION``.
        stream: Number of the split in the seeds; never reused for another split.
        image_dir: Folder of the images, relative to the data set's folder.
        annotations: Annotation file, relative to the data set's folder.
    """

    name: str
    kind: str
    stream: int
    image_dir: str
    annotations: str


SPLITS: dict[str, Split] = {
    split.name: split
    for split in (
        Split("train", INSTANCES, 0, "train", "annotations/instances_train.json"),
        Split("val", INSTANCES, 1, "val", "annotations/instances_val.json"),
        Split(
            "keypoints_train", KEYPOINTS, 2, "keypoints_train", "annotations/keypoints_train.json"
        ),
        Split("keypoints_val", KEYPOINTS, 3, "keypoints_val", "annotations/keypoints_val.json"),
        Split("cls_train", CLASSIFICATION, 4, "cls_train", "annotations/cls_train.json"),
        Split("cls_val", CLASSIFICATION, 5, "cls_val", "annotations/cls_val.json"),
    )
}


@dataclass(frozen=True)
class DrawnImage:
    """One finished image.

    Attributes:
        file_name: Path relative to the split's image folder.
        image: (H, W, 3) BGR uint8.
        annotations: COCO annotations without "id" and "image_id"; for classification one dict with
            "category_id".
    """

    file_name: str
    image: Image
    annotations: list[dict[str, Any]]


def image_count(split: Split, config: ShapesConfig) -> int:
    """Return the number of images of a split."""
    per_split = {
        "train": config.train_images,
        "val": config.val_images,
        "keypoints_train": config.keypoints_train_images,
        "keypoints_val": config.keypoints_val_images,
        "cls_train": config.cls_train_per_class * config.num_categories,
        "cls_val": config.cls_val_per_class * config.num_categories,
    }
    return per_split[split.name]


def draw_image(split: Split, config: ShapesConfig, index: int) -> DrawnImage:
    """Draw image ``index`` (from 0) of a split; independent of all other images."""
    dice = Dice(config.seed, GENERATOR_VERSION, split.stream, index)
    if split.kind == CLASSIFICATION:
        category = index % config.num_categories
        name = config.categories[category].name
        file_name = f"{name}/{index // config.num_categories + 1:06d}.png"
        image = draw_crop(dice, config, category)
        return DrawnImage(file_name, image, [{"category_id": category + 1}])
    keypoints = split.kind == KEYPOINTS
    scene = draw_keypoint_scene(dice, config) if keypoints else draw_scene(dice, config)
    return DrawnImage(f"{index + 1:06d}.png", scene.image, _annotations(scene, keypoints=keypoints))


def _annotations(scene: Scene, *, keypoints: bool) -> list[dict[str, Any]]:
    if keypoints:  # as COCO's person_keypoints files: nothing but the category with keypoints
        return [_keypoint_annotation(o) for o in scene.objects if o.keypoints is not None]
    return [_annotation(o) for o in scene.objects]


def _annotation(item: SceneObject) -> dict[str, Any]:
    return {
        "category_id": item.category + 1,
        "iscrowd": int(item.crowd),
        "bbox": [float(value) for value in mask_box(item.mask)],
        "area": float(np.count_nonzero(item.mask)),
        "segmentation": mask_rle(item.mask) if item.crowd else mask_polygons(item.mask),
    }


def _keypoint_annotation(item: SceneObject) -> dict[str, Any]:
    assigned = np.asarray(item.keypoints)
    return _annotation(item) | {
        "category_id": 1,
        "keypoints": assigned.ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(assigned[:, 2])),
    }


def coco_categories(split: Split, config: ShapesConfig) -> list[dict[str, Any]]:
    """Return the "categories" list of a split's annotation file."""
    if split.kind == KEYPOINTS:
        places = {name: number for number, name in enumerate(KEYPOINT_NAMES, 1)}
        return [
            {
                "id": 1,
                "name": FIGURE,
                "supercategory": FIGURE,
                "keypoints": list(KEYPOINT_NAMES),
                "skeleton": [[places[a], places[b]] for a, b in SKELETON],
            }
        ]
    return [
        {"id": number, "name": category.name, "supercategory": category.shape}
        for number, category in enumerate(config.categories, 1)
    ]
