"""CIFAR-10 and CIFAR-100 as they are published: the binary version, or the Python version."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.classify.data import cifar_names
from lth_det.classify.data.images import ArrayImages, ClassificationData, Labels, Pixels
from lth_det.errors import DataError
from lth_det.tickets.array_pickle import load_array_pickle

SIDE = 32
_PIXELS = 3 * SIDE * SIDE  # red, green and blue planes by rows

Batch = tuple[Pixels, Labels]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What the files of a data set are called and hold.

    Attributes:
        name: of the data set here.
        title: in messages.
        classes: in the order of the labels.
        binary: folder of the binary version.
        python: folder of the Python version.
        train: names of the training files, without suffix.
        val: name of the other file.
        label_bytes: labels before the pixels of a binary record; the last one counts.
        label_key: of the labels in the Python version.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    binary: str
    python: str
    train: tuple[str, ...]
    val: str
    label_bytes: int
    label_key: str


_CIFAR10 = _Kind(
    name="cifar10",
    title="CIFAR-10",
    classes=cifar_names.CIFAR10,
    binary="cifar-10-batches-bin",
    python="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    val="test_batch",
    label_bytes=1,
    label_key="labels",
)
_CIFAR100 = _Kind(
    name="cifar100",
    title="CIFAR-100",
    classes=cifar_names.CIFAR100,
    binary="cifar-100-binary",
    python="cifar-100-python",
    train=("train",),
    val="test",
    label_bytes=2,  # one of 20 superclasses, then the class
    label_key="fine_labels",
)


def read_cifar10(folder: Path) -> ClassificationData:
    """Return CIFAR-10: 32x32 images, training batches 1 to 5 and the test batch, in the files' order.

    Args:
        folder: holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` (the binary version first), or is one of them.

    Raises:
        DataError: a batch is missing or damaged, or is not CIFAR-10's.
    """
    return _read(_CIFAR10, folder)


def read_cifar100(folder: Path) -> ClassificationData:
    """Return CIFAR-100 with its 100 fine classes, in the files' order.

    Args:
        folder: holds ``cifar-100-binary`` or ``cifar-100-python`` (the binary version first), or is one of them.

    Raises:
        DataError: a file is missing or damaged, or is not CIFAR-100's.
    """
    return _read(_CIFAR100, folder)


def _read(kind: _Kind, folder: Path) -> ClassificationData:
    readers: tuple[tuple[str, str, Callable[[_Kind, Path], Batch]], ...] = (
        (kind.binary, ".bin", _binary),
        (kind.python, "", _python),
    )
    for name, suffix, read in readers:
        for place in (folder / name, folder):
            if (place / f"{kind.train[0]}{suffix}").is_file():
                train = [read(kind, place / f"{file}{suffix}") for file in kind.train]
                val = [read(kind, place / f"{kind.val}{suffix}")]
                return ClassificationData(
                    kind.name, kind.classes, _joined(train), _joined(val), place
                )
    raise DataError(
        f"{folder} holds neither {kind.binary}/{kind.train[0]}.bin nor {kind.python}/{kind.train[0]}."
    )


def _joined(batches: Sequence[Batch]) -> ArrayImages:
    labels = np.concatenate([batch[1] for batch in batches])
    return ArrayImages(np.concatenate([batch[0] for batch in batches]), labels)


def _binary(kind: _Kind, path: Path) -> Batch:
    try:
        raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    record = kind.label_bytes + _PIXELS
    if not len(raw) or len(raw) % record:
        raise DataError(
            f"{path} has {len(raw)} bytes, which is no multiple of {record} (labels and an image); it is cut or no "
            f"batch of {kind.title}; download it again."
        )
    records = raw.reshape(-1, record)
    labels = records[:, kind.label_bytes - 1].astype(np.int64)
    return _images(records[:, kind.label_bytes :]), _checked(kind, labels, path)


def _python(kind: _Kind, path: Path) -> Batch:
    content = read_batch(path, kind.title)
    data: Any = content.get("data")
    labels = content.get(kind.label_key)
    good = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2
    if not good or data.shape[1] != _PIXELS or not isinstance(labels, list):
        raise DataError(
            f"{path} lacks data (N, {_PIXELS}) uint8 or a list of {kind.label_key}; it is no batch of {kind.title}."
        )
    if len(labels) != len(data) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{path} has {len(data)} images, but {len(labels)} labels; it is damaged.")
    return _images(data), _checked(kind, np.array(labels, dtype=np.int64), path)


def _images(rows: Pixels) -> Pixels:
    planes = rows.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _checked(kind: _Kind, labels: Labels, path: Path) -> Labels:
    last = len(kind.classes) - 1
    wrong = labels[(labels < 0) | (labels > last)]
    if len(wrong):
        raise DataError(f"{path} has the label {wrong[0]}; {kind.title} has 0 to {last}.")
    return labels


def read_batch(path: Path, title: str = "CIFAR-10") -> dict[str, Any]:
    """Return the dictionary in a batch of the Python version, its keys as text; no code of the file is run.

    Args:
        path: the file.
        title: the data set, for messages.

    Raises:
        DataError: the file is missing, damaged, asks for more than arrays, or holds no dictionary.
    """
    value = load_array_pickle(
        path,
        encoding="bytes",
        what=f"a batch of {title}",
        advice="download it again, or use the binary version",
    )
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no dictionary; it is not a batch of {title}.")
    return {key.decode() if isinstance(key, bytes) else str(key): v for key, v in value.items()}
