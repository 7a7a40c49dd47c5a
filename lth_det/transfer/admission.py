"""The prunable set of a transferred ticket: what it prunes was decided where it was found."""

import dataclasses

from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket

TRANSFER_KEY = "transfer"
"""The entry of ``Provenance.extra`` that only transferred tickets have: how they were made, as JSON."""


def admitted_table(table: ParameterTable, ticket: Ticket) -> ParameterTable:
    """Return the target's table, with what a transferred ticket masks counted as prunable.

    A target keeps frozen weights, shortcut convolutions or whole groups dense because pruning them *there* would hurt
    or was not published. A ticket of another task has trained with its zeros, so it may bring them along: an ImageNet
    ticket prunes the stem and res2 although the detector freezes them. Only weights with at least two dimensions
    (convolutions, linear layers) are admitted, never biases or norm layers. Any other ticket leaves the table as it is.
    """
    if TRANSFER_KEY not in ticket.provenance.extra:
        return table
    return ParameterTable(
        dataclasses.replace(entry, prunable=True, reason="")
        if entry.name in ticket.mask and len(entry.shape) > 1
        else entry
        for entry in table
    )
