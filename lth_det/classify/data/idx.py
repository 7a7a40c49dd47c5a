"""FashionMNIST (and MNIST) as published: idx files."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.classify.data.binary_file import find_file, read_file
from lth_det.classify.data.images import ArrayImages, ClassificationData
from lth_det.errors import DataError

FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_UNSIGNED_BYTE = 8


def read_fashion_mnist(folder: Path) -> ClassificationData:
    """Return FashionMNIST: 28x28 grey images; the files t10k-* are the validation split.

    Args:
        folder: holds the four idx files, or a folder ``FashionMNIST/raw`` with them, as torchvision leaves it.

    Raises:
        DataError: a file is missing, damaged, or has another format; or images and labels differ in number.
    """
    raw = folder / "FashionMNIST" / "raw"
    place = raw if raw.is_dir() else folder
    train, val = (_split(place, name) for name in ("train", "t10k"))
    return ClassificationData("fashion_mnist", FASHION_CLASSES, train, val, place)


def _split(folder: Path, name: str) -> ArrayImages:
    images_file = find_file(folder, f"{name}-images-idx3-ubyte", f"{name}-images.idx3-ubyte")
    labels_file = find_file(folder, f"{name}-labels-idx1-ubyte", f"{name}-labels.idx1-ubyte")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_file} has {len(images)} images, but {labels_file} has {len(labels)} labels; download both again."
        )
    if len(labels) and labels.max() >= len(FASHION_CLASSES):
        raise DataError(f"{labels_file} has the label {labels.max()}; FashionMNIST has 0 to 9.")
    return ArrayImages(images, labels.astype(np.int64))


def read_idx(path: Path, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the array of an idx file of unsigned bytes.

    The format (LeCun's MNIST page): two zero bytes, the type (8), the number of dimensions, each size as a big-endian
    32-bit number, then the values by rows.

    Raises:
        DataError: the file has other leading bytes, other dimensions, or another length than its sizes say.
    """
    content = read_file(path)
    start = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if content[:4] != start:
        raise DataError(
            f"{path} begins with {content[:4].hex(' ')}, not with {start.hex(' ')}; it is no idx file of unsigned bytes "
            f"in {dimensions} dimensions."
        )
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise DataError(f"{path} ends in its header; it is cut; download it again.")
    sizes = struct.unpack(f">{dimensions}I", content[4:head])
    count = int(np.prod(sizes, dtype=object))
    if len(content) - head != count:
        raise DataError(
            f"{path} holds {len(content) - head} values, but its header says {count}; it is cut; download it again."
        )
    values: np.ndarray[Any, np.dtype[np.uint8]] = np.frombuffer(content, np.uint8, offset=head)
    array: np.ndarray[Any, np.dtype[np.uint8]] = values.reshape(sizes).copy()
    return array
