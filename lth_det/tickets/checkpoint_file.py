"""The weights in a checkpoint of a trainer, read without running code from it."""

import os
import pickle
import re
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


_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def why_unreadable(error: BaseException) -> str:
    """Return what to say of a file that ``torch.load(weights_only=True)`` refused, to go on after the file's name.

    torch's own advice, to load it with ``weights_only=False``, would run whatever program the file holds.
    """
    text = str(error)
    if "eights only load failed" in text or "weights_only" in text:
        named = _GLOBAL.search(text)
        what = f" ({named[1]})" if named else ""
        return (
            f"holds more than tensors{what}, and loading such objects can run any program; if you trust the file, load it "
            "once yourself and save its weights alone, as torch.save(state_dict, 'weights.pth')"
        )
    return f"cannot be read as a checkpoint of tensors ({text.splitlines()[0] if text else type(error).__name__})"


def load_checkpoint_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the model's state dict from a checkpoint (``model_*.pth`` of Detectron2, or a bare state dict).

    Raises:
        RunError: the file is missing, damaged, needs more than tensors to load, or holds no weights.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise RunError(f"{path} {why_unreadable(error)}.") from error
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(value, Tensor) for value in weights.values()
    ):
        raise RunError(f"{path} holds no model weights; give a checkpoint written by Detectron2.")
    return {name.removeprefix("module."): value for name, value in weights.items()}
