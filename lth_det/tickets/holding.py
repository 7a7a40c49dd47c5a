"""Hold the pruned weights at zero, step after step: little memory, little time, no waiting for the device."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lth_det.tickets.apply import require_fit
from lth_det.tickets.mask import Mask, PackedBits

_Words = npt.NDArray[np.signedinteger]

# Rows of 8 weights that are unpacked at a time: half a megabyte of float32, which stays in the cache of a core.
_CHUNK = 16_384

_WORD_OF_BYTES = {
    2: (torch.int16, np.int16),
    4: (torch.int32, np.int32),
    8: (torch.int64, np.int64),
}


class ZeroHolder:
    """Sets the pruned elements of some parameters to exactly +0.0, as often as it is called.

    How depends on where a parameter is, chosen by measurement (``benchmarks/masked_step.py``):

    * on the CPU the packed bits of the mask itself are unpacked in pieces that fit the cache, by a table of 256 rows of
      eight words of ones or zeros, and the weights' bits are combined with them by AND: no memory besides the ticket's
      own bit per weight, and about the time of multiplying by a float mask of four bytes per weight;
    * elsewhere, and for parameters that are not contiguous, a bool mask (one byte per weight) lies beside the parameter
      and fills it: the fewest bytes to move, one kernel per parameter, and nothing waits for the device.

    Args:
        parameters: tensors by name, on any device; each stays the same object.
        mask: the mask; each of its names must be there with the same shape.

    Attributes:
        extra_bytes: memory that the masks take besides the packed bits of the ticket.

    Raises:
        MaskMismatchError: a name is missing or a shape differs.
    """

    def __init__(self, parameters: Mapping[str, Tensor], mask: Mask) -> None:
        require_fit(parameters, mask)
        scratch = _Scratch()
        self._steps: dict[str, Callable[[Tensor], None]] = {}
        self._parameters: dict[str, Tensor] = {}
        self.extra_bytes = 0
        for name in mask:
            parameter = parameters[name]
            if not parameter.numel():
                continue
            self._parameters[name] = parameter
            if _is_packable(parameter):
                self._steps[name] = _PackedStep(mask.packed(name), parameter, scratch)
            else:
                pruned = mask[name].logical_not_().to(parameter.device)
                self._steps[name] = _FillStep(pruned)
                self.extra_bytes += pruned.numel()

    @torch.no_grad()
    def hold(self) -> None:
        """Write the zeros again, into all parameters."""
        for name, parameter in self._parameters.items():
            self._steps[name](parameter)

    @torch.no_grad()
    def masked(self, name: str, gradient: Tensor) -> Tensor:
        """Return a copy of a gradient of a parameter with zeros where the parameter is pruned."""
        copy = gradient.clone(memory_format=torch.contiguous_format)
        if name in self._steps:
            self._steps[name](copy)
        return copy


class _FillStep:
    def __init__(self, pruned: Tensor) -> None:
        self._pruned = pruned

    def __call__(self, tensor: Tensor) -> None:
        tensor.masked_fill_(self._pruned, 0.0)


class _PackedStep:
    def __init__(self, bits: PackedBits, parameter: Tensor, scratch: "_Scratch") -> None:
        word, kind = _WORD_OF_BYTES[parameter.element_size()]
        self._word = word
        rows = parameter.numel() // 8
        self._bits = bits[:rows]
        self._table = scratch.table(kind)
        self._buffer = scratch.buffer(kind)
        self._tail = self._table[bits[rows]][: parameter.numel() % 8] if bits.size > rows else None

    def __call__(self, tensor: Tensor) -> None:
        words = tensor.detach().view(self._word).reshape(-1).numpy()
        rows = self._bits.size
        matrix = words[: 8 * rows].reshape(rows, 8)
        for start in range(0, rows, _CHUNK):
            bits = self._bits[start : start + _CHUNK]
            keep = self._buffer[: bits.size]
            np.take(self._table, bits, axis=0, out=keep, mode="clip")
            part = matrix[start : start + bits.size]
            np.bitwise_and(part, keep, out=part)
        if self._tail is not None:
            words[8 * rows :] &= self._tail


class _Scratch:
    """The tables and buffers that all parameters share, one of each per size of word."""

    def __init__(self) -> None:
        self._tables: dict[type, _Words] = {}
        self._buffers: dict[type, _Words] = {}

    def table(self, kind: type) -> _Words:
        """Return the (256, 8) words, all ones where the bit of the row's number is set, the highest bit first."""
        if kind not in self._tables:
            bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
            self._tables[kind] = -bits.astype(kind)
        return self._tables[kind]

    def buffer(self, kind: type) -> _Words:
        """Return room for one chunk."""
        return self._buffers.setdefault(kind, np.empty((_CHUNK, 8), kind))


def _is_packable(parameter: Tensor) -> bool:
    return (
        parameter.device.type == "cpu"
        and parameter.is_contiguous()
        and parameter.element_size() in _WORD_OF_BYTES
    )
