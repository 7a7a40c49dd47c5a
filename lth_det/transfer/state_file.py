"""Named tensors out of the files that people have: .pth, .safetensors, .pkl, with their wrappings taken off."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lth_det.errors import DataError
from lth_det.tickets.array_pickle import read_array_pickle
from lth_det.tickets.checkpoint_file import UNREADABLE, why_unreadable

# The plain weights first: an average of them (ema) is another network, taken only where it is the only one.
_CONTAINERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "state_dict_ema",
    "model_ema",
    "ema",
)


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return all named tensors in a file of weights, on the CPU.

    Read are checkpoints of ``torch.save`` (tensors only, no code is run), ``.safetensors`` files and the ``.pkl`` files of
    Detectron2's model zoo. A state dict may lie under ``state_dict``, ``model``, ``model_state_dict``, ``net`` or, if
    there is none of these, ``state_dict_ema``, ``model_ema``, ``ema``. Entries that are no tensors are left out.

    Raises:
        DataError: the file is missing or damaged, needs more than tensors to load, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path} cannot be read: it does not exist, or is a folder; check the path."
        )
    if path.suffix == ".pkl":
        return read_array_pickle(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise DataError(f"{path} {why_unreadable(error)}.") from error
    state = _innermost(content)
    tensors = {str(k): v.detach() for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise DataError(f"{path} holds no state dict; give a checkpoint of weights.")
    return tensors


def _innermost(content: Any) -> Mapping[Any, Any]:
    for _ in range(3):
        if not isinstance(content, Mapping):
            return {}
        inner = next((k for k in _CONTAINERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    return content if isinstance(content, Mapping) else {}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as a safetensors file ({error}).") from error
