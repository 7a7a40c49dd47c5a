"""Reads the pickles of CIFAR-10's Python version without running what a pickle can ask for."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.errors import DataError


def _functions() -> dict[tuple[str, str], Any]:
    """Return what a pickle of arrays and strings may name: written by NumPy on Python 2, or by today's."""
    array = np.zeros(1, dtype=np.uint8)
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
    }
    # Which module holds these two depends on the version of NumPy: the installed one is asked.
    for module in ("numpy.core", "numpy._core"):
        found[f"{module}.multiarray", "_reconstruct"] = array.__reduce__()[0]
        found[f"{module}.numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
    return found


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # How Python 3 writes bytes into pickles that Python 2 can read.
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    OverflowError,
    MemoryError,
    UnicodeError,
)


class _Restricted(pickle.Unpickler):
    """Finds arrays and strings only."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        found = _functions().get((module_name, global_name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}, which no image batch needs"
            )
        return found


def read_batch(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle that holds arrays, numbers, strings, lists and dictionaries only.

    Keys are returned as text. Nothing else is ever imported or called: a pickle that asks for more is refused.

    Raises:
        DataError: the file is missing, damaged, asks for other objects, or holds no dictionary.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        value = _Restricted(io.BytesIO(content), encoding="bytes").load()
    except _DAMAGED as error:
        raise DataError(
            f"{path} is not a batch of CIFAR-10 ({error}); download it again, or use the binary version."
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no dictionary; it is not a batch of CIFAR-10.")
    return {key.decode() if isinstance(key, bytes) else str(key): v for key, v in value.items()}
