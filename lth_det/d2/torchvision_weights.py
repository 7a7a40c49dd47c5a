"""ImageNet weights of torchvision's ResNets under Detectron2's names."""

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lth_det.d2.checkpoint import UNREADABLE
from lth_det.errors import DataError
from lth_det.io import atomic_path

# Order matters: the names of norm layers before those of the convolutions that own them.
_RULES = (
    (re.compile(r"^conv1\."), "stem.conv1."),
    (re.compile(r"^bn1\."), "stem.conv1.norm."),
    (re.compile(r"^layer([1-4])\.(\d+)\.conv([1-3])\."), r"res\1.\2.conv\3."),
    (re.compile(r"^layer([1-4])\.(\d+)\.bn([1-3])\."), r"res\1.\2.conv\3.norm."),
    (re.compile(r"^layer([1-4])\.(\d+)\.downsample\.0\."), r"res\1.\2.shortcut."),
    (re.compile(r"^layer([1-4])\.(\d+)\.downsample\.1\."), r"res\1.\2.shortcut.norm."),
)
_STAGE = re.compile(r"^res([1-4])\.")
_NOT_IN_A_DETECTOR = re.compile(r"^fc\.|\.num_batches_tracked$")


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a torchvision ResNet's state dict with Detectron2's names; values are the same tensors.

    ``layer1`` is ``res2`` and so on; the classifier ``fc`` and the batch counters of norm layers are left out. Norm
    statistics need no change: both libraries add 1e-5 to the variance. The images have to be pre-processed as
    torchvision does: RGB, ImageNet mean and standard deviation.

    Raises:
        DataError: a name is not one of a torchvision ResNet.
    """
    converted = {}
    for name, value in state.items():
        if not _NOT_IN_A_DETECTOR.search(name):
            converted[_convert_name(name)] = value
    return converted


def convert_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write a torchvision ResNet checkpoint as a file for ``MODEL.WEIGHTS``, and return its number of tensors.

    Detectron2 finds the place of each tensor by the end of its name, so one file serves FPN models
    (``backbone.bottom_up.res2...``) and C4 models (``backbone.res2...``, ``roi_heads.res5...``).

    Args:
        source: a state dict, alone or under ``state_dict`` or ``model``, with or without ``module.`` in front.
        target: its folder is made if needed.

    Raises:
        DataError: the source cannot be read, or is no torchvision ResNet.
        RunError: the target cannot be written.
    """
    weights = convert_state(_read_state(source))
    if "stem.conv1.weight" not in weights:
        raise DataError(f"{source} has no conv1.weight; give a checkpoint of a torchvision ResNet.")
    content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    with atomic_path(target) as temporary:
        torch.save(content, temporary)
    return len(weights)


def _convert_name(name: str) -> str:
    for pattern, replacement in _RULES:
        converted, count = pattern.subn(replacement, name)
        if count:
            return _STAGE.sub(lambda match: f"res{int(match[1]) + 1}.", converted)
    raise DataError(
        f"{name} is not a name of a torchvision ResNet; give a file such as resnet18-*.pth."
    )


def _read_state(source: str | os.PathLike[str]) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(
            f"{source} cannot be read as a checkpoint of tensors ({reason})."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise DataError(f"{source} holds no state dict; give a checkpoint of a torchvision ResNet.")
    return {str(name).removeprefix("module."): value.detach() for name, value in content.items()}
