"""A report folder that is either the old one or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lth_det.errors import RunError


@contextlib.contextmanager
def replace_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of ``target`` when the block ends without an error.

    When the block raises, the temporary folder is removed and ``target`` keeps its old content.

    Raises:
        RunError: a folder or file cannot be written (no space, no permission), or ``target`` is a file.
    """
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise RunError(
            f"{path} is a file, but the report needs a folder there; move the file away."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise RunError(_sentence(path, error)) from error
    try:
        yield temporary
        # mkdtemp makes the folder private; a report is as readable as the other files of the user.
        temporary.chmod(0o777 & ~_umask())
        _swap(temporary, path)
    except OSError as error:
        raise RunError(_sentence(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Move ``new`` to ``target``; an existing ``target`` is set aside first and comes back on failure."""
    aside = new.with_suffix(".old")
    if target.exists():
        target.replace(aside)
    try:
        new.replace(target)
    except OSError:
        if aside.exists():
            aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sentence(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"The report {path} cannot be written ({reason}); free some space or choose another output folder."
