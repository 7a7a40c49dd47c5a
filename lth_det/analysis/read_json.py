"""Reading a JSON file once: bytes, hash and value, with a sentence for everything that can go wrong."""

import hashlib
import json
import os
import re
from typing import Any

from lth_det.analysis.columns import Source
from lth_det.errors import InputError
from lth_det.io import memory_bytes, open_regular

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MEMORY_PER_BYTE = 4
"""A parsed file takes several times its size; one above this share of the memory is refused before it is read."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it cannot be read, is not a regular file, or is larger than a quarter of the memory.
    """
    try:
        with open_regular(path) as handle:
            size, memory = os.fstat(handle.fileno()).st_size, memory_bytes()
            if size > memory // _MEMORY_PER_BYTE:
                raise InputError(
                    f"{path}: has {size / 1e9:.1f} GB, too much for the {memory / 1e9:.0f} GB of memory of this machine; "
                    "split the file or use a larger machine."
                )
            return handle.read()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read ({reason}); check the path.") from error


def parse_json(data: bytes, where: str) -> Any:
    """Return the value of JSON text; NaN and Infinity are read as floats, so that later checks can name them.

    Raises:
        InputError: not JSON, not UTF-8, nested too deeply, or with half a character in a text.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"))
        if _SURROGATE.search(data):
            _require_characters(value)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not valid JSON ({error.msg} at line {error.lineno}, column {error.colno}); write the file again."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text; is it a JSON file?") from None
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: a text in it holds half a character (a lone surrogate); write the file again."
        ) from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply to be a COCO file.") from None
    except ValueError as error:  # a whole number of more than 4,300 digits
        raise InputError(f"{where}: not usable JSON ({error}); write the file again.") from None
    return value


def _require_characters(value: Any) -> None:
    # Such a text could be read here but neither printed nor written; pairs of surrogates have become characters.
    json.dumps(value, ensure_ascii=False).encode()


def source_of(path: str | os.PathLike[str] | None, data: bytes | None, records: int) -> Source:
    """Describe an input for the provenance part of a report."""
    if data is None:
        return Source(path=None, sha256=None, size=None, records=records)
    digest = hashlib.sha256(data).hexdigest()
    return Source(
        path=os.fspath(path) if path else None, sha256=digest, size=len(data), records=records
    )
