"""Whether the images that an annotation file names lie in the folder of the data set."""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lth_det.errors import DataError

# In a file too large to be parsed for a check: names that begin at the root, hold "..", or could hide either.
_SUSPECT = re.compile(rb'"file_name"\s*:\s*"(/[^"]*|[^"]*(?:\.\.|\\u002[eEfF])[^"]*)"')


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


def _names(content: Any) -> Iterator[str]:
    images = content.get("images")
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            yield image["file_name"]


def _suspects(json_file: Path) -> Iterator[str]:
    with (
        json_file.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        for found in _SUSPECT.finditer(text):
            name = found[1].decode(errors="replace")
            yield re.sub(r"\\u002[eE]", ".", re.sub(r"\\u002[fF]|\\/", "/", name))
