"""Whole files, packed with gzip or not."""

import gzip
import zlib
from pathlib import Path

from lth_det.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"


def find_file(folder: Path, *names: str) -> Path:
    """Return the first of ``names`` in ``folder`` that is there, as it is or with ``.gz``.

    Raises:
        DataError: none is.
    """
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise DataError(f"{folder} lacks {names[0]} (as it is or with .gz).")


def read_file(path: Path) -> bytes:
    """Return the content of a file, unpacked where it is packed (by its first bytes, whatever its name says).

    Raises:
        DataError: the file cannot be read, or its packed content is cut or damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == _GZIP_MAGIC else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}); download it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
