"""Compact checkpoints: the kept weights, their mask near its entropy, everything else whole; one safetensors file.

Layout (see docs/ticket_format.md): tensor ``mask`` holds the Rice codes of all masked parameters, one after the other;
``values/<dtype>`` their kept values; ``dense/<name>`` each other tensor of the state dict; the metadata entry
``lth_det_compact`` is the manifest. There is no pickle, and nothing in a file is believed before it is checked.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lth_det.errors import MaskMismatchError, TicketFormatError
from lth_det.export import rice
from lth_det.export.compact_manifest import (
    DENSE_KEY,
    MASK_KEY,
    METADATA_KEY,
    VALUES_KEY,
    DenseRow,
    Row,
    SparseRow,
    make_manifest,
)
from lth_det.io import atomic_path
from lth_det.tickets.apply import require_fit
from lth_det.tickets.differences import list_names
from lth_det.tickets.manifest import manifest_json
from lth_det.tickets.mask import Mask
from lth_det.tickets.safetensors_file import dtype_name, write_tensors
from lth_det.tickets.serialization import weights_sha256

DTYPES = {"same": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""What kept values may be stored as; ``same`` is the dtype they have."""


def save_compact(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    mask: Mask,
    *,
    dtype: str = "same",
    about: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write a compact checkpoint and return its manifest; equal arguments give equal bytes.

    With ``dtype="same"`` restoring gives each tensor back bit for bit, except that a pruned -0.0 becomes +0.0.
    Otherwise floating-point tensors of two or more dimensions (kept weights, and the weights of layers outside the
    mask) are rounded to ``dtype``; biases, norms and buffers keep theirs.

    Args:
        path: the file; whole or absent.
        state: the whole state dict; its order is kept.
        mask: of some of its tensors; their pruned elements must be zero.
        dtype: one of :data:`DTYPES`.
        about: facts for people.

    Raises:
        MaskMismatchError: the mask does not fit, or a pruned element is not zero.
        TicketFormatError: a dtype that cannot be stored, or a finite value that ``dtype`` cannot hold.
        RunError: the file cannot be written.
    """
    require_fit(state, mask)
    whole = [name for name in mask if not state[name].is_floating_point()]
    if whole:
        raise TicketFormatError(f"These masked tensors hold no real numbers: {list_names(whole)}.")
    rows, tensors = _split(state, mask, DTYPES[dtype])
    manifest = make_manifest(
        rows,
        about or {},
        content_sha256=weights_sha256(tensors),
        mask_sha256=mask.sha256(),
    )
    with atomic_path(path) as temporary, Path(temporary).open("wb") as handle:
        write_tensors(handle, tensors, {METADATA_KEY: manifest_json(manifest)})
    return manifest


def restored_state(
    state: Mapping[str, Tensor], mask: Mask, *, dtype: str = "same"
) -> dict[str, Tensor]:
    """Return what restoring a compact checkpoint of these arguments must give, without going through a file."""
    restored = {
        name: _rounded(name, tensor, DTYPES[dtype]).to(tensor.dtype)
        for name, tensor in state.items()
    }
    for name, keep in mask.items():
        restored[name] = restored[name].masked_fill(keep.logical_not_(), 0.0)  # no -0.0
    return restored


def _split(
    state: Mapping[str, Tensor], mask: Mask, dtype: torch.dtype | None
) -> tuple[list[Row], dict[str, Tensor]]:
    """Return the rows of the manifest and the tensors of the file."""
    rows: list[Row] = []
    codes: list[rice.Code] = [np.empty(0, np.uint8)]
    values: dict[str, list[Tensor]] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stored = _rounded(name, tensor, dtype)
        shape, restored = tuple(tensor.shape), _dtype_name(name, tensor.dtype)
        if name not in mask:
            tensors[DENSE_KEY + name] = stored
            rows.append(DenseRow(name, shape, restored))
            continue
        flags = mask[name].reshape(-1).numpy()
        code = rice.encode(flags)
        kind = _dtype_name(name, stored.dtype)
        positions = torch.from_numpy(np.flatnonzero(flags))
        values.setdefault(kind, []).append(stored.reshape(-1).index_select(0, positions))
        _require_zeros(name, tensor, positions)
        codes.append(code.data)
        kept, size = mask.kept_in(name), code.data.size
        rows.append(SparseRow(name, shape, restored, kind, kept, code.shift, code.inverted, size))
    tensors[MASK_KEY] = torch.from_numpy(np.concatenate(codes))
    return rows, tensors | {VALUES_KEY + kind: torch.cat(parts) for kind, parts in values.items()}


def _require_zeros(name: str, tensor: Tensor, kept: Tensor) -> None:
    flat = tensor.detach().cpu().reshape(-1)
    revived = int(flat.count_nonzero() - flat.index_select(0, kept).count_nonzero())
    if revived:
        raise MaskMismatchError(
            f"{revived} pruned weights of {name} are not zero; these weights were not trained under this mask."
        )


def _rounded(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    rounded = tensor.to(dtype)
    if not torch.equal(rounded.isfinite(), tensor.isfinite()):
        raise TicketFormatError(
            f"{name} has values that {dtype} cannot hold (largest {float(tensor.abs().max()):.4g}); "
            "export with --dtype same or bfloat16."
        )
    return rounded


def _dtype_name(name: str, dtype: torch.dtype) -> str:
    found = dtype_name(dtype)
    if found is None:
        raise TicketFormatError(f"{name} has dtype {dtype}, which cannot be stored.")
    return found
