"""What is different between two sets of named tensors, all of it at once."""

from collections.abc import Iterable, Mapping

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
) -> list[str]:
    """Return one phrase per kind of difference between ``found`` and ``expected``; empty if there is none.

    Args:
        expected: The shapes that should be there, by name.
        found: The shapes that are there, by name.
        allow_missing: Names of ``expected`` that are not in ``found`` are no difference.
    """
    phrases = []
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = [
        f"{_printable(name)} {tuple(found[name])} instead of {tuple(expected[name])}"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    if missing and not allow_missing:
        phrases.append(f"missing {list_names(missing)}")
    if unexpected:
        phrases.append(f"unexpected {list_names(unexpected)}")
    if wrong:
        phrases.append(f"wrong shape {list_names(wrong)}")
    return phrases


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
    phrases = shape_differences(expected, found, allow_missing=allow_missing)
    if phrases:
        raise MaskMismatchError(f"{what}: {'; '.join(phrases)}.")
