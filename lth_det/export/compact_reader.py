"""Read compact checkpoints (see ``lth_det.export.compact``); the file may come from a stranger."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import TicketFormatError
from lth_det.export import rice
from lth_det.export.compact_manifest import (
    DENSE_KEY,
    MASK_KEY,
    METADATA_KEY,
    VALUES_KEY,
    DenseRow,
    Row,
    SparseRow,
    check_manifest,
    float_dtype,
    is_float,
    restored_bytes,
)
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask, numel
from lth_det.tickets.safetensors_file import (
    Header,
    dtype_name,
    parse_json,
    read_header,
    read_tensor,
)
from lth_det.tickets.serialization import weights_sha256

MAX_RESTORED_BYTES = 16 * 2**30
"""No state dict larger than this is restored."""


_FREE_BYTES, _EXPANSION = 2**28, 1000


@dataclasses.dataclass(frozen=True, eq=False)
class CompactCheckpoint:
    """What a compact checkpoint holds: the dense state dict with its zeros, the mask, and the manifest."""

    state: dict[str, Tensor]
    mask: Mask
    manifest: dict[str, Any]


def load_compact(path: str | os.PathLike[str]) -> CompactCheckpoint:
    """Return the content of a compact checkpoint after checking all of it.

    A small file cannot claim much memory: the restored state may have 256 MiB and 1,000 times the size of the file,
    and at most :data:`MAX_RESTORED_BYTES`.

    Raises:
        TicketFormatError: the file cannot be read, is no compact checkpoint, is of another version, truncated or
            damaged (all hashes are checked), or would be too large.
    """
    try:
        with Path(path).open("rb") as handle:
            header = read_header(handle, path)
            manifest, rows = _read_manifest(header, path)
            _require_sizes(header, rows, path)
            tensors = {
                name: read_tensor(handle, info, path)[0] for name, info in header.tensors.items()
            }
        if weights_sha256(tensors) != manifest["content_sha256"]:
            raise TicketFormatError(
                f"{path} is damaged: its tensors do not have the hash it states."
            )
        state, mask = _restore(tensors, rows, path)
        if mask.sha256() != manifest["mask_sha256"]:
            raise TicketFormatError(
                f"{path} is damaged: its mask does not have the hash it states."
            )
    except OSError as error:
        raise TicketFormatError(_unreadable(path, error)) from error
    return CompactCheckpoint(state, mask, manifest)


def is_compact(path: str | os.PathLike[str]) -> bool:
    """Return whether a file says that it is a compact checkpoint (it may still be damaged).

    Raises:
        TicketFormatError: the file cannot be read or is not a safetensors file.
    """
    try:
        with Path(path).open("rb") as handle:
            return METADATA_KEY in read_header(handle, path).metadata
    except OSError as error:
        raise TicketFormatError(_unreadable(path, error)) from error


def _read_manifest(
    header: Header, path: str | os.PathLike[str]
) -> tuple[dict[str, Any], list[Row]]:
    if METADATA_KEY not in header.metadata:
        raise TicketFormatError(
            f"{path} is a safetensors file but not a compact checkpoint: it has no such manifest."
        )
    manifest = parse_json(header.metadata[METADATA_KEY], path)
    return manifest, check_manifest(manifest, path)


def _require_sizes(header: Header, rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Check that the tensors of the file are those of the rows, with the right sizes, and that the result is not huge."""
    expected: dict[str, tuple[int, ...]] = {MASK_KEY: (0,)}
    for row in rows:
        if isinstance(row, DenseRow):
            expected[DENSE_KEY + row.name] = row.shape
        else:
            for key, size in ((MASK_KEY, row.code_bytes), (VALUES_KEY + row.stored, row.kept)):
                expected[key] = (expected.get(key, (0,))[0] + size,)
    found = {name: info.shape for name, info in header.tensors.items()}
    if found != expected:
        wrong = sorted(
            name for name in {*found, *expected} if found.get(name) != expected.get(name)
        )
        raise TicketFormatError(
            f"{path} is damaged: its manifest does not describe {list_names(wrong)}."
        )
    _require_dtypes(header, rows, path)
    size = max((info.end for info in header.tensors.values()), default=0)
    if restored_bytes(rows) > min(_FREE_BYTES + _EXPANSION * size, MAX_RESTORED_BYTES):
        raise TicketFormatError(
            f"{path} has {size} bytes but would restore to {restored_bytes(rows)}; that is refused."
        )


def _require_dtypes(header: Header, rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    wrong = [] if header.tensors[MASK_KEY].dtype == torch.uint8 else [MASK_KEY]
    for row in rows:
        if isinstance(row, SparseRow):
            if header.tensors[VALUES_KEY + row.stored].dtype != float_dtype(row.stored):
                wrong.append(VALUES_KEY + row.stored)
            continue
        stored = header.tensors[DENSE_KEY + row.name].dtype
        rounded = stored.is_floating_point and is_float(row.restored)
        if dtype_name(stored) != row.restored and not rounded:
            wrong.append(DENSE_KEY + row.name)
    if wrong:
        raise TicketFormatError(
            f"{path} is damaged: its manifest gives another dtype for {list_names(wrong)}."
        )


def _restore(
    tensors: Mapping[str, Tensor], rows: Sequence[Row], path: str | os.PathLike[str]
) -> tuple[dict[str, Tensor], Mask]:
    """Return the dense state dict and the mask."""
    state: dict[str, Tensor] = {}
    flags: dict[str, Tensor] = {}
    codes = _parts(tensors[MASK_KEY].numpy(), rows)
    taken: dict[str, int] = {}
    for row in rows:
        if isinstance(row, DenseRow):
            state[row.name] = _as_restored(tensors[DENSE_KEY + row.name], row)
            continue
        count = numel(row.shape)
        try:
            found = rice.decode(next(codes), count=count, kept=row.kept)
        except TicketFormatError as error:
            raise TicketFormatError(f"{path} is damaged: {error} ({row.name}).") from error
        start = taken.get(row.stored, 0)
        taken[row.stored] = start + row.kept
        values = tensors[VALUES_KEY + row.stored][start : start + row.kept]
        dense = torch.zeros(count, dtype=float_dtype(row.restored))
        # By positions, not by flags: several times as fast.
        dense.index_copy_(0, torch.from_numpy(np.flatnonzero(found)), values.to(dense.dtype))
        state[row.name] = dense.reshape(row.shape)
        flags[row.name] = torch.from_numpy(found).reshape(row.shape)
    return state, Mask(flags)


def _parts(codes: rice.Code, rows: Sequence[Row]) -> Iterator[rice.RiceCode]:
    position = 0
    for row in rows:
        if isinstance(row, SparseRow):
            data = codes[position : position + row.code_bytes]
            position += row.code_bytes
            yield rice.RiceCode(row.shift, row.inverted, data)


def _as_restored(tensor: Tensor, row: DenseRow) -> Tensor:
    return tensor.to(float_dtype(row.restored)) if tensor.is_floating_point() else tensor


def _unreadable(path: str | os.PathLike[str], error: OSError) -> str:
    return f"{path} cannot be read as a compact checkpoint ({error.strerror or error}); check the path."
