"""What is different between two sets of named tensors, all of it at once."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lth_det.errors import MaskMismatchError

Shape = tuple[int, ...]
_MAX_LISTED = 20
_MAX_CHARACTERS = 100


def list_names(names: Iterable[str]) -> str:
    """Return names as a comma-separated list, cut after 20 with the number of the others.

    >>> list_names(["fc1.weight", "fc2.weight"])
    'fc1.weight, fc2.weight'
    """
    listed = list(names)
    text = ", ".join(_printable(name) for name in listed[:_MAX_LISTED])
    hidden = len(listed) - _MAX_LISTED
    return f"{text} and {hidden} more" if hidden > 0 else text


def shown(value: object) -> str:
    """Return the ``repr`` of a value from a file, cut after 100 characters.

    >>> shown("a" * 200)[-6:]
    'aaa...'
    """
    text = repr(value)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."


def _printable(name: str) -> str:
    # Names may come from a hostile file; an error is one line of a reasonable length.
    return name if name.isprintable() and len(name) <= _MAX_CHARACTERS else shown(name)


def shape_differences(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], *, allow_missing: bool = False
) -> dict[str, list[str]]:
    """Return kind of difference -> every such difference between ``found`` and ``expected``; empty if there is none.

    Args:
        expected: The shapes that should be there, by name.
        found: The shapes that are there, by name.
        allow_missing: Names of ``expected`` that are not in ``found`` are no difference.
    """
    kinds = {
        "missing": [] if allow_missing else [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "wrong shape": [
            f"{_printable(name)} {tuple(found[name])} instead of {tuple(expected[name])}"
            for name in expected
            if name in found and tuple(found[name]) != tuple(expected[name])
        ],
    }
    return {kind: listed for kind, listed in kinds.items() if listed}


def mismatch(what: str, differences: Mapping[str, Sequence[str]]) -> MaskMismatchError:
    """Return the error for differences by kind: its sentence lists 20 of each kind, its ``differences`` all of them."""
    sentence = "; ".join(f"{kind} {list_names(listed)}" for kind, listed in differences.items())
    every = [f"{kind} {item}" for kind, listed in differences.items() for item in listed]
    return MaskMismatchError(f"{what}: {sentence}.", every)


def require_equal_shapes(
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    *,
    what: str,
    allow_missing: bool = False,
) -> None:
    """Do nothing if both sides agree, else raise one error that names every difference.

    Args:
        expected: The shapes that should be there, by name.
        found: The shapes that are there, by name.
        what: Beginning of the sentence, such as ``"The mask does not fit the model"``.
        allow_missing: Names of ``expected`` that are not in ``found`` are no difference.

    Raises:
        MaskMismatchError: names or shapes differ.
    """
    differences = shape_differences(expected, found, allow_missing=allow_missing)
    if differences:
        raise mismatch(what, differences)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors, on any device, are equal in shape, dtype and every bit."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    # As bytes: NaN equals itself and -0.0 differs from 0.0.
    one, two = (value.detach().cpu().contiguous().reshape(-1) for value in (first, second))
    return torch.equal(one.view(torch.uint8), two.view(torch.uint8))
