"""Columns out of JSON records, with one clear sentence for the first record that does not fit.

A check reads the *types* of a whole column at once (a set of types is tiny), so a valid file pays almost nothing;
only a refused file is walked record by record, to name the culprit.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_det.errors import InputError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LARGEST_PIXEL = 1e9


def require_records(value: Any, *, where: str, what: str) -> list[dict[str, Any]]:
    """Return ``value`` if it is a list of JSON objects.

    Args:
        value: what was read.
        where: the file or the name of the input, first words of the sentence.
        what: one record in words ("annotation", "result").

    Raises:
        InputError: not a list, or an item of it is not an object.
    """
    if not isinstance(value, list):
        raise InputError(
            f"{where}: expected a list of {what}s but found {_kind(value)}; give the file that holds the list."
        )
    if not set(map(type, value)) <= {dict}:
        index = next(i for i, item in enumerate(value) if type(item) is not dict)
        raise InputError(
            f"{where}: {what} number {index} is {_kind(value[index])}, not a JSON object; remove or repair it."
        )
    return value


def field(records: Sequence[dict[str, Any]], key: str, *, where: str, what: str) -> list[Any]:
    """Return the value of ``key`` of every record, in order.

    Raises:
        InputError: a record lacks the key.
    """
    try:
        return [record[key] for record in records]
    except KeyError:
        index = next(i for i, record in enumerate(records) if key not in record)
        raise InputError(
            f"{where}: {what} number {index} has no `{key}`; every {what} needs one."
        ) from None


def int_column(values: Sequence[Any], *, where: str, label: str) -> IntArray:
    """Return whole numbers as (N,) int64; true/false, text and fractions are refused.

    Raises:
        InputError: a value is not a whole number of at most 64 bits.
    """
    if not _all_whole(set(map(type, values))):
        index = next(i for i, value in enumerate(values) if not _all_whole({type(value)}))
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; it must be a whole number."
        )
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise InputError(
            f"{where}: a `{label}` does not fit into 64 bits; use smaller ids."
        ) from None


def number_column(values: Sequence[Any], *, where: str, label: str) -> FloatArray:
    """Return finite numbers as (N,) float64.

    Raises:
        InputError: a value is not a number, or it is NaN or infinite.
    """
    if not _all_numbers(set(map(type, values))):
        index = next(i for i, value in enumerate(values) if not _all_numbers({type(value)}))
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; it must be a number."
        )
    column = _to_float(values, where=where, label=label)
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        index = int(bad[0])
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; it must be a finite number."
        )
    return column


def matrix_column(
    values: Sequence[Any], *, width: int, where: str, label: str, lengths: str
) -> FloatArray:
    """Return lists of ``width`` finite numbers as (N, width) float64.

    Args:
        values: one list per record.
        width: numbers per list.
        where: the file, for the sentence.
        label: the key, for the sentence.
        lengths: what the list must hold, in words, for the sentence ("[x, y, width, height]").

    Raises:
        InputError: not a list, another length, or a value that is not a number of at most 1e9.
    """
    if not set(map(type, values)) <= {list, tuple} or not set(map(len, values)) <= {width}:
        index = next(
            i for i, v in enumerate(values) if type(v) not in (list, tuple) or len(v) != width
        )
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; it must be {lengths}."
        )
    flat: Iterable[Any] = chain.from_iterable(values)
    if not _all_numbers(set(map(type, flat))):
        index = next(i for i, v in enumerate(values) if not _all_numbers(set(map(type, v))))
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; it must be {lengths}, all numbers."
        )
    matrix = _to_float(values, where=where, label=label).reshape(len(values), width)
    # Beyond this bound areas could overflow and IoU be NaN; NaN fails the comparison too.
    bad = np.flatnonzero(~(np.abs(matrix) <= LARGEST_PIXEL).all(axis=1))
    if bad.size:
        index = int(bad[0])
        raise InputError(
            f"{where}: `{label}` number {index} is {shown(values[index])}; its numbers must be finite and below 1e9."
        )
    return matrix


def box_column(values: Sequence[Any], *, where: str) -> FloatArray:
    """Return boxes as (N, 4) float64, ``[x, y, width, height]`` in pixels; a side of 0 is allowed, a negative one not.

    Raises:
        InputError: not four finite numbers, or a negative side.
    """
    boxes = matrix_column(
        values, width=4, where=where, label="bbox", lengths="[x, y, width, height]"
    )
    bad = np.flatnonzero((boxes[:, 2] < 0) | (boxes[:, 3] < 0))
    if bad.size:
        index = int(bad[0])
        raise InputError(
            f"{where}: `bbox` number {index} is {shown(values[index])}, with a negative side; "
            "boxes are [x, y, width, height]."
        )
    return boxes


def index_of(ids: IntArray, known: IntArray, *, where: str, label: str, target: str) -> IntArray:
    """Return the position of every id in the sorted array ``known`` as (N,) int64.

    Raises:
        InputError: an id is not there; the sentence names up to three of them.
    """
    if known.size == 0:
        position = np.zeros(ids.shape, dtype=np.int64)
        missing = np.unique(ids)
    else:
        position = np.searchsorted(known, ids).clip(max=known.size - 1).astype(np.int64)
        missing = np.unique(ids[known[position] != ids])
    if missing.size:
        some = ", ".join(str(int(i)) for i in missing[:3])
        more = f" and {missing.size - 3} more" if missing.size > 3 else ""
        raise InputError(
            f"{where}: `{label}` {some}{more} not in the {target}; check that the files belong together."
        )
    return position


def unique_ids(ids: IntArray, *, where: str, what: str) -> None:
    """Check that no id occurs twice.

    Raises:
        InputError: an id occurs twice.
    """
    values, counts = np.unique(ids, return_counts=True)
    if values.size != ids.size:
        culprit = int(values[counts > 1][0])
        raise InputError(
            f"{where}: two {what}s have the id {culprit}; ids must be unique, renumber them."
        )


def _all_whole(types: set[type]) -> bool:
    return all(issubclass(t, int | np.integer) and t is not bool for t in types)


def _all_numbers(types: set[type]) -> bool:
    allowed = int | float | np.integer | np.floating
    return all(issubclass(t, allowed) and t is not bool for t in types)


def _to_float(values: Sequence[Any], *, where: str, label: str) -> FloatArray:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise InputError(
            f"{where}: a `{label}` is too large for a number; check how it was written."
        ) from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "true/false"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return the ``repr`` of a value, cut after 60 characters: an error is one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
