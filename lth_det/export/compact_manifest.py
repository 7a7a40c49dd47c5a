"""The JSON manifest of a compact checkpoint: what it must hold, and which sizes it may claim."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch

from lth_det.errors import TicketFormatError
from lth_det.export.rice import MAX_SHIFT
from lth_det.tickets.manifest import manifest_json
from lth_det.tickets.mask import numel
from lth_det.tickets.safetensors_file import checked_shape, dtype_name

FORMAT = "lth_det.compact"
FORMAT_VERSION = 1
CODING = "rice gaps, unary stream then low-bit planes, numpy.packbits big, C order"

METADATA_KEY = "lth_det_compact"
"""The metadata entry of the file that holds the manifest."""

MASK_KEY, VALUES_KEY, DENSE_KEY = "mask", "values/", "dense/"
"""Tensor names: all codes; prefix of the kept values by dtype; prefix of the tensors without a mask."""

_DTYPES = {
    str(dtype_name(dtype)): dtype
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
}
_ANY_DTYPE = {*_DTYPES, "I64", "I32", "I16", "I8", "U8", "BOOL"}
_KEYS = {"format", "format_version", "coding", "entries", "about", "content_sha256"}
_KEYS |= {"mask_sha256", "sha256"}


@dataclasses.dataclass(frozen=True)
class DenseRow:
    """A tensor of the state dict that is stored whole: its name, its shape, its dtype once restored."""

    name: str
    shape: tuple[int, ...]
    restored: str

    def to_json(self) -> list[Any]:
        """Return the row as it stands in the manifest."""
        return ["dense", self.name, list(self.shape), self.restored]


@dataclasses.dataclass(frozen=True)
class SparseRow:
    """A masked parameter: its kept values are the next ``kept`` of ``values/<stored>``, its code the next ``code_bytes``."""

    name: str
    shape: tuple[int, ...]
    restored: str
    stored: str
    kept: int
    shift: int
    inverted: bool
    code_bytes: int

    def to_json(self) -> list[Any]:
        """Return the row as it stands in the manifest."""
        numbers = [self.kept, self.shift, self.inverted, self.code_bytes]
        return ["sparse", self.name, list(self.shape), self.restored, self.stored, *numbers]


Row = DenseRow | SparseRow


def make_manifest(
    rows: Sequence[Row], about: Mapping[str, str], *, content_sha256: str, mask_sha256: str
) -> dict[str, Any]:
    """Return the manifest, with its own hash under ``sha256``.

    Args:
        rows: the tensors of the state dict, in its order.
        about: facts for people, as text.
        content_sha256: hash of the stored tensors.
        mask_sha256: hash of the mask, as in a ticket.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "coding": CODING,
        "entries": [row.to_json() for row in rows],
        "about": dict(about),
        "content_sha256": content_sha256,
        "mask_sha256": mask_sha256,
    }
    manifest["sha256"] = _sha256(manifest)
    return manifest


def check_manifest(manifest: Mapping[str, Any], path: str | os.PathLike[str]) -> list[Row]:
    """Return the rows of a manifest after checking it.

    Raises:
        TicketFormatError: another format or version, a key too many or too few, an impossible row, or a wrong hash.
    """
    if manifest.get("format") != FORMAT:
        raise TicketFormatError(
            f"{path} is not a compact checkpoint: its manifest has no format {FORMAT!r}."
        )
    version = manifest.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise TicketFormatError(
            f"{path} has compact format version {version!r}, but this lth_det reads version {FORMAT_VERSION} only; use "
            "the lth_det version that wrote it."
        )
    if set(manifest) != _KEYS or manifest["coding"] != CODING:
        _damaged(path, "its manifest has other entries than those of this version")
    about, entries = manifest["about"], manifest["entries"]
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        _damaged(path, "its facts are not text by name")
    if not isinstance(entries, list):
        _damaged(path, "its entries are not a list")
    if manifest["sha256"] != _sha256(manifest):
        _damaged(path, "its manifest does not have the hash it states")
    rows = [_row(entry, path) for entry in entries]
    if len({row.name for row in rows}) < len(rows):
        _damaged(path, "a name is there twice")
    return rows


def restored_bytes(rows: Sequence[Row]) -> int:
    """Return how many bytes the restored state dict has."""
    sizes = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
    return sum(numel(row.shape) * sizes.get(row.restored, 1) for row in rows)


def float_dtype(name: str) -> torch.dtype:
    """Return the floating-point dtype with this name of the safetensors format."""
    return _DTYPES[name]


def is_float(name: str) -> bool:
    """Return whether a dtype name of the safetensors format is that of a floating-point dtype we store."""
    return name in _DTYPES


def _sha256(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(manifest_json(content).encode()).hexdigest()


def _row(entry: object, path: str | os.PathLike[str]) -> Row:
    row = _parsed(entry) if isinstance(entry, list) else None
    if row is None:
        _damaged(path, f"its manifest has an impossible entry {str(entry)[:120]}")
    return row


def _parsed(entry: list[Any]) -> Row | None:
    if len(entry) not in (4, 9) or not isinstance(entry[1], str):
        return None
    kind, name, shape, restored = entry[:4]
    sizes = checked_shape(shape)
    if sizes is None or not isinstance(restored, str):
        return None
    if kind == "dense" and len(entry) == 4 and restored in _ANY_DTYPE:
        return DenseRow(name, sizes, restored)
    if kind == "sparse" and len(entry) == 9 and restored in _DTYPES:
        stored, kept, shift, inverted, code_bytes = entry[4:]
        whole = all(type(value) is int and value >= 0 for value in (kept, shift, code_bytes))
        known = isinstance(stored, str) and stored in _DTYPES and type(inverted) is bool
        if whole and known and kept <= numel(sizes) and shift <= MAX_SHIFT:
            return SparseRow(name, sizes, restored, stored, kept, shift, inverted, code_bytes)
    return None


def _damaged(path: str | os.PathLike[str], what: str) -> NoReturn:
    raise TicketFormatError(f"{path} is damaged: {what}.")
