"""What a published study keeps of a sweep's folder: small figures and tables; no path of the machine that ran it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from lth_det.errors import RunError
from lth_det.reports.folder import replace_folder
from lth_det.reports.plots import Drawing

LARGEST: Final = 200_000
"""Bytes of a published figure."""
TABLES: Final = ("values.csv", "matrix.csv", "modules.csv")
KINDS: Final = (".png", ".csv", ".txt", ".yaml")
_FOLDER: Final = re.compile(r"(?<![\w./:~-])~?/(?:[\w.+@~-]+/)+")


def without_paths(text: str) -> str:
    """Return ``text`` with every absolute path cut to its last part, so that no folder of a machine is published.

    >>> without_paths("see /data/out/log.txt and output/study/runs")
    'see log.txt and output/study/runs'
    """
    return _FOLDER.sub("", text)


def small_png(data: bytes, largest: int = LARGEST) -> bytes:
    """Return a PNG with at most 256 colours, made smaller until it has at most ``largest`` bytes.

    Raises:
        RunError: ``data`` is no image.
    """
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise RunError("A figure of the report is no image; write the report again.") from error
    while True:
        handle = io.BytesIO()
        picture.quantize(256, dither=Image.Dither.NONE).save(handle, "PNG", optimize=True)
        if handle.tell() <= largest or min(picture.size) < 64:
            return handle.getvalue()
        wide, high = (max(1, round(0.85 * side)) for side in picture.size)
        picture = picture.resize((wide, high), Image.Resampling.LANCZOS)


def publish_part(
    report: Path | None,
    folder: Path,
    texts: Mapping[str, str],
    drawings: Sequence[Drawing] = (),
    *,
    skipped: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Replace ``folder`` by the figures and tables of ``report``, and ``texts``.

    Args:
        report: the ``report`` folder of a sweep; ``None``: there is none.
        folder: is replaced as a whole.
        texts: file name -> content.
        drawings: figures that the report lacks.
        skipped: names of its figures that are left out.

    Returns:
        Names of the figures, and of the other files.

    Raises:
        RunError: ``folder`` holds files that no publication writes, or cannot be written.
    """
    strange = [
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() or path.suffix not in KINDS
    ]
    if strange:
        raise RunError(
            f"{folder} holds {strange[0]}, which is none of a published study's files; move it away or publish elsewhere."
        )
    pictures = {f"{one.name}.png": one.png for one in drawings}
    if report is not None:
        pictures |= {path.name: path.read_bytes() for path in report.glob("*.png")}
    figures = sorted(set(pictures) - set(skipped))
    with replace_folder(folder) as work:
        for name in figures:
            (work / name).write_bytes(small_png(pictures[name]))
        tables = {
            name: (report / name).read_text(encoding="utf-8")
            for name in TABLES
            if report is not None and (report / name).exists()
        }
        files = {**tables, **texts}
        for name, text in files.items():
            (work / name).write_text(without_paths(text), encoding="utf-8")
    return figures, sorted(files)
