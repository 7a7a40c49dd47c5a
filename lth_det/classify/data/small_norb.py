"""SmallNORB as published: binary matrices in ``.mat`` files (not MATLAB's format)."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.classify.data.binary_file import find_file, read_file
from lth_det.classify.data.images import ArrayImages, ClassificationData
from lth_det.errors import DataError

CLASSES = ("animal", "human", "airplane", "truck", "car")
_TRAIN = "smallnorb-5x46789x9x18x6x2x96x96-training"
_TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing"
# Magic number of each element type, as on the data set's page (LeCun, Huang and Bottou 2004).
_TYPES: dict[int, np.dtype[Any]] = {
    0x1E3D4C51: np.dtype("<f4"),
    0x1E3D4C53: np.dtype("<f8"),
    0x1E3D4C54: np.dtype("<i4"),
    0x1E3D4C55: np.dtype("u1"),
    0x1E3D4C56: np.dtype("<i2"),
}
_LEAST_SIZES = 3  # a header has at least three sizes, whatever the number of dimensions


def read_small_norb(folder: Path) -> ClassificationData:
    """Return SmallNORB: 96x96 grey images of both cameras, each an image of its own with its object's label.

    24,300 pairs in each split make 48,600 images: left and right image of a pair follow each other. Mehta's 40k/10k
    split is another one, drawn by that paper; ours is the published one (train and test hold different toys).

    Args:
        folder: holds the files ``...-dat.mat`` and ``...-cat.mat``; ``...-info.mat`` is read where it is there, as a check.

    Raises:
        DataError: a file is missing, damaged, or has another format; or images and labels differ in number.
    """
    return ClassificationData(
        "small_norb", CLASSES, _split(folder, _TRAIN), _split(folder, _TEST), folder
    )


def _split(folder: Path, name: str) -> ArrayImages:
    images_file, labels_file = (find_file(folder, f"{name}-{kind}.mat") for kind in ("dat", "cat"))
    images = _expected(images_file, dimensions=4, kind="u1", what="pairs of images (N, 2, H, W)")
    labels = _expected(labels_file, dimensions=1, kind="<i4", what="categories (N,)")
    if images.shape[1] != 2:
        raise DataError(f"{images_file} has {images.shape[1]} cameras; SmallNORB has two.")
    if len(images) != len(labels):
        raise DataError(
            f"{images_file} has {len(images)} pairs, but {labels_file} has {len(labels)} labels; download both again."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        raise DataError(
            f"{labels_file} has labels from {labels.min()} to {labels.max()}; SmallNORB has 0 to 4."
        )
    info = [folder / f"{name}-info.mat{suffix}" for suffix in ("", ".gz")]
    for path in filter(Path.is_file, info):
        rows = _expected(path, dimensions=2, kind="<i4", what="facts (N, 4)")
        if rows.shape != (len(labels), 4):
            raise DataError(
                f"{path} has the shape {rows.shape}, but there are {len(labels)} pairs."
            )
    pixels = images.reshape(-1, *images.shape[2:])
    return ArrayImages(pixels, np.repeat(labels, 2).astype(np.int64))


def _expected(path: Path, *, dimensions: int, kind: str, what: str) -> np.ndarray[Any, Any]:
    array = read_matrix(path)
    if array.ndim != dimensions or array.dtype != np.dtype(kind):
        raise DataError(
            f"{path} holds {array.dtype} values of the shape {array.shape}, not {what} of {np.dtype(kind)}; it is "
            "another file."
        )
    return array


def read_matrix(path: Path) -> np.ndarray[Any, Any]:
    """Return the array of a SmallNORB file.

    The format: magic number of the element type, number of dimensions, sizes (at least three numbers: with fewer
    dimensions the rest are not used), all little-endian 32-bit; then the values by rows.

    Raises:
        DataError: the magic number is unknown, or the length does not fit the header.
    """
    content = read_file(path)
    if len(content) < 8:
        raise DataError(f"{path} ends in its header; it is cut; download it again.")
    magic, dimensions = struct.unpack_from("<II", content)
    kind = _TYPES.get(magic)
    if kind is None or not 1 <= dimensions <= 8:
        raise DataError(
            f"{path} begins with {content[:4].hex(' ')}, which is no magic number of SmallNORB's format; it is another "
            "file (MATLAB's .mat files are not read)."
        )
    head = 8 + 4 * max(_LEAST_SIZES, dimensions)
    if len(content) < head:
        raise DataError(f"{path} ends in its header; it is cut; download it again.")
    sizes = struct.unpack_from(f"<{dimensions}I", content, 8)
    count = int(np.prod(sizes, dtype=object))
    if len(content) - head != count * kind.itemsize:
        raise DataError(
            f"{path} holds {len(content) - head} bytes of values, but its header says {count * kind.itemsize}; it is cut; "
            "download it again."
        )
    values: np.ndarray[Any, Any] = np.frombuffer(content, dtype=kind, offset=head)
    array: np.ndarray[Any, Any] = values.reshape(sizes).copy()
    return array
