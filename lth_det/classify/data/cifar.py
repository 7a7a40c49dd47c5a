"""CIFAR-10 as it is published: the binary version, or the Python version."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.classify.data.images import ArrayImages, ClassificationData, Labels, Pixels
from lth_det.errors import DataError
from lth_det.tickets.array_pickle import load_array_pickle

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SIDE = 32
_RECORD = 1 + 3 * SIDE * SIDE  # label, then red, green and blue planes by rows
_BINARY, _PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"

Batch = tuple[Pixels, Labels]


def read_cifar10(folder: Path) -> ClassificationData:
    """Return CIFAR-10: 32x32 images, training batches 1 to 5 and the test batch, in the files' order.

    Args:
        folder: holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` (the binary version first), or is one of them.

    Raises:
        DataError: a batch is missing or damaged, or is not CIFAR-10's.
    """
    for name, suffix, read in ((_BINARY, ".bin", _binary), (_PYTHON, "", _python)):
        for place in (folder / name, folder):
            if (place / f"data_batch_1{suffix}").is_file():
                train = [place / f"data_batch_{number}{suffix}" for number in range(1, 6)]
                val = [place / f"test_batch{suffix}"]
                return ClassificationData(
                    "cifar10", CLASSES, _joined(train, read), _joined(val, read), place
                )
    raise DataError(
        f"{folder} holds neither {_BINARY}/data_batch_1.bin nor {_PYTHON}/data_batch_1."
    )


def _joined(paths: Sequence[Path], read: Callable[[Path], Batch]) -> ArrayImages:
    batches = [read(path) for path in paths]
    labels = np.concatenate([batch[1] for batch in batches])
    return ArrayImages(np.concatenate([batch[0] for batch in batches]), labels)


def _binary(path: Path) -> Batch:
    try:
        raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    if not len(raw) or len(raw) % _RECORD:
        raise DataError(
            f"{path} has {len(raw)} bytes, which is no multiple of {_RECORD} (a label and an image); it is cut or no "
            "batch of CIFAR-10; download it again."
        )
    records = raw.reshape(-1, _RECORD)
    return _images(records[:, 1:]), _checked(records[:, 0].astype(np.int64), path)


def _python(path: Path) -> Batch:
    content = read_batch(path)
    data: Any = content.get("data")
    labels = content.get("labels")
    good = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2
    if not good or data.shape[1] != _RECORD - 1 or not isinstance(labels, list):
        raise DataError(
            f"{path} lacks data (N, {_RECORD - 1}) uint8 or a list of labels; it is no batch of CIFAR-10."
        )
    if len(labels) != len(data) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{path} has {len(data)} images, but {len(labels)} labels; it is damaged.")
    return _images(data), _checked(np.array(labels, dtype=np.int64), path)


def _images(rows: Pixels) -> Pixels:
    planes = rows.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _checked(labels: Labels, path: Path) -> Labels:
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(CLASSES):
        raise DataError(f"{path} has the label {labels.max()}; CIFAR-10 has 0 to 9.")
    return labels


def read_batch(path: Path) -> dict[str, Any]:
    """Return the dictionary in a batch of the Python version, its keys as text; no code of the file is run.

    Raises:
        DataError: the file is missing, damaged, asks for more than arrays, or holds no dictionary.
    """
    value = load_array_pickle(
        path,
        encoding="bytes",
        what="a batch of CIFAR-10",
        advice="download it again, or use the binary version",
    )
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no dictionary; it is not a batch of CIFAR-10.")
    return {key.decode() if isinstance(key, bytes) else str(key): v for key, v in value.items()}
