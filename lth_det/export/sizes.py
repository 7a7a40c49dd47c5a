"""How many bytes a ticket needs in each form of storage, and the least that any could need."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.tickets.mask import Mask

INDEX_BYTES = 4


def mask_entropy_bytes(mask: Mask) -> float:
    """Return the entropy of a mask in bytes: n h(d) / 8 for each parameter of n weights and density d.

    h is the binary entropy in bits. No code of masks whose weights are kept independently with the densities of the
    layers is shorter on average (Shannon 1948); a mask with more structure inside a layer may be.
    """
    return sum(
        mask.numel_in(name) * binary_entropy(mask.kept_in(name), mask.numel_in(name)) / 8
        for name in mask
    )


def binary_entropy(part: int, whole: int) -> float:
    """Return the entropy in bits of a flag that is true ``part`` times of ``whole``; 0 if never or always.

    >>> binary_entropy(1, 2), binary_entropy(0, 5)
    (1.0, 0.0)
    """
    if not 0 < part < whole:
        return 0.0
    p = part / whole
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def storage_sizes(
    state: Mapping[str, Tensor], mask: Mask, *, value_bytes: int | None = None
) -> dict[str, float]:
    """Return bytes of a state dict under a mask in several forms, without file headers.

    Keys: ``dense`` (every value), ``bound`` (entropy of the mask, kept values, everything outside the mask),
    ``packed_mask`` (one bit for each masked weight instead of the entropy), ``index_and_value`` (a 32-bit index with
    each kept value: the predecessor's figure, see the paper's appendix on disk size).

    Args:
        state: the whole state dict.
        mask: of some of its tensors.
        value_bytes: bytes of a kept value and of each value of other tensors of two or more dimensions; default: as
            they are.
    """
    sizes = dict.fromkeys(("dense", "bound", "packed_mask", "index_and_value"), 0.0)
    for name, tensor in state.items():
        wide = tensor.is_floating_point() and tensor.ndim >= 2 and value_bytes is not None
        item = value_bytes if wide and value_bytes is not None else tensor.element_size()
        sizes["dense"] += tensor.numel() * tensor.element_size()
        if name not in mask:
            for key in ("bound", "packed_mask", "index_and_value"):
                sizes[key] += tensor.numel() * item
            continue
        kept = mask.kept_in(name) * item
        sizes["bound"] += kept
        sizes["packed_mask"] += kept + (tensor.numel() + 7) // 8
        sizes["index_and_value"] += kept + INDEX_BYTES * mask.kept_in(name)
    sizes["bound"] += mask_entropy_bytes(mask)
    return sizes


def file_facts(
    path: str | os.PathLike[str], manifest: Mapping[str, Any], sizes: Mapping[str, float]
) -> dict[str, Any]:
    """Return the size of a compact checkpoint beside the other forms, JSON-ready.

    Args:
        path: the file.
        manifest: its manifest.
        sizes: from :func:`storage_sizes`.
    """
    size = Path(path).stat().st_size
    return {
        "file": str(path),
        "bytes": size,
        "dense_bytes": round(sizes["dense"]),
        "bound_bytes": round(sizes["bound"]),
        "packed_mask_bytes": round(sizes["packed_mask"]),
        "index_and_value_bytes": round(sizes["index_and_value"]),
        "times_smaller": sizes["dense"] / size,
        "over_bound": size / sizes["bound"] - 1 if sizes["bound"] else None,
        "sha256": manifest["sha256"],
        "mask_sha256": manifest["mask_sha256"],
        "about": dict(manifest["about"]),
    }
