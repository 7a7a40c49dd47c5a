"""Where the data set lies, and that it is whole: made on first use, checked on every start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from lth_det.data.shapes.build import FORMAT_VERSION, MANIFEST, build, digest_of_digests
from lth_det.data.shapes.checksums import differing_splits
from lth_det.data.shapes.config import GENERATOR_VERSION, ShapesConfig
from lth_det.data.shapes.splits import SPLITS
from lth_det.data.shapes.worker import pixel_digest
from lth_det.errors import DataError

_LOG = logging.getLogger(__name__)
_TEMPORARY = ".making-"


def shapes_home() -> Path:
    """Return the folder that holds the data sets of this generator, one folder each.

    The first of these that can be used, with ``/shapes`` appended:

    1. ``$LTH_DET_DATA``, made if it is missing;
    2. ``$DETECTRON2_DATASETS``, or ``datasets`` in the current folder (Detectron2's own rule), if
       that folder exists and either can be written or already holds ``shapes``;
    3. ``$XDG_CACHE_HOME/lth_det``, or ``~/.cache/lth_det``.
    """
    explicit = os.environ.get("LTH_DET_DATA")
    if explicit:
        return Path(explicit).expanduser().absolute() / "shapes"
    shared = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser().absolute()
    if shared.is_dir() and ((shared / "shapes").is_dir() or _is_writable(shared)):
        return shared / "shapes"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "lth_det" / "shapes"


def _is_writable(folder: Path) -> bool:
    # For root os.access says yes to everything; a folder that nobody may write is meant to stay.
    any_write = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & any_write)


def dataset_folder(config: ShapesConfig, home: Path | None = None) -> Path:
    """Return the folder of one data set: ``v1`` for the default config, else ``v1-<config hash>``."""
    name = f"v{GENERATOR_VERSION}"
    if config != ShapesConfig():
        name += f"-{config.sha256()[:10]}"
    return (home or shapes_home()) / name


def ensure_shapes(
    config: ShapesConfig | None = None, *, home: Path | None = None, workers: int = 0
) -> Path:
    """Return the folder of a whole data set; draw it if it is missing or damaged.

    The check on every call is cheap (milliseconds): config, number and total size of the images,
    SHA-256 of the annotation files. ``verify_pixels`` reads everything. Safe with several processes
    at once: the data set is drawn into a temporary folder that is renamed when it is complete.

    Args:
        config: What to draw; None: the default.
        home: Folder of the data sets; None: ``shapes_home()``.
        workers: Processes that draw, at most; 0: one for each core. The result is the same.

    Raises:
        DataError: The folder cannot be written, or something else lies at its place.
    """
    config = config or ShapesConfig()
    folder = dataset_folder(config, home)
    if find_damage(folder, config) is None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent) as alone:
            damage = find_damage(folder, config)  # another process may have drawn it meanwhile
            if damage is not None:
                _replace(folder, config, damage, alone=alone, workers=workers)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"The shapes data set cannot be written to {folder} ({reason}); set LTH_DET_DATA to a "
            "folder that can be written."
        ) from error
    return folder


def find_damage(folder: Path, config: ShapesConfig) -> str | None:
    """Return what is wrong with a data set by the cheap check, None if nothing is.

    The text completes the sentence "the data set ...".
    """
    if not folder.exists():
        return "is not there"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format_version"] != FORMAT_VERSION or manifest["config"] != config.to_dict():
            return f"has a {MANIFEST} of another config"
        for name in SPLITS:
            damage = _split_damage(folder, manifest["splits"][name])
            if damage is not None:
                return damage
    except FileNotFoundError as error:
        return f"lacks {Path(error.filename).name}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"has an unreadable {MANIFEST}"
    return None


def _split_damage(folder: Path, record: dict[str, Any]) -> str | None:
    annotations = (folder / record["annotations"]).read_bytes()
    if hashlib.sha256(annotations).hexdigest() != record["annotations_sha256"]:
        return f"has a damaged {record['annotations']}"
    sizes = [os.stat(path).st_size for path in _images(folder / record["image_dir"])]
    if len(sizes) != record["images"] or sum(sizes) != record["image_bytes"]:
        return f"has missing or damaged images in {record['image_dir']}"
    return None


def _images(root: Path) -> Iterator[str]:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _images(Path(entry.path))
            else:
                yield entry.path


def verify_pixels(folder: Path) -> dict[str, str]:
    """Read every image and return split -> digest of its pixels.

    Raises:
        DataError: An image cannot be read, or a digest differs from the manifest's.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    digests = {}
    for name, record in manifest["splits"].items():
        images: list[str] = []
        for image in json.loads((folder / record["annotations"]).read_bytes())["images"]:
            path = folder / record["image_dir"] / image["file_name"]
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
            if pixels is None:
                raise DataError(
                    f"{path} cannot be read as an image; delete {folder} to draw it again."
                )
            images.append(pixel_digest(image["file_name"], pixels))
        digests[name] = digest_of_digests(images)
        if digests[name] != record["pixels_sha256"]:
            raise DataError(
                f"The images in {folder / record['image_dir']} are not the ones that were drawn; "
                f"delete {folder} to draw them again."
            )
    return digests


def _replace(folder: Path, config: ShapesConfig, damage: str, *, alone: bool, workers: int) -> None:
    if folder.exists():
        if damage == f"lacks {MANIFEST}" and any(folder.iterdir()):
            raise DataError(
                f"{folder} holds files but no {MANIFEST}, so it is not a data set of ours; move it "
                "away or set LTH_DET_DATA to another folder."
            )
        _LOG.warning("The data set in %s %s; it is drawn again.", folder, damage)
    else:
        _LOG.info("Drawing the shapes data set into %s (once).", folder)
    if alone:
        for left_over in folder.parent.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left_over, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
    try:
        manifest = build(temporary, config, workers=workers)
        if config == ShapesConfig():
            compare_with_stored(manifest)
        temporary.chmod(0o755)  # mkdtemp makes it private; a data set may be shared
        _swap(temporary, folder, config)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def compare_with_stored(manifest: dict[str, Any]) -> None:
    """Warn if the default data set was drawn with other bytes than the stored checksums."""
    names = differing_splits(manifest["generator_version"], manifest["splits"])
    if names:
        _LOG.warning(
            "This platform draws other bytes than the stored ones in %s: results will not be equal "
            "to published ones to the last digit, which is no error.",
            ", ".join(names),
        )


def _swap(temporary: Path, folder: Path, config: ShapesConfig) -> None:
    if folder.exists() and find_damage(folder, config) is not None:
        old = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
        os.replace(folder, old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        if find_damage(folder, config) is not None:  # else another process was faster: same bytes
            raise


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[bool]:
    """Hold the folder's lock; yields False where the file system has no locks.

    The lock only saves work. Without it two processes draw at once, and the slower one is dropped.
    """
    with (home / ".lock").open("a") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
            locked = True
        except (ImportError, OSError):
            locked = False
        yield locked  # closing the file releases the lock
