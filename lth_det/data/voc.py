"""Writes a COCO-format split in the layout of PASCAL VOC, as Detectron2's VOC loader reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cv2

from lth_det.errors import DataError
from lth_det.io import atomic_write

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def write_voc(
    annotations: Path,
    image_root: Path,
    folder: Path,
    *,
    split: str,
    names: Sequence[str] | None = None,
) -> int:
    """Write ``Annotations/*.xml``, ``JPEGImages/*.jpg`` and ``ImageSets/Main/<split>.txt``.

    Boxes are VOC's: 1-based and inclusive, so that a COCO box (x, y, w, h) becomes xmin = x + 1,
    ymin = y + 1, xmax = x + w, ymax = y + h. Crowd regions are left out, VOC has none. An object
    whose box touches the border is "truncated"; none is "difficult".

    Args:
        annotations: COCO annotation file.
        image_root: Folder of its images.
        folder: The VOC folder (for example ``VOC2007``), made if it is missing; further splits can
            be written into the same folder.
        split: Name of the image list; it is also the prefix of the image names.
        names: Class name for each category in the file's order, for example VOC's own so that
            ``voc_2007_*`` finds objects it knows; None: the file's names.

    Returns:
        The number of images.

    Raises:
        DataError: The annotation file or an image cannot be read, or ``names`` has the wrong length.
    """
    try:
        content = json.loads(annotations.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{annotations} cannot be read as COCO annotations ({error}).") from error
    categories = content["categories"]
    if names is not None and len(names) != len(categories):
        raise DataError(
            f"{annotations} has {len(categories)} categories, but {len(names)} names were given."
        )
    chosen = names or [category["name"] for category in categories]
    by_id = {c["id"]: name for c, name in zip(categories, chosen, strict=True)}
    objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd", 0):
            objects[annotation["image_id"]].append(annotation)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    file_ids = []
    for image in content["images"]:
        file_id = f"{split}_{Path(image['file_name']).stem}"
        _write_jpeg(image_root / image["file_name"], folder / "JPEGImages" / f"{file_id}.jpg")
        tree = _annotation_tree(file_id, image, objects[image["id"]], by_id)
        tree.write(folder / "Annotations" / f"{file_id}.xml", encoding="utf-8")
        file_ids.append(file_id)
    # Last, so that a list that is there names only what is there too.
    atomic_write(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(file_ids) + "\n")
    return len(file_ids)


def _write_jpeg(source: Path, target: Path) -> None:
    pixels = cv2.imread(str(source), cv2.IMREAD_COLOR) if source.is_file() else None
    if pixels is None:
        raise DataError(f"{source} cannot be read as an image.")
    target.write_bytes(cv2.imencode(".jpg", pixels, _JPEG)[1].tobytes())


def _annotation_tree(
    file_id: str,
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
) -> ET.ElementTree[ET.Element]:
    root = ET.Element("annotation")
    _add(root, "filename", f"{file_id}.jpg")
    size = ET.SubElement(root, "size")
    width, height = int(image["width"]), int(image["height"])
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, tag, str(value))
    for annotation in annotations:
        x, y, w, h = (round(value) for value in annotation["bbox"])
        cut = x <= 0 or y <= 0 or x + w >= width or y + h >= height
        node = ET.SubElement(root, "object")
        _add(node, "name", names[annotation["category_id"]])
        _add(node, "pose", "Unspecified")
        _add(node, "truncated", str(int(cut)))
        _add(node, "difficult", "0")
        box = ET.SubElement(node, "bndbox")
        for tag, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
            _add(box, tag, str(value))
    ET.indent(root)
    return ET.ElementTree(root)


def _add(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
