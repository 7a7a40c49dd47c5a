"""Arrays out of a pickle of Detectron2's model zoo, without running what the file names.

The zoo's MSRA ResNets are Python 2 pickles of dictionaries of NumPy arrays, which ``torch.load(weights_only=True)`` does
not read. A pickle can name any function to be called while it is loaded; this reader knows only the few that rebuild
arrays and ordered dictionaries, and refuses all others.
"""

import collections
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import DataError
from lth_det.tickets.checkpoint_file import UNREADABLE

_ARRAY = np.zeros(1, np.float32).__reduce__()  # (rebuild function, its arguments, state)
_SCALAR = np.float32(0).__reduce__()[0]
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, which Python 3 writes into old pickles for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{(module, "_reconstruct"): _ARRAY[0] for module in _MODULES},
    **{(module, "scalar"): _SCALAR for module in _MODULES},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def load_array_pickle(path: str | os.PathLike[str]) -> Any:
    """Return what a ``.pkl`` file of Detectron2's model zoo holds: arrays, numbers, texts, lists and dictionaries.

    Raises:
        DataError: the file cannot be read, or names anything else.
    """
    try:
        with Path(path).open("rb") as handle:
            return _ArrayUnpickler(handle, encoding="latin1").load()
    except (*UNREADABLE, RecursionError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).split("\n", maxsplit=1)[0]
        raise DataError(
            f"{path} cannot be read as a pickle of NumPy arrays ({reason}); load it where you trust it and save its "
            "arrays as tensors: torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, 'weights.pth')."
        ) from error


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
