"""Files that are either whole or absent: temporary file in the same folder, fsync, rename."""

import contextlib
import errno
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from lth_det.errors import RunError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of ``path`` when the block ends without an error.

    The folder of ``path`` is made if needed. When the block raises, the temporary file is removed and ``path`` keeps
    its old content. The data and the folder entry are flushed to disk before this returns.

    Raises:
        RunError: the folder cannot be made or written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
        )
    except OSError as error:
        raise RunError(_sentence(target, error)) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        # mkstemp makes the file private; results are as readable as any other file of the user.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise RunError(_sentence(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write ``content`` (text is encoded as UTF-8) to ``path``; a crash leaves the old file or the new one.

    Raises:
        RunError: the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys; NaN and infinities become ``null``.

    Equal values give equal bytes.

    Raises:
        RunError: the file cannot be written.
    """
    atomic_write(path, to_json(value))


def to_json(value: Any) -> str:
    """Return ``value`` as indented JSON text with sorted keys, NaN and infinities as ``null``, and a last newline."""
    return json.dumps(_finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n"


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading bytes; folders, pipes and devices, which may never end, are refused.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    # Looked at before it is opened: to open a pipe is to wait for its writer.
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(path).open("rb")


def inside(folder: str | os.PathLike[str], name: str) -> Path | None:
    """Return the path of ``name`` below ``folder``; ``None`` if it is absolute, leads out of it, or can be no path.

    For names in files from other people: ``../../secret`` must not be read because a file says so. Symbolic links that
    the user's own folder holds are followed.
    """
    relative = Path(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        return None
    return Path(folder) / relative


def memory_bytes() -> int:
    """Return the memory of this machine in bytes, 2**40 where the system does not say."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2**40
    return pages if pages > 0 else 2**40


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    # Without this the rename itself can be lost in a power cut. Some file systems refuse it: then it is not needed.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sentence(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path} cannot be written ({reason}); free some space or choose another output folder."
