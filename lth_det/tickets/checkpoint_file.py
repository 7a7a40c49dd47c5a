"""The weights in a checkpoint of a trainer, read without running code from it."""

import os
import pickle
import struct
from typing import Any

import torch
from torch import Tensor

from lth_det.errors import RunError

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


def load_checkpoint_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the model's state dict from a checkpoint (``model_*.pth`` of Detectron2, or a bare state dict).

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
