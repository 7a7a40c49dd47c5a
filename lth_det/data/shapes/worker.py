"""Draws a share of the images: in this process, or in helpers started as ``python -m`` commands.

Helpers are plain commands and not ``multiprocessing``: a forked copy of a process that runs torch
may hang, and a spawned one needs a guarded main module, which a user's script need not have.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import lth_det
from lth_det.data.shapes.config import ShapesConfig
from lth_det.data.shapes.paint import Image
from lth_det.data.shapes.splits import SPLITS, Split, draw_image, image_count
from lth_det.errors import DataError

_LOG = logging.getLogger(__name__)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_LOG_EVERY = 3.0  # seconds
_IMAGES_PER_HELPER = 300  # below this a helper's start takes longer than its share


@dataclass(frozen=True)
class WrittenImage:
    """What the annotation file and the manifest need to know of one written image.

    Attributes:
        file_name: Path relative to the split's image folder.
        height, width: In pixels.
        file_bytes: Size of the file.
        pixels_sha256: ``pixel_digest`` in hex.
        annotations: As in ``DrawnImage``.
    """

    file_name: str
    height: int
    width: int
    file_bytes: int
    pixels_sha256: str
    annotations: list[dict[str, Any]]


def pixel_digest(name: str, image: Image) -> str:
    """Return the SHA-256 (hex) of a file name and its pixels (BGR), whatever the encoding."""
    digest = hashlib.sha256(f"{name}\n{image.shape}\n".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def write_all(folder: Path, config: ShapesConfig, workers: int) -> dict[str, list[WrittenImage]]:
    """Draw and write all images of all splits.

    Args:
        folder: Folder of the data set.
        config: What is drawn.
        workers: Processes at most; 0: as many as this process may use cores.

    Returns:
        Split name -> its images in order.

    Raises:
        DataError: A helper process failed.
        OSError: A file cannot be written.
    """
    total = sum(image_count(split, config) for split in SPLITS.values())
    count = max(1, min(workers or _usable_cores(), total // _IMAGES_PER_HELPER))
    helpers = [_start_helper(folder, config, share, count) for share in range(1, count)]
    try:
        shares = [_write_share(folder, config, 0, count)]
        shares += [_finish_helper(helper) for helper in helpers]
    finally:
        for helper in helpers:
            if helper.poll() is None:
                helper.kill()
            helper.communicate()
    return {name: _interleave([share[name] for share in shares]) for name in SPLITS}


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _interleave(shares: list[list[WrittenImage]]) -> list[WrittenImage]:
    count = sum(len(share) for share in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(count)]


def _write_share(
    folder: Path, config: ShapesConfig, share: int, count: int
) -> dict[str, list[WrittenImage]]:
    """Write the images whose index in their split is ``share`` modulo ``count``."""
    jobs = [
        (split, index)
        for split in SPLITS.values()
        for index in range(share, image_count(split, config), count)
    ]
    written: dict[str, list[WrittenImage]] = {name: [] for name in SPLITS}
    for split, index in _logged(jobs, count, quiet=share > 0):
        written[split.name].append(_write_image(folder, config, split, index))
    return written


def _logged(
    jobs: list[tuple[Split, int]], count: int, *, quiet: bool
) -> Iterator[tuple[Split, int]]:
    started = last = time.monotonic()
    for done, job in enumerate(jobs):
        now = time.monotonic()
        if now - last > _LOG_EVERY and not quiet:
            last = now
            left = (now - started) / done * (len(jobs) - done)
            _LOG.info("Drawn %d of %d images, %.0f s left.", done * count, len(jobs) * count, left)
        yield job


def _write_image(folder: Path, config: ShapesConfig, split: Split, index: int) -> WrittenImage:
    drawn = draw_image(split, config, index)
    path = folder / split.image_dir / drawn.file_name
    _, encoded = cv2.imencode(".png", drawn.image, _PNG)
    path.write_bytes(encoded.tobytes())
    height, width = drawn.image.shape[:2]
    digest = pixel_digest(drawn.file_name, drawn.image)
    return WrittenImage(drawn.file_name, height, width, len(encoded), digest, drawn.annotations)


def _start_helper(
    folder: Path, config: ShapesConfig, share: int, count: int
) -> subprocess.Popen[bytes]:
    # The helper must find this very package, however this process found it.
    package_root = str(Path(lth_det.__file__).parents[1])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    order = {"folder": str(folder), "config": config.to_dict(), "share": share, "count": count}
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def _finish_helper(helper: subprocess.Popen[bytes]) -> dict[str, list[WrittenImage]]:
    out, err = helper.communicate()
    if helper.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DataError(f"A process that drew the shapes data set failed: {lines[-1]}")
    content = json.loads(out)
    return {name: [WrittenImage(**item) for item in items] for name, items in content.items()}


def _main() -> None:
    order = json.loads(sys.argv[1])
    written = _write_share(
        Path(order["folder"]), ShapesConfig(**order["config"]), order["share"], order["count"]
    )
    content = {name: [asdict(item) for item in items] for name, items in written.items()}
    sys.stdout.write(json.dumps(content))


if __name__ == "__main__":
    _main()
