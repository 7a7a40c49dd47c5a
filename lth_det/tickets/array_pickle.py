"""Arrays out of a pickle, without running what the file names.

Two old formats come as pickles: the MSRA ResNets of Detectron2's model zoo (dictionaries of NumPy arrays written by Python 2,
which ``torch.load(weights_only=True)`` does not read) and the Python version of CIFAR-10. A pickle can name any function to
be called while it is loaded; this reader knows only the few that rebuild arrays and ordered dictionaries, and refuses all
others.
"""

import collections
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import DataError
from lth_det.tickets.checkpoint_file import UNREADABLE

_SAVE_TENSORS = (
    "load it where you trust it and save its arrays as tensors: torch.save({name: torch.from_numpy(a) for name, a in "
    "arrays.items()}, 'weights.pth')"
)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for ``_codecs.encode``, which Python 3 writes into old pickles for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    array = np.zeros(1, np.float32)
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    # Where these are depends on the version of NumPy: the installed one is asked.
    for package in ("numpy.core", "numpy._core"):
        found[f"{package}.multiarray", "_reconstruct"] = array.__reduce__()[0]
        found[f"{package}.multiarray", "scalar"] = array[0].__reduce__()[0]
        found[f"{package}.numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
    return found


_ALLOWED = _allowed()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def load_array_pickle(
    path: str | os.PathLike[str],
    *,
    encoding: Literal["latin1", "bytes"] = "latin1",
    what: str = "a pickle of NumPy arrays",
    advice: str = _SAVE_TENSORS,
) -> Any:
    """Return what a pickle of arrays, numbers, texts, lists and dictionaries holds.

    Args:
        path: the file.
        encoding: how strings of Python 2 are returned: as text, or as the bytes they are.
        what: what the file should be, for the error.
        advice: what to do about another file, for the error.

    Raises:
        DataError: the file cannot be read, or names anything else.
    """
    try:
        with Path(path).open("rb") as handle:
            return _ArrayUnpickler(handle, encoding=encoding).load()
    except (*UNREADABLE, RecursionError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).split("\n", maxsplit=1)[0]
        raise DataError(f"{path} cannot be read as {what} ({reason}); {advice}.") from error


def read_array_pickle(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the arrays of a ``.pkl`` file of Detectron2's model zoo as tensors, by their names in the file.

    Both layouts are read: a dictionary of arrays (alone or under ``blobs``, as Caffe2 wrote them) and
    ``{"model": ..., "__author__": ...}``. Entries that are no arrays, and momentum, are left out.

    Raises:
        DataError: the file cannot be read, holds no arrays, or names anything that is no array.
    """
    content = load_array_pickle(path)
    for key in ("model", "blobs"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    entries = content.items() if isinstance(content, Mapping) else ()
    arrays = {
        str(name): torch.from_numpy(np.ascontiguousarray(value))
        for name, value in entries
        if isinstance(value, np.ndarray)
        and value.dtype.kind in "fiu"
        and not str(name).endswith("_momentum")
    }
    if not arrays:
        raise DataError(f"{path} holds no NumPy arrays; give a file such as MSRA/R-50.pkl.")
    return arrays
