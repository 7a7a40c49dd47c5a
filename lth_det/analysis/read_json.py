"""Reading a JSON file once: bytes, hash and value, with a sentence for everything that can go wrong."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lth_det.analysis.columns import Source
from lth_det.errors import InputError


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read ({reason}); check the path.") from error


def parse_json(data: bytes, where: str) -> Any:
    """Return the value of JSON text; NaN and Infinity are read as floats, so that later checks can name them.

    Raises:
        InputError: not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not valid JSON ({error.msg} at line {error.lineno}, column {error.colno}); write the file again."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text; is it a JSON file?") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply to be a COCO file.") from None
    except ValueError as error:  # a whole number of more than 4,300 digits
        raise InputError(f"{where}: not usable JSON ({error}); write the file again.") from None


def source_of(path: str | os.PathLike[str] | None, data: bytes | None, records: int) -> Source:
    """Describe an input for the provenance part of a report."""
    if data is None:
        return Source(path=None, sha256=None, size=None, records=records)
    digest = hashlib.sha256(data).hexdigest()
    return Source(
        path=os.fspath(path) if path else None, sha256=digest, size=len(data), records=records
    )
