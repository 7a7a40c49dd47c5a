"""Tickets on disk: one safetensors file with packed mask bits, rewind weights and a JSON manifest.

Layout: tensor ``mask/<name>`` holds the packed bits of a parameter (uint8, order in the manifest), ``weights/<name>``
a rewind weight or buffer in its dtype; the metadata entry ``lth_det`` is the manifest. There is no pickle anywhere.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_det.errors import MaskMismatchError, TicketFormatError
from lth_det.io import atomic_path, open_regular
from lth_det.tickets.differences import list_names
from lth_det.tickets.manifest import check_manifest, make_manifest, manifest_json, parse_provenance
from lth_det.tickets.mask import Mask, PackedBits
from lth_det.tickets.safetensors_file import (
    Header,
    dtype_name,
    parse_json,
    raw_bytes,
    read_header,
    read_tensor,
    write_tensors,
)
from lth_det.tickets.ticket import Ticket

_METADATA_KEY = "lth_det"
_MASK = "mask/"
_WEIGHTS = "weights/"


def save_ticket(path: str | os.PathLike[str], ticket: Ticket) -> str:
    """Write a ticket and return its sha256; equal tickets give equal bytes.

    The file is whole or absent: it takes its name when all of it is on the disk.

    Raises:
        TicketFormatError: a weight has a dtype that cannot be stored, or the provenance an impossible
            value.
        RunError: the file cannot be written.
    """
    manifest = _manifest(ticket)
    tensors: dict[str, Tensor] = {
        # The copy is for torch, which warns about read-only memory; it is one parameter's bits.
        _MASK + name: torch.from_numpy(ticket.mask.packed(name).copy())
        for name in ticket.mask
    }
    tensors.update({_WEIGHTS + name: value for name, value in (ticket.weights or {}).items()})
    with atomic_path(path) as temporary, Path(temporary).open("wb") as handle:
        write_tensors(handle, tensors, {_METADATA_KEY: manifest_json(manifest)})
    return str(manifest["sha256"])


def ticket_sha256(ticket: Ticket) -> str:
    """Return the hash that identifies a ticket: of mask, weights and provenance, on every machine the same."""
    return str(_manifest(ticket)["sha256"])


def load_ticket(path: str | os.PathLike[str]) -> Ticket:
    """Return the ticket in a file after checking all of it.

    Raises:
        TicketFormatError: the file cannot be read, is no ticket, is of another format version, truncated
            or damaged (each hash is checked).
    """
    try:
        with open_regular(path) as handle:
            header = read_header(handle, path)
            manifest = _read_manifest(header, path)
            _require_expected_tensors(header, manifest, path)
            mask = _read_mask(handle, header, manifest, path)
            weights = _read_weights(handle, header, manifest, path)
        return Ticket(mask, weights, parse_provenance(manifest["provenance"], path))
    except OSError as error:
        raise TicketFormatError(_unreadable(path, error)) from error
    except MaskMismatchError as error:
        raise TicketFormatError(f"{path} is damaged: {error}") from error


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the checked manifest of a ticket file without reading its tensors.

    Keys: ``format``, ``format_version``, ``bit_order``, ``mask`` (name -> shape), ``mask_sha256``,
    ``weights_sha256`` (null without weights), ``provenance``, ``sha256``.

    Raises:
        TicketFormatError: the file cannot be read, is no ticket, or its header is damaged.
    """
    try:
        with open_regular(path) as handle:
            return _read_manifest(read_header(handle, path), path)
    except OSError as error:
        raise TicketFormatError(_unreadable(path, error)) from error


def _unreadable(path: str | os.PathLike[str], error: OSError) -> str:
    return f"{path} cannot be read as a ticket ({error.strerror or error}); check the path."


def _manifest(ticket: Ticket) -> dict[str, Any]:
    return make_manifest(
        shapes=ticket.mask.shapes,
        mask_sha256=ticket.mask.sha256(),
        weights_sha256=None if ticket.weights is None else weights_sha256(ticket.weights),
        provenance=ticket.provenance,
    )


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the hash of a state dict: names, dtypes, shapes and bytes, whatever the order of the names.

    Raises:
        TicketFormatError: a dtype that a ticket cannot store.
    """
    others = [name for name, value in weights.items() if dtype_name(value.dtype) is None]
    if others:
        raise TicketFormatError(
            f"A ticket cannot store the dtype of these weights: {list_names(others)}."
        )
    digest = hashlib.sha256()
    for name in sorted(weights):
        _update(digest, name, weights[name], raw_bytes(weights[name]))
    return digest.hexdigest()


def _update(digest: Any, name: str, tensor: Tensor, data: memoryview | bytearray) -> None:
    digest.update(json.dumps([name, dtype_name(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
    digest.update(data)


def _read_manifest(header: Header, path: str | os.PathLike[str]) -> dict[str, Any]:
    if _METADATA_KEY not in header.metadata:
        raise TicketFormatError(
            f"{path} is a safetensors file but not a ticket: it has no manifest."
        )
    manifest = parse_json(header.metadata[_METADATA_KEY], path)
    check_manifest(manifest, path)
    return manifest


def _require_expected_tensors(
    header: Header, manifest: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    masks = {_MASK + name for name in manifest["mask"]}
    missing = sorted(masks - set(header.tensors))
    unexpected = sorted(
        name
        for name in header.tensors
        if name not in masks
        and not (manifest["weights_sha256"] is not None and name.startswith(_WEIGHTS))
    )
    if missing:
        raise TicketFormatError(f"{path} is damaged: it has no {list_names(missing)}.")
    if unexpected:
        raise TicketFormatError(
            f"{path} is damaged: its manifest does not announce {list_names(unexpected)}."
        )


def _read_mask(
    handle: BufferedReader,
    header: Header,
    manifest: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> Mask:
    shapes = {name: tuple(shape) for name, shape in manifest["mask"].items()}
    # Before NumPy sees them: it knows no bfloat16.
    strange = [name for name in shapes if header.tensors[_MASK + name].dtype != torch.uint8]
    if strange:
        raise TicketFormatError(
            f"{path} is damaged: mask bits are bytes, not so of {list_names(strange)}."
        )
    packed: dict[str, PackedBits] = {
        name: read_tensor(handle, header.tensors[_MASK + name], path)[0].numpy() for name in shapes
    }
    mask = Mask.from_packed(shapes, packed)
    if mask.sha256() != manifest["mask_sha256"]:
        raise TicketFormatError(f"{path} is damaged: its mask does not have the hash it states.")
    return mask


def _read_weights(
    handle: BufferedReader,
    header: Header,
    manifest: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> dict[str, Tensor] | None:
    if manifest["weights_sha256"] is None:
        return None
    digest = hashlib.sha256()
    weights: dict[str, Tensor] = {}
    for key in sorted(name for name in header.tensors if name.startswith(_WEIGHTS)):
        name = key.removeprefix(_WEIGHTS)
        weights[name], data = read_tensor(handle, header.tensors[key], path)
        _update(digest, name, weights[name], data)
    if digest.hexdigest() != manifest["weights_sha256"]:
        raise TicketFormatError(f"{path} is damaged: its weights do not have the hash they state.")
    return weights
