"""Which weights of a network are kept: an immutable mapping from parameter name to booleans."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lth_det.errors import MaskMismatchError
from lth_det.tickets.differences import Shape, require_equal_shapes

PackedBits = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class MaskOverlap:
    """How much the kept sets of two masks overlap, beside what chance alone gives.

    Attributes:
        iou: Intersection over union of the kept sets, in 0-1; NaN if both are empty.
        chance: The ``iou`` that two independent uniform masks of these densities p and q tend to,
            pq / (p + q - pq). Layer-wise densities that are alike raise chance further: see
            ``lth_det.tickets.similarity``.
        kappa: (iou - chance) / (1 - chance): 0 at chance level, 1 for equal masks, negative below
            chance; NaN if chance is 1 or ``iou`` is NaN.
    """

    iou: float
    chance: float
    kappa: float

    @classmethod
    def from_counts(cls, *, both: int, either: int, chance: float) -> "MaskOverlap":
        """Return the overlap of two kept sets from the sizes of their intersection and union."""
        iou = both / either if either else float("nan")
        kappa = (iou - chance) / (1.0 - chance) if chance < 1.0 else float("nan")
        return cls(iou=iou, chance=chance, kappa=kappa)


def chance_overlap(first_density: float, second_density: float) -> float:
    """Return the IoU that two independent uniform masks of these densities tend to; 0 if both are 0.

    >>> round(chance_overlap(0.2, 0.2), 4)
    0.1111
    """
    both = first_density * second_density
    either = first_density + second_density - both
    return both / either if either > 0 else 0.0


class Mask(Mapping[str, Tensor]):
    """Parameter name -> bool CPU tensor of the parameter's shape, true = keep.

    A mask cannot be changed: it holds packed bits (one bit per weight), and every look-up returns a
    new tensor. Two masks are equal if names, shapes and bits are equal; the order in which they were
    given does not matter, and iteration is in the order of the names.

    Args:
        tensors: A bool tensor for each parameter, on any device.

    Raises:
        MaskMismatchError: a value is not a bool tensor.
    """

    __slots__ = ("_packed", "_sha256", "_shapes")

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        shapes: dict[str, Shape] = {}
        packed: dict[str, PackedBits] = {}
        for name in sorted(tensors):
            tensor = tensors[name]
            if getattr(tensor, "dtype", None) != torch.bool:
                kind = getattr(tensor, "dtype", type(tensor).__name__)
                raise MaskMismatchError(
                    f"The mask of {name} must be a tensor of torch.bool, but it is {kind}."
                )
            shapes[name] = tuple(tensor.shape)
            packed[name] = _read_only(np.packbits(tensor.detach().cpu().reshape(-1).numpy()))
        self._set(shapes, packed)

    def _set(self, shapes: dict[str, Shape], packed: dict[str, PackedBits]) -> None:
        self._shapes = shapes
        self._packed = packed
        self._sha256: str | None = None

    @classmethod
    def from_packed(cls, shapes: Mapping[str, Shape], packed: Mapping[str, PackedBits]) -> "Mask":
        """Return the mask with these bits, which are checked, and copied unless they are read-only.

        Args:
            shapes: The shape of each parameter.
            packed: For each parameter a uint8 array of ceil(numel / 8) bytes: element i of the
                flattened (C order) parameter is bit 7 - i % 8 of byte i // 8 (``numpy.packbits``
                with its default order); the bits after the last element are 0.

        Raises:
            MaskMismatchError: names differ, or an array has another dtype, length or padding.
        """
        if set(shapes) != set(packed):
            names = ", ".join(sorted(set(shapes) ^ set(packed)))
            raise MaskMismatchError(f"Mask bits and shapes have different names: {names}.")
        checked: dict[str, PackedBits] = {}
        for name in sorted(shapes):
            bits = packed[name]
            _check_packed(name, numel(shapes[name]), bits)
            # A read-only array without a base cannot change under the mask; a view of another one can.
            private = bits.base is None and not bits.flags.writeable
            checked[name] = bits if private else _read_only(bits.copy())
        mask = cls.__new__(cls)
        mask._set({name: tuple(shapes[name]) for name in checked}, checked)
        return mask

    @classmethod
    def ones_like(cls, named: Mapping[str, Tensor]) -> "Mask":
        """Return the mask that keeps every element of the named tensors (parameters or others)."""
        return cls(
            {name: torch.ones(value.shape, dtype=torch.bool) for name, value in named.items()}
        )

    def __getitem__(self, name: str) -> Tensor:
        shape = self._shapes[name]
        flags = np.unpackbits(self._packed[name], count=numel(shape)).view(np.bool_)
        return torch.from_numpy(flags).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.sha256() == other.sha256()

    def __hash__(self) -> int:
        return hash(self.sha256())

    def __repr__(self) -> str:
        return f"Mask({len(self)} parameters, {self.kept} of {self.numel} kept)"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Mask":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Through from_packed, so that the bits of a mask from another process are read-only again.
        return Mask.from_packed, (self._shapes, self._packed)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each parameter."""
        return dict(self._shapes)

    @property
    def numel(self) -> int:
        """Number of elements, kept and pruned."""
        return sum(numel(shape) for shape in self._shapes.values())

    @property
    def kept(self) -> int:
        """Number of kept elements."""
        return sum(self.kept_in(name) for name in self._shapes)

    @property
    def density(self) -> float:
        """Kept / all elements of the mask, in 0-1; 1 if the mask has no element."""
        total = self.numel
        return self.kept / total if total else 1.0

    @property
    def prune_rate(self) -> float:
        """Pruned / all elements of the mask, in 0-1; 0 if the mask has no element."""
        total = self.numel
        return (total - self.kept) / total if total else 0.0

    def kept_in(self, name: str) -> int:
        """Return the number of kept elements of one parameter."""
        return int(np.bitwise_count(self._packed[name]).sum(dtype=np.int64))

    def numel_in(self, name: str) -> int:
        """Return the number of elements of one parameter, kept and pruned."""
        return numel(self._shapes[name])

    def packed(self, name: str) -> PackedBits:
        """Return the read-only packed bits of one parameter, in the order of :meth:`from_packed`."""
        return self._packed[name]

    def is_nested_in(self, other: "Mask") -> bool:
        """Return whether each element kept here is kept in ``other`` too; names and shapes must agree.

        Raises:
            MaskMismatchError: the masks have other names or shapes.
        """
        self._require_same_shapes(other)
        return not any(
            bool(np.any(self._packed[name] & ~other._packed[name])) for name in self._shapes
        )

    def intersection(self, other: "Mask") -> "Mask":
        """Return the mask that keeps what both masks keep.

        Raises:
            MaskMismatchError: the masks have other names or shapes.
        """
        self._require_same_shapes(other)
        return Mask.from_packed(
            self._shapes, {name: self._packed[name] & other._packed[name] for name in self._shapes}
        )

    def overlap(self, other: "Mask") -> MaskOverlap:
        """Return the overlap of the kept sets, its chance level and the corrected value.

        Raises:
            MaskMismatchError: the masks have other names or shapes.
        """
        self._require_same_shapes(other)
        both = sum(self.kept_in_both(other, name) for name in self._shapes)
        return MaskOverlap.from_counts(
            both=both,
            either=self.kept + other.kept - both,
            chance=chance_overlap(self.density, other.density),
        )

    def kept_in_both(self, other: "Mask", name: str) -> int:
        """Return how many elements of one parameter both masks keep (shapes must agree)."""
        both = self._packed[name] & other._packed[name]
        return int(np.bitwise_count(both).sum(dtype=np.int64))

    def restricted_to(self, names: Iterable[str]) -> "Mask":
        """Return the part of the mask with these names.

        Raises:
            MaskMismatchError: a name is not in the mask.
        """
        wanted = list(names)
        unknown = [name for name in wanted if name not in self._shapes]
        if unknown:
            raise MaskMismatchError(f"The mask has no parameter {', '.join(unknown)}.")
        return Mask.from_packed(
            {name: self._shapes[name] for name in wanted},
            {name: self._packed[name] for name in wanted},
        )

    def sha256(self) -> str:
        """Return the hash of names, shapes and bits as 64 hex digits, the same on every machine."""
        if self._sha256 is None:
            digest = hashlib.sha256(b"lth_det mask 1\n")
            for name, shape in self._shapes.items():
                digest.update(json.dumps([name, list(shape)]).encode() + b"\n")
                digest.update(self._packed[name].data)
            self._sha256 = digest.hexdigest()
        return self._sha256

    def _require_same_shapes(self, other: "Mask") -> None:
        require_equal_shapes(
            self._shapes, other._shapes, what="The second mask does not fit the first one"
        )


def numel(shape: Shape) -> int:
    """Return the number of elements of a shape; 1 for a scalar.

    >>> numel((2, 3)), numel(()), numel((0, 4))
    (6, 1, 0)
    """
    total = 1
    for size in shape:
        total *= size
    return total


def _read_only(bits: PackedBits) -> PackedBits:
    bits.flags.writeable = False
    return bits


def _check_packed(name: str, count: int, bits: PackedBits) -> None:
    if bits.dtype != np.uint8 or bits.ndim != 1 or bits.size != (count + 7) // 8:
        raise MaskMismatchError(
            f"The mask bits of {name} must be {(count + 7) // 8} bytes for {count} elements, "
            f"but they are {bits.size} values of {bits.dtype}."
        )
    padding = -count % 8
    if padding and int(bits[-1]) & ((1 << padding) - 1):
        raise MaskMismatchError(f"The mask bits of {name} go on after its last element.")
