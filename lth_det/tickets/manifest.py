"""The JSON manifest of a ticket file: what it must hold, and its hash."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from lth_det.errors import TicketFormatError
from lth_det.tickets.differences import list_names, shown
from lth_det.tickets.safetensors_file import checked_shape
from lth_det.tickets.ticket import Provenance

FORMAT = "lth_det.ticket"
FORMAT_VERSION = 1
BIT_ORDER = "numpy.packbits, bitorder big, each parameter flattened in C order, padded with 0"

_KEYS = {
    "format",
    "format_version",
    "bit_order",
    "mask",
    "mask_sha256",
    "weights_sha256",
    "provenance",
    "sha256",
}


def make_manifest(
    *,
    shapes: Mapping[str, tuple[int, ...]],
    mask_sha256: str,
    weights_sha256: str | None,
    provenance: Provenance,
) -> dict[str, Any]:
    """Return the manifest, with its own hash under ``sha256``.

    Raises:
        TicketFormatError: the provenance has a value of a wrong type or range.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "bit_order": BIT_ORDER,
        "mask": {name: list(shape) for name, shape in shapes.items()},
        "mask_sha256": mask_sha256,
        "weights_sha256": weights_sha256,
        "provenance": _normalised(dataclasses.asdict(provenance)),
    }
    parse_provenance(manifest["provenance"], "The new ticket")
    manifest["sha256"] = manifest_sha256(manifest)
    return manifest


def _normalised(provenance: dict[str, Any]) -> dict[str, Any]:
    # 1 and 1.0 are equal rates but different JSON, and equal tickets must have equal hashes.
    for key in ("prune_rate", "sparsity"):
        if isinstance(provenance[key], int):
            provenance[key] = float(provenance[key])
    rates = provenance["prune_rates_by_group"]
    provenance["prune_rates_by_group"] = {
        group: float(rate) if isinstance(rate, int) else rate for group, rate in rates.items()
    }
    return provenance


def manifest_sha256(manifest: Mapping[str, Any]) -> str:
    """Return the hash of a manifest without its ``sha256`` entry; it covers mask and weights by their hashes."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(manifest_json(content).encode()).hexdigest()


def manifest_json(manifest: Mapping[str, Any]) -> str:
    """Return the one way a manifest is written: sorted keys, no spaces, no NaN."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_manifest(manifest: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Do nothing if all keys are there with the right types and the hash fits.

    Raises:
        TicketFormatError: the manifest is of another version or damaged.
    """
    if manifest.get("format") != FORMAT:
        raise TicketFormatError(f"{path} is not a ticket: its manifest has no format {FORMAT!r}.")
    version = manifest.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise TicketFormatError(
            f"{path} has ticket format version {shown(version)}, but this lth_det reads version "
            f"{FORMAT_VERSION} only; use the lth_det version that wrote it."
        )
    if set(manifest) != _KEYS:
        names = list_names(sorted(_KEYS ^ set(manifest)))
        raise TicketFormatError(
            f"{path} is damaged: its manifest lacks, or should not have, {names}."
        )
    shapes = manifest["mask"]
    if not isinstance(shapes, dict) or any(checked_shape(s) is None for s in shapes.values()):
        raise TicketFormatError(
            f"{path} is damaged: the mask shapes in its manifest are impossible."
        )
    if manifest["bit_order"] != BIT_ORDER:
        raise TicketFormatError(f"{path} is damaged: its bit order is not the one of this version.")
    parse_provenance(manifest["provenance"], path)
    if manifest["sha256"] != manifest_sha256(manifest):
        raise TicketFormatError(
            f"{path} is damaged: its manifest does not have the hash it states."
        )


def parse_provenance(value: object, path: str | os.PathLike[str]) -> Provenance:
    """Return the provenance that a manifest holds.

    Raises:
        TicketFormatError: a key is missing or unknown, or has a wrong type or range.
    """
    if not isinstance(value, dict):
        raise TicketFormatError(f"{path} is damaged: its provenance is not a JSON object.")
    if set(value) != set(_CHECKS):
        names = list_names(sorted(set(_CHECKS) ^ {str(key) for key in value}))
        raise TicketFormatError(
            f"{path} is damaged: its provenance lacks, or should not have, {names}."
        )
    for key, is_valid in _CHECKS.items():
        if not is_valid(value[key]):
            raise TicketFormatError(
                f"{path} has an impossible {key} in its provenance: {shown(value[key])}."
            )
    return Provenance(**value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_fraction(value: object) -> bool:
    # A whole 1 would be an equal rate with another hash: a ticket must have one hash only.
    return isinstance(value, float) and 0.0 <= value <= 1.0  # false for NaN


def _is_text_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))


def _is_fraction_by_name(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(map(_is_text, value))
        and all(map(_is_fraction, value.values()))
    )


_CHECKS: dict[str, Callable[[object], bool]] = {
    "criterion": _is_text,
    "scope": _is_text,
    "prune_rate": _is_fraction,
    "prune_rates_by_group": _is_fraction_by_name,
    "sparsity": _is_fraction,
    "round": _is_count,
    "parent_sha256": _is_optional_text,
    "source_task": _is_text,
    "source_weights": _is_text,
    "seed": _is_whole,
    "rewind": _is_text,
    "versions": _is_text_by_name,
    "extra": _is_text_by_name,
}
