"""Draws a whole data set into a folder and records what was written."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lth_det.data.shapes.config import GENERATOR_VERSION, ShapesConfig
from lth_det.data.shapes.splits import CLASSIFICATION, SPLITS, Split, coco_categories
from lth_det.data.shapes.worker import WrittenImage, write_all
from lth_det.errors import DataError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

_LOG = logging.getLogger(__name__)


def build(folder: Path, config: ShapesConfig, *, workers: int = 0) -> dict[str, Any]:
    """Draw all splits into an existing empty folder; write the manifest last.

    Args:
        folder: Where to write; on failure it holds an incomplete data set without a manifest.
        config: What to draw.
        workers: Processes at most; 0: one for each core. The result does not depend on it.

    Returns:
        The manifest: format and generator version, config, per split its numbers and digests.

    Raises:
        DataError: The folder cannot be written, the disk is full, or a helper process failed.
    """
    started = time.monotonic()
    try:
        for split in SPLITS.values():
            _make_folders(folder, split, config)
        images = write_all(folder, config, workers)
        splits = {s.name: _write_annotations(folder, s, config, images) for s in SPLITS.values()}
        manifest = {
            "format_version": FORMAT_VERSION,
            "generator_version": GENERATOR_VERSION,
            "config": config.to_dict(),
            "splits": splits,
            "made_with": {
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "machine": platform.machine(),
            },
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"The shapes data set cannot be written to {folder} ({reason}); free some space or set "
            "LTH_DET_DATA to another folder."
        ) from error
    count = sum(record["images"] for record in splits.values())
    _LOG.info("Drew %d images in %.1f s.", count, time.monotonic() - started)
    return manifest


def digest_of_digests(digests: list[str]) -> str:
    """Return one SHA-256 (hex) for the pixel digests of a split's images, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _make_folders(folder: Path, split: Split, config: ShapesConfig) -> None:
    (folder / split.annotations).parent.mkdir(exist_ok=True)
    (folder / split.image_dir).mkdir()
    if split.kind == CLASSIFICATION:
        for category in config.categories:
            (folder / split.image_dir / category.name).mkdir()


def _write_annotations(
    folder: Path, split: Split, config: ShapesConfig, images: dict[str, list[WrittenImage]]
) -> dict[str, Any]:
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images[split.name], 1):
        size = {"width": image.width, "height": image.height}
        records.append({"id": number, "file_name": image.file_name} | size)
        for annotation in image.annotations:
            annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)
    content = {
        "info": {"description": f"shapes_{split.name}", "version": str(GENERATOR_VERSION)},
        "licenses": [],
        "categories": coco_categories(split, config),
        "images": records,
        "annotations": annotations,
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    (folder / split.annotations).write_bytes(text)
    return {
        "images": len(records),
        "objects": len(annotations),
        "image_dir": split.image_dir,
        "image_bytes": sum(image.file_bytes for image in images[split.name]),
        "pixels_sha256": digest_of_digests([i.pixels_sha256 for i in images[split.name]]),
        "annotations": split.annotations,
        "annotations_bytes": len(text),
        "annotations_sha256": hashlib.sha256(text).hexdigest(),
    }
