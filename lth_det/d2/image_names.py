"""Whether the images that annotation files name lie in the folder of the data set."""

import json
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lth_det.errors import DataError
from lth_det.io import inside


def _written(key: str) -> bytes:
    """Return a pattern of all ways in which JSON may write a key: each letter as itself or by its number."""
    letters = (rb"(?:%b|(?i:\\u00%02x))" % (re.escape(one).encode(), ord(one)) for one in key)
    return b"".join(letters)


# In a file too large to be parsed for a check: names that begin at the root, hold "..", or could hide either by escapes.
# ``coco_url`` is where LVIS has its names.
_SUSPECT = re.compile(
    rb'"(?:(%b)|%b)"\s*:\s*"((?=/|[^"]*(?:\.\.|\\))(?:[^"\\]|\\.)*)"'
    % (_written("coco_url"), _written("file_name")),
    re.DOTALL,
)


def check_image_names(json_file: Path, content: Any, image_root: str | None) -> None:
    """Do nothing if all images lie below ``image_root``; without a root any name is the user's own choice.

    Detectron2 opens whatever a name leads to: an annotation file from elsewhere must not choose files outside.

    Args:
        json_file: the annotation file.
        content: its value; ``None`` = it was too large to be parsed, and its text is searched.
        image_root: the folder of the images.

    Raises:
        DataError: a name leads out of the folder.
    """
    if not image_root:
        return
    names = _suspects(json_file) if content is None else _names(content)
    root = os.path.normpath(os.path.abspath(image_root))
    for name in names:
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(root.rstrip(os.sep) + os.sep):
            raise DataError(
                f"{json_file} names the image {name[:100]!r}, which does not lie in {image_root}; if the file is yours, "
                "write names relative to that folder."
            )


def check_voc_names(image_list: Path) -> None:
    """Do nothing if all images of a PASCAL VOC list are names without a way out of the data set's folders.

    Raises:
        DataError: one is not, or the list cannot be read.
    """
    try:
        text = image_list.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{image_list} cannot be read ({error}); it is a list of image names."
        ) from error
    for name in text.split():
        if inside(".", name) is None:
            raise DataError(
                f"{image_list} names the image {name[:100]!r}, which does not lie in the folders of the data set; remove it."
            )


def _names(content: Any) -> Iterator[str]:
    images = content.get("images")
    for image in images if isinstance(images, list) else ():
        if not isinstance(image, dict):
            continue
        if isinstance(image.get("file_name"), str):
            yield image["file_name"]
        if isinstance(image.get("coco_url"), str):
            yield from _of_url(image["coco_url"])


def _of_url(url: str) -> Iterator[str]:
    """Yield the name that Detectron2 takes from ``coco_url``, folder and file, if it can lead out."""
    parts = url.split("/")[-2:]
    if ".." in parts:
        yield "/".join(parts)


def _suspects(json_file: Path) -> Iterator[str]:
    with (
        json_file.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        for found in _SUSPECT.finditer(text):
            try:
                name = json.loads(f'"{found[2].decode(errors="replace")}"', strict=False)
            except ValueError:
                continue  # no JSON: whoever reads the file says so
            yield from (name,) if found[1] is None else _of_url(name)
