"""Weights and training state in a file: written whole or not at all, read without running code from it."""

import os
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lth_det.errors import RunError
from lth_det.io import atomic_path

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


def save_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, text, in dicts and lists) to ``path``, atomically.

    Raises:
        RunError: the file cannot be written.
    """
    # Through a handle: given a path, torch.save would put the temporary name into the file.
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        try:
            torch.save(dict(content), handle)
        except RuntimeError as error:  # torch's zip writer hides the operating system's error
            raise RunError(
                f"{path} cannot be written ({error}); free some space and run the same command with --resume."
            ) from error


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what :func:`save_checkpoint` wrote, or any file of tensors (``.safetensors`` too), on the CPU.

    Raises:
        RunError: the file is missing, damaged, needs more than tensors to load, or holds no dictionary.
    """
    try:
        if Path(path).suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, SafetensorError) as error:
        raise RunError(f"{path} {why_unreadable(error)}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no dictionary of tensors; give a checkpoint of a trainer.")
    return content


def load_checkpoint_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the model's state dict from a checkpoint, without the prefix ``module.`` of distributed training.

    The state dict may be the file itself, or lie under ``model`` (``model_*.pth`` of Detectron2, and ours) or
    ``state_dict``.

    Raises:
        RunError: the file is missing, damaged, needs more than tensors to load, or holds no weights.
    """
    weights = load_checkpoint(path)
    for key in ("model", "state_dict"):
        if isinstance(weights.get(key), dict):
            weights = weights[key]
            break
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise RunError(f"{path} holds no model weights; give a checkpoint of a trainer.")
    return {name.removeprefix("module."): value for name, value in weights.items()}
