"""Draws a whole data set into a folder and records what was written."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lth_det.data.shapes.config import GENERATOR_VERSION, ShapesConfig
from lth_det.data.shapes.paint import Image
from lth_det.data.shapes.splits import (
    CLASSIFICATION,
    SPLITS,
    DrawnImage,
    Split,
    coco_categories,
    draw_image,
    image_count,
)
from lth_det.errors import DataError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

_LOG = logging.getLogger(__name__)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_BLOCK = 64  # images drawn before the log and the writers get their turn
_LOG_EVERY = 3.0  # seconds


def pixel_digest(name: str, image: Image) -> bytes:
    """Return the SHA-256 of a file name and its pixels (BGR bytes), independent of the encoding."""
    digest = hashlib.sha256(f"{name}\n{image.shape}\n".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.digest()


def build(folder: Path, config: ShapesConfig) -> dict[str, Any]:
    """Draw all splits into an existing empty folder; write the manifest last.

    Args:
        folder: Where to write; on failure it holds an incomplete data set without a manifest.
        config: What to draw.

    Returns:
        The manifest: format and generator version, config, per split its numbers and digests.

    Raises:
        DataError: The folder cannot be written, or the disk is full.
    """
    started = time.monotonic()
    total = sum(image_count(split, config) for split in SPLITS.values())
    progress = _Progress(total)
    try:
        splits = {s.name: _build_split(folder, s, config, progress) for s in SPLITS.values()}
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
    _LOG.info("Drew %d images in %.1f s.", total, time.monotonic() - started)
    return manifest


class _Progress:
    """Logs a line every few seconds."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._started = self._last = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < _LOG_EVERY:
            return
        self._last = now
        left = (now - self._started) / self._done * (self._total - self._done)
        _LOG.info("Drawing images: %d of %d, %.0f s left.", self._done, self._total, left)


def _build_split(
    folder: Path, split: Split, config: ShapesConfig, progress: _Progress
) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    digests: list[bytes] = []
    image_bytes = 0
    root = folder / split.image_dir
    for drawn, digest, size in _written(root, split, config, progress):
        images.append(_image_record(drawn, len(images) + 1))
        annotations += [
            {"id": len(annotations) + k, "image_id": len(images), **annotation}
            for k, annotation in enumerate(drawn.annotations, 1)
        ]
        digests.append(digest)
        image_bytes += size
    text = _annotation_file(split, config, images, annotations)
    path = folder / split.annotations
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    return {
        "images": len(images),
        "objects": len(annotations),
        "image_dir": split.image_dir,
        "image_bytes": image_bytes,
        "pixels_sha256": hashlib.sha256(b"".join(digests)).hexdigest(),
        "annotations": split.annotations,
        "annotations_bytes": len(text),
        "annotations_sha256": hashlib.sha256(text).hexdigest(),
    }


def _written(
    root: Path, split: Split, config: ShapesConfig, progress: _Progress
) -> Iterator[tuple[DrawnImage, bytes, int]]:
    """Yield every image of a split in order, written, with pixel digest and file size."""
    count = image_count(split, config)
    folders = {Path()}
    if split.kind == CLASSIFICATION:
        folders = {Path(category.name) for category in config.categories}
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    # Encoding, hashing and writing release the interpreter lock: they overlap with the drawing.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for first in range(0, count, _BLOCK):
            block = [draw_image(split, config, i) for i in range(first, min(count, first + _BLOCK))]
            jobs = [pool.submit(_write_image, root, drawn) for drawn in block]
            for drawn, job in zip(block, jobs, strict=True):
                yield drawn, *job.result()
            progress.add(len(block))


def _write_image(root: Path, drawn: DrawnImage) -> tuple[bytes, int]:
    _, encoded = cv2.imencode(".png", drawn.image, _PNG)
    (root / drawn.file_name).write_bytes(encoded.tobytes())
    return pixel_digest(drawn.file_name, drawn.image), len(encoded)


def _image_record(drawn: DrawnImage, number: int) -> dict[str, Any]:
    height, width = drawn.image.shape[:2]
    return {"id": number, "file_name": drawn.file_name, "width": width, "height": height}


def _annotation_file(
    split: Split,
    config: ShapesConfig,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
) -> bytes:
    content = {
        "info": {"description": f"shapes_{split.name}", "version": str(GENERATOR_VERSION)},
        "licenses": [],
        "categories": coco_categories(split, config),
        "images": images,
        "annotations": annotations,
    }
    return json.dumps(content, separators=(",", ":")).encode()
