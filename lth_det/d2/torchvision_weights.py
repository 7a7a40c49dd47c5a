"""ImageNet weights of torchvision's ResNets under Detectron2's names."""

import os
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lth_det.errors import DataError
from lth_det.io import atomic_path
from lth_det.transfer.names import canonical_torchvision_name
from lth_det.transfer.state_file import read_state

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
            converted[canonical_torchvision_name(name)] = value
    return converted


def convert_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write a torchvision ResNet checkpoint as a file for ``MODEL.WEIGHTS``, and return its number of tensors.

    Detectron2 finds the place of each tensor by the end of its name, so one file serves FPN models
    (``backbone.bottom_up.res2...``) and C4 models (``backbone.res2...``, ``roi_heads.res5...``).

    Args:
        source: what :func:`lth_det.transfer.state_file.read_state` reads, with or without ``module.`` in front.
        target: its folder is made if needed.

    Raises:
        DataError: the source cannot be read, or is no torchvision ResNet.
        RunError: the target cannot be written.
    """
    state = {name.removeprefix("module."): value for name, value in read_state(source).items()}
    weights = convert_state(state)
    if "stem.conv1.weight" not in weights:
        raise DataError(f"{source} has no conv1.weight; give a checkpoint of a torchvision ResNet.")
    content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    with atomic_path(target) as temporary:
        torch.save(content, temporary)
    return len(weights)
