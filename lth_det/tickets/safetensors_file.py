"""Strict, streaming reading and writing of safetensors files.

The format: 8 bytes with the length of the header (little endian), the header as JSON (tensor name -> dtype,
shape, offsets; ``__metadata__`` -> text by name), the tensors' bytes without gaps. The ``safetensors`` library reads
and writes the same files; ours is separate because it refuses what the library lets pass (a name given twice), hashes
while it reads, maps no memory, and gives the same bytes with every version of the library.
"""

import collections
import dataclasses
import json
import os
import struct
from collections.abc import Mapping
from io import BufferedReader
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lth_det.errors import TicketFormatError
from lth_det.io import memory_bytes
from lth_det.tickets.differences import shown
from lth_det.tickets.mask import numel

MAX_HEADER_BYTES = 8 * 2**20
"""A header longer than this is refused; that of a ticket of 1,000 parameters has about 0.3 MB."""

_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_MOST_DIMENSIONS = 64  # of a NumPy array


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """Where and what one tensor of a file is; offsets in bytes from the beginning of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Header:
    """The checked header of a file."""

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


def dtype_name(dtype: torch.dtype) -> str | None:
    """Return the format's name of a dtype, None if the format (or we) cannot hold it.

    >>> dtype_name(torch.bfloat16)
    'BF16'
    """
    return _DTYPE_NAMES.get(dtype)


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor in C order; of a CPU tensor that is contiguous without a copy."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def write_tensors(
    handle: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file; equal content gives equal bytes, whatever the order of the mappings.

    The caller has checked that :func:`dtype_name` knows each dtype.
    """
    # Wide dtypes first, so that each tensor begins at a multiple of its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in names:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    handle.write(_LENGTH.pack(len(text)))
    handle.write(text)
    for name in names:
        handle.write(raw_bytes(tensors[name]))


def read_header(handle: BufferedReader, path: str | os.PathLike[str]) -> Header:
    """Return the header after checking that it describes the whole file and nothing else.

    Raises:
        TicketFormatError: not a safetensors file, truncated, or damaged.
    """
    size = os.fstat(handle.fileno()).st_size
    if size > memory_bytes():
        raise TicketFormatError(
            f"{path} has {size / 1e9:.1f} GB, more than this machine has memory; it is too large to be read."
        )
    prefix = handle.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise TicketFormatError(f"{path} is not a safetensors file: it has only {size} bytes.")
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_HEADER_BYTES:
        raise TicketFormatError(
            f"{path} is not a ticket: its header would have {length} bytes, more than the "
            f"{MAX_HEADER_BYTES} allowed."
        )
    text = handle.read(length)
    if len(text) < length:
        raise TicketFormatError(f"{path} is truncated: it ends inside its header.")
    header = parse_json(text, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise TicketFormatError(f"{path} is damaged: its metadata is not text by name.")
    first = _LENGTH.size + length
    tensors = {name: _tensor_info(name, info, first, path) for name, info in header.items()}
    _require_no_gaps(tensors, first, size, path)
    return Header(metadata=metadata, tensors=tensors)


def read_tensor(
    handle: BufferedReader, info: TensorInfo, path: str | os.PathLike[str]
) -> tuple[Tensor, bytearray]:
    """Return one tensor in memory of its own, and its bytes.

    Raises:
        TicketFormatError: the file has become shorter since its header was read.
    """
    data = bytearray(info.end - info.start)
    rest = memoryview(data)
    handle.seek(info.start)
    while rest:
        # One call may give less than asked for, as from tensors of more than 2 GiB.
        count = handle.readinto(rest)
        if not count:
            raise TicketFormatError(f"{path} is truncated: it ends inside a tensor.")
        rest = rest[count:]
    if not data:
        return torch.empty(info.shape, dtype=info.dtype), data
    return torch.frombuffer(data, dtype=info.dtype).reshape(info.shape), data


def parse_json(text: bytes | str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a JSON object; names that come twice, NaN and infinities are refused.

    Raises:
        TicketFormatError: the text is not such a JSON object.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TicketFormatError(
            f"{path} is damaged: its header cannot be read ({error})."
        ) from error
    if not isinstance(value, dict):
        raise TicketFormatError(f"{path} is damaged: its header is not a JSON object.")
    return value


def checked_shape(value: object) -> tuple[int, ...] | None:
    """Return a JSON list as the shape of a tensor that can exist, None if it is none."""
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        return None
    if len(value) > _MOST_DIMENSIONS:
        return None
    # Strides of an empty tensor are products of the other sizes, so these must fit too.
    return tuple(value) if numel(tuple(max(size, 1) for size in value)) < 2**63 else None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, _ in pairs:
        name.encode()  # a lone surrogate is a ValueError here, not later when the name is printed
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {shown(twice)} is there twice")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _tensor_info(name: str, info: object, first: int, path: str | os.PathLike[str]) -> TensorInfo:
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise TicketFormatError(f"{path} is damaged: the entry of {shown(name)} is incomplete.")
    dtype = _DTYPES.get(info["dtype"]) if isinstance(info["dtype"], str) else None
    shape = checked_shape(info["shape"])
    offsets = info["data_offsets"]
    if dtype is None or shape is None or not _is_pair_of_counts(offsets):
        raise TicketFormatError(
            f"{path} is damaged: {shown(name)} has an impossible dtype, shape or offset."
        )
    start, end = offsets
    if end - start != numel(shape) * dtype.itemsize:
        raise TicketFormatError(
            f"{path} is damaged: {shown(name)} has {end - start} bytes, which do not fit its shape "
            f"{shown(list(shape))} of {dtype}."
        )
    return TensorInfo(dtype=dtype, shape=shape, start=first + start, end=first + end)


def _is_pair_of_counts(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(item) is int and item >= 0 for item in value)
    )


def _require_no_gaps(
    tensors: Mapping[str, TensorInfo], first: int, size: int, path: str | os.PathLike[str]
) -> None:
    position = first
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != position:
            raise TicketFormatError(
                f"{path} is damaged: {shown(name)} overlaps another tensor or a gap."
            )
        position = info.end
    if position > size:
        raise TicketFormatError(
            f"{path} is truncated: it has {size} bytes, but its header describes {position}."
        )
    if position < size:
        raise TicketFormatError(f"{path} is damaged: {size - position} bytes follow its content.")
