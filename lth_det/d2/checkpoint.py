"""Weights in and out of a model: strict for tickets, and never by running code from a file."""

from torch import nn

from lth_det.errors import MaskMismatchError
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.checkpoint_file import UNREADABLE as UNREADABLE
from lth_det.tickets.checkpoint_file import load_checkpoint_weights as load_checkpoint_weights
from lth_det.tickets.rewinding import rewind_
from lth_det.tickets.ticket import Ticket


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside ``DistributedDataParallel``, or the module itself."""
    inner = getattr(model, "module", None)
    return inner if isinstance(inner, nn.Module) else model


def load_ticket_into(model: nn.Module, ticket: Ticket) -> None:
    """Set ``model`` to the ticket: its rewind weights if it has some, then its zeros; strictly.

    Raises:
        MaskMismatchError: names, shapes or dtypes differ; all differences are listed and the model is unchanged.
    """
    target = unwrap(model)
    parameters = dict(target.named_parameters())
    try:
        if ticket.weights is not None:
            rewind_(target, ticket.weights)  # a ticket's weights hold all that its mask names
        apply_mask_(parameters, ticket.mask)
    except MaskMismatchError as error:
        raise MaskMismatchError(
            f"The ticket is of another model ({ticket.provenance.source_task}): {error}",
            error.differences,
        ) from error
