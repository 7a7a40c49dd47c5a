"""A parameter table as text, so that a ticket can carry the network it belongs to.

A ticket's mask names the prunable parameters only; its sparsity and its module groups need the others too.
"""

import json
from typing import Any

from lth_det.errors import LthDetError, TicketFormatError
from lth_det.tickets.mask import numel
from lth_det.tickets.scope import ParameterEntry, ParameterTable

TABLE_KEY = "parameter_table"
"""The entry of ``Provenance.extra`` that holds the text."""

_FIELDS = (str, list, str, bool, bool, str)  # name, shape, group, prunable, frozen, reason


def table_to_text(table: ParameterTable) -> str:
    """Return a table as one line of JSON, about 80 bytes for each parameter; equal tables give equal text."""
    rows = [
        [entry.name, list(entry.shape), entry.group, entry.prunable, entry.frozen, entry.reason]
        for entry in table
    ]
    return json.dumps(rows, separators=(",", ":"))


def table_from_text(text: str) -> ParameterTable:
    """Return the table that :func:`table_to_text` wrote.

    Raises:
        TicketFormatError: the text is something else.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TicketFormatError("The parameter table of the ticket is not JSON.") from error
    if not isinstance(rows, list):
        raise TicketFormatError("The parameter table of the ticket is not a list.")
    try:
        return ParameterTable(_entry(row) for row in rows)
    except TicketFormatError:
        raise
    except LthDetError as error:
        raise TicketFormatError(f"The parameter table of the ticket is damaged: {error}") from error


def _entry(row: Any) -> ParameterEntry:
    valid = (
        isinstance(row, list)
        and len(row) == len(_FIELDS)
        and all(type(value) is kind for value, kind in zip(row, _FIELDS, strict=True))
        and all(type(size) is int and size >= 0 for size in row[1])
    )
    if not valid:
        raise TicketFormatError(f"The parameter table of the ticket has an impossible row: {row}.")
    name, shape, group, prunable, frozen, reason = row
    return ParameterEntry(
        name=name,
        shape=tuple(shape),
        numel=numel(tuple(shape)),
        group=group,
        prunable=prunable,
        frozen=frozen,
        reason=reason,
    )
