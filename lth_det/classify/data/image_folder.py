"""The ImageNet layout: ``train/<class>/*`` and ``val/<class>/*``."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lth_det.classify.data.images import ClassificationData, FileImages
from lth_det.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})


def read_image_folder(
    folder: Path, *, train: str = "train", val: str = "val", name: str = "image_folder"
) -> ClassificationData:
    """Return a data set whose folders are its classes, in the order of their names (as torchvision's ``ImageFolder``).

    Args:
        folder: holds the two splits.
        train: folder of the training split.
        val: folder of the validation split.
        name: of the data set, for messages and results.

    Raises:
        DataError: a split has no class or a class no image, or the two splits have different classes.
    """
    classes = _classes(folder / train)
    others = _classes(folder / val)
    if classes != others:
        different = sorted(set(classes) ^ set(others))
        raise DataError(
            f"{folder / train} and {folder / val} must hold the same class folders, but differ in "
            f"{', '.join(different[:5])}{' ...' if len(different) > 5 else ''}."
        )
    return ClassificationData(
        name, classes, _split(folder / train, classes), _split(folder / val, classes), folder
    )


def _classes(folder: Path) -> tuple[str, ...]:
    try:
        names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); it must hold one folder of images for each class."
        ) from error
    if not names:
        raise DataError(f"{folder} has no class folders; it must hold one folder for each class.")
    return names


def _split(folder: Path, classes: tuple[str, ...]) -> FileImages:
    names: list[bytes] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        found = sorted(_images(folder, name))
        if not found:
            raise DataError(
                f"{folder / name} holds no image ({', '.join(sorted(SUFFIXES))}); add images or delete the folder."
            )
        names += found
        labels += [number] * len(found)
    return FileImages(folder, np.array(names), np.array(labels, dtype=np.int64))


def _images(folder: Path, name: str) -> Iterator[bytes]:
    for place, _, files in os.walk(folder / name):
        for file in files:
            if os.path.splitext(file)[1].lower() in SUFFIXES:
                yield os.fsencode(Path(place, file).relative_to(folder).as_posix())
