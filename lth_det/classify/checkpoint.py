"""Weights and training state on disk: written whole or not at all, read without running code from the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lth_det.errors import MaskMismatchError, RunError
from lth_det.io import atomic_path
from lth_det.tickets.checkpoint_file import UNREADABLE


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, text, in dicts and lists) to ``path``, atomically.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise RunError(
                f"{path} cannot be written ({error}); free some space and run the same command again."
            ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what :func:`save_checkpoint` wrote, or any file of tensors (``.safetensors`` too), on the CPU.

    Raises:
        RunError: the file is missing, damaged, or needs more than tensors to load.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, SafetensorError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise RunError(f"{path} cannot be read as a checkpoint of tensors ({reason}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no dictionary of tensors; give a checkpoint of a classifier.")
    return content


def load_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint of ours or of torchvision (with or without ``model``, ``module.``).

    Raises:
        RunError: the file cannot be read, or holds no weights.
    """
    content = load_checkpoint(path)
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise RunError(f"{path} holds no model weights; give a state dict of a classifier.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def overlay_state(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` with the values of the file ``path``, all of it except a head of another task.

    Args:
        path: a state dict with torchvision's names.
        state: the model's own.

    Raises:
        MaskMismatchError: outside the head ``fc`` a name is missing or a shape differs; all are named.
        RunError: the file cannot be read.
    """
    given = load_state(path)
    result, wrong = dict(state), []
    for name, value in state.items():
        other = given.get(name)
        if other is not None and other.shape == value.shape:
            result[name] = other.to(value.dtype).clone()
        elif not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            had = "missing" if other is None else f"{tuple(other.shape)}"
            wrong.append(f"{name} {tuple(value.shape)}: {had}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MaskMismatchError(
            f"{path} is of another network ({'; '.join(wrong[:5])}{more}); check model.name and the file."
        )
    return result
