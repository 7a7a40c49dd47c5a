"""Weights in and out of a model: strict for tickets, and never by running code from a file."""

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth_det.errors import MaskMismatchError, RunError
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.rewinding import rewind_
from lth_det.tickets.ticket import Ticket

# What torch.load raises for files that are missing, cut, text, or want to run code: a text file gives any of these.
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside ``DistributedDataParallel``, or the module itself."""
    inner = getattr(model, "module", None)
    return inner if isinstance(inner, nn.Module) else model


def load_checkpoint_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the model's state dict from a checkpoint that Detectron2 wrote (``model_*.pth``).

    Raises:
        RunError: the file is missing, damaged, needs more than tensors to load, or holds no weights.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise RunError(f"{path} cannot be read as a checkpoint of tensors ({reason}).") from error
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(value, Tensor) for value in weights.values()
    ):
        raise RunError(f"{path} holds no model weights; give a checkpoint written by Detectron2.")
    return {name.removeprefix("module."): value for name, value in weights.items()}


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
            f"The ticket is of another model ({ticket.provenance.source_task}): {error}"
        ) from error
