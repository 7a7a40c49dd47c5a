"""The embedded data sets in Detectron2's catalogs, and a clear word about data sets that are missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json
from detectron2.data.datasets.pascal_voc import register_pascal_voc

from lth_det.d2.image_names import check_image_names, check_voc_names
from lth_det.data.shapes import (
    KEYPOINT_FLIP_PAIRS,
    KEYPOINT_NAMES,
    SKELETON,
    SPLITS,
    ShapesConfig,
    Split,
    dataset_folder,
    ensure_shapes,
)
from lth_det.data.shapes.config import FIGURE
from lth_det.data.shapes.splits import CLASSIFICATION, KEYPOINTS
from lth_det.errors import DataError

PREFIX = "shapes_"

# Larger annotation files are not parsed once more for the check: COCO's takes many seconds.
_PARSED_BYTES = 64 * 2**20

# A few images of the same kind, for smoke runs and tests: registered as ``shapes_small_*``.
SMALL = ShapesConfig(
    train_images=64,
    val_images=16,
    keypoints_train_images=48,
    keypoints_val_images=12,
    cls_train_per_class=8,
    cls_val_per_class=4,
)

# As many images as the full-size detectors of configs/study/large need: ``shapes_large_{train,val}``.
LARGE = ShapesConfig(
    size=256,
    train_images=20_000,
    val_images=2_000,
    num_categories=44,
    imbalance=100.0,
    max_objects=10,
)

# Okabe and Ito's palette (RGB), told apart with every kind of colour vision.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def register_all() -> None:
    """Register ``shapes_{train,val}`` and ``shapes_keypoints_{train,val}``; may be called again.

    The same four names with ``shapes_small_`` in front are a few images of each, for smoke runs and tests; with
    ``shapes_large_`` they are 20,000 scenes of 256 px in 44 categories with a long tail, for detectors of full size.
    ``shapes_voc_{trainval,test}`` are the scenes in the layout and with the metric of PASCAL VOC 2007; they are there after
    ``python -m lth_det.data.shapes --voc datasets/shapes_voc``.

    Nothing is drawn and no file is touched: the data set is made when its dicts are first asked
    for. The catalogs of Detectron2 are global, which is why this is a call and not an import effect.
    """
    for split in SPLITS.values():
        if split.kind != CLASSIFICATION:
            register_shapes(PREFIX + split.name, split, ShapesConfig())
            register_shapes(f"{PREFIX}small_{split.name}", split, SMALL)
            register_shapes(f"{PREFIX}large_{split.name}", split, LARGE)
    for split_name in ("trainval", "test"):
        register_shapes_voc(split_name)


def register_shapes(name: str, split: Split, config: ShapesConfig) -> None:
    """Register one split of one config under a name, unless the name is taken.

    Args:
        name: Name in the catalogs.
        split: One of ``SPLITS`` that is not a classification split.
        config: What is drawn.
    """
    if name in DatasetCatalog.list():
        return

    folder = dataset_folder(config)  # decided once: loader and metadata name the same files

    def load() -> list[dict[str, Any]]:
        ensure_shapes(config, home=folder.parent)
        keys = ["keypoints", "num_keypoints"] if split.kind == KEYPOINTS else None
        json_file, image_root = str(folder / split.annotations), str(folder / split.image_dir)
        return list(load_coco_json(json_file, image_root, name, keys))

    DatasetCatalog.register(name, load)
    if split.kind == KEYPOINTS:
        names = [FIGURE]
        skeleton = [(a, b, _COLOURS[k % 7]) for k, (a, b) in enumerate(SKELETON)]
        MetadataCatalog.get(name).set(
            keypoint_names=list(KEYPOINT_NAMES),
            keypoint_flip_map=list(KEYPOINT_FLIP_PAIRS),
            keypoint_connection_rules=skeleton,
        )
    else:
        names = [category.name for category in config.categories]
    MetadataCatalog.get(name).set(
        json_file=str(folder / split.annotations),
        image_root=str(folder / split.image_dir),
        shapes_config=config,
        evaluator_type="coco",
        thing_classes=names,
        thing_colors=[_COLOURS[k % 7] for k in range(len(names))],
        thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(names))},
    )


def register_shapes_voc(split: str, folder: Path | None = None) -> None:
    """Register ``shapes_voc_<split>``, the scenes of ``shapes`` as PASCAL VOC, unless the name is taken.

    Args:
        split: ``trainval`` or ``test``.
        folder: where they are; None: ``shapes_voc`` below ``DETECTRON2_DATASETS``.
    """
    name = f"{PREFIX}voc_{split}"
    if name in DatasetCatalog.list():
        return
    if folder is None:
        folder = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser() / "shapes_voc"
    classes = tuple(category.name for category in ShapesConfig().categories)
    register_pascal_voc(name, str(folder), split, 2007, class_names=classes)
    MetadataCatalog.get(name).set(
        evaluator_type="pascal_voc",
        made_by=f"python -m lth_det.data.shapes --voc {folder}",
        thing_colors=[_COLOURS[k % 7] for k in range(len(classes))],
    )


def check_dataset_available(name: str) -> None:
    """Make sure that a registered data set can be read; draw it if it is one of ours.

    Args:
        name: Name in Detectron2's catalog.

    Raises:
        DataError: The name is not registered, its files are not where they are expected, or its
            annotation file is damaged.
    """
    if name not in DatasetCatalog.list():
        raise DataError(
            f"The data set '{name}' is not registered; known are, for example, shapes_train and "
            "coco_2017_train."
        )
    metadata = MetadataCatalog.get(name)
    config = metadata.get("shapes_config")
    if config is not None:
        ensure_shapes(config, home=Path(metadata.json_file).parents[2])
        return
    for key in ("json_file", "image_root", "dirname"):
        path = metadata.get(key)
        if path and "://" not in path and not Path(path).exists():
            raise DataError(_missing(name, path, metadata.get("made_by")))
    if metadata.get("dirname"):
        image_list = Path(metadata.dirname) / "ImageSets" / "Main" / f"{metadata.split}.txt"
        if not image_list.is_file():
            raise DataError(_missing(name, str(image_list), metadata.get("made_by")))
        check_voc_names(image_list)
    json_file = metadata.get("json_file")
    if json_file and "://" not in json_file:
        _check_json(Path(json_file), metadata.get("image_root"))


def _missing(name: str, path: str, made_by: str | None = None) -> str:
    if made_by:
        return f"The data set '{name}' is expected at {path}, which does not exist; make it with: {made_by}"
    root = os.environ.get("DETECTRON2_DATASETS")
    where = f"DETECTRON2_DATASETS is {root}" if root else "DETECTRON2_DATASETS is not set"
    return (
        f"The data set '{name}' is expected at {path}, which does not exist ({where}); put it there "
        "(datasets/README.md shows the folders), or run on the embedded data set with "
        "DATASETS.TRAIN \"('shapes_train',)\" DATASETS.TEST \"('shapes_val',)\"."
    )


def _check_json(path: Path, image_root: str | None) -> None:
    try:
        with path.open("rb") as handle:
            start, size = handle.read(1), path.stat().st_size
            handle.seek(max(0, size - 16))
            end = handle.read().rstrip()
        if start != b"{" or not end.endswith(b"}"):
            raise ValueError("it does not start with { and end with }")
        if size > _PARSED_BYTES:
            check_image_names(path, None, image_root)
            return
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as JSON ({error}); the file is damaged: fetch or unpack it again."
        ) from error
    if not {"images", "categories"} <= content.keys():
        raise DataError(f"{path} is not a COCO annotation file: it lacks 'images' or 'categories'.")
    check_image_names(path, content, image_root)
