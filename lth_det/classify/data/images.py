"""What a data set is once it is read: images by index, labels, class names."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image

from lth_det.errors import DataError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


class Images(Protocol):
    """Images of one split in a fixed order."""

    @property
    def labels(self) -> Labels:
        """(N,) int64, class numbers from 0."""

    def __getitem__(self, index: int) -> Pixels:
        """Return image ``index``: (H, W, 3) RGB uint8."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images in memory.

    Attributes:
        pixels: (N, H, W, 3) or (N, H, W) uint8; the latter are repeated to three channels when read.
        labels: (N,) int64.
    """

    pixels: Pixels
    labels: Labels

    def __getitem__(self, index: int) -> Pixels:
        """Return image ``index``: (H, W, 3) RGB uint8."""
        image = self.pixels[index]
        return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


@dataclasses.dataclass(frozen=True, eq=False)
class FileImages:
    """Images in files, decoded when they are asked for.

    Attributes:
        folder: of the split.
        names: (N,) paths of image files (any format that Pillow reads) below the folder, UTF-8 in one array: a million
            Python strings would be copied into every loading process.
        labels: (N,) int64.
    """

    folder: Path
    names: np.ndarray[Any, np.dtype[np.bytes_]]
    labels: Labels

    def __getitem__(self, index: int) -> Pixels:
        """Return image ``index``: (H, W, 3) RGB uint8.

        Raises:
            DataError: the file cannot be read as an image.
        """
        path = self.folder / os.fsdecode(self.names[index])
        try:
            with PIL.Image.open(path) as image:
                pixels: Pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} cannot be read as an image ({error}); replace or delete the file."
            ) from error
        return pixels


def in_memory(images: Images) -> ArrayImages:
    """Return images of one size as an array.

    Raises:
        DataError: an image cannot be read, or they differ in size.
    """
    pixels = [images[index] for index in range(len(images.labels))]
    shapes = {image.shape for image in pixels}
    if len(shapes) != 1:
        raise DataError(f"The images differ in size ({sorted(shapes)[:3]}); all must be equal.")
    return ArrayImages(np.stack(pixels), images.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationData:
    """A data set: training and validation images with the same classes.

    Attributes:
        name: as in ``data.name``.
        classes: class names; number = position.
        train: training images.
        val: validation images.
        folder: where it was read from.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    folder: Path


def select_classes(data: ClassificationData, names: Sequence[str]) -> ClassificationData:
    """Return the data set reduced to ``names``, numbered in that order; order of images kept.

    Raises:
        DataError: a name is not a class, or is there twice.
    """
    unknown = [name for name in names if name not in data.classes]
    if unknown or len(set(names)) != len(names):
        wrong = ", ".join(unknown) or "a class twice"
        raise DataError(
            f"data.options.classes names {wrong}; {data.name} has {', '.join(data.classes)}."
        )
    number = {data.classes.index(name): place for place, name in enumerate(names)}
    return dataclasses.replace(
        data,
        classes=tuple(names),
        train=_Subset.of(data.train, number),
        val=_Subset.of(data.val, number),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Subset:
    images: Images
    indices: np.ndarray[Any, np.dtype[np.int64]]
    labels: Labels

    @classmethod
    def of(cls, images: Images, number: dict[int, int]) -> "_Subset":
        indices = np.flatnonzero(np.isin(images.labels, list(number)))
        labels = np.array([number[int(label)] for label in images.labels[indices]], dtype=np.int64)
        return cls(images, indices, labels)

    def __getitem__(self, index: int) -> Pixels:
        return self.images[int(self.indices[index])]
