"""The weights that a sparse checkpoint means: masks beside the weights, or thresholds, put into effect."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from lth_det.errors import DataError
from lth_det.tickets.differences import list_names

_MASK_KEYS = ("weight_mask", "mask", "mask_weight")
_THRESHOLD = "sparseThreshold"


@dataclasses.dataclass(frozen=True)
class EffectiveState:
    """A state dict whose weights are what the network computes with.

    Attributes:
        weights: Name -> value, with the names of an ordinary checkpoint.
        masks: Name of a weight -> bool tensor, true = keep, for weights that had a mask of their own.
        notes: What was put into effect, in words.
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    notes: tuple[str, ...]


def effective_state(state: Mapping[str, Tensor], path: str) -> EffectiveState:
    """Return the state with masks and thresholds of pruning libraries put into effect.

    * ``torch.nn.utils.prune``: ``weight_orig`` and ``weight_mask`` become ``weight`` = orig where the mask keeps, else 0.
    * ``weight`` with ``weight_mask``, ``mask`` or ``mask_weight`` beside it (RigL and others): likewise.
    * ``sparseThreshold`` s (STR, Kusupati et al., ICML 2020, equation 3): ``weight`` = sign(w) max(|w| - sigmoid(s), 0).

    Args:
        state: As in the file; not changed.
        path: The file, for messages.

    Raises:
        DataError: a mask is not of the shape of its weight or holds other values than 0 and 1, or a ``weight_orig``
            has no mask.
    """
    weights = dict(state)
    masks: dict[str, Tensor] = {}
    notes: list[str] = []
    for name in [name for name in state if name.endswith("weight_orig")]:
        weights[name.removesuffix("_orig")] = weights.pop(name)
        if name.removesuffix("_orig") + "_mask" not in state:
            raise DataError(f"{path} has {name} but no mask for it; save the checkpoint again.")
    for name in [name for name in weights if name.endswith("weight")]:
        owner = name.removesuffix("weight")
        key = next((owner + key for key in _MASK_KEYS if owner + key in weights), None)
        if key is not None:
            masks[name] = _as_bool(weights.pop(key), weights[name], key, path)
            weights[name] = weights[name].masked_fill(~masks[name], 0.0)
        threshold = weights.pop(owner + _THRESHOLD, None)
        if threshold is not None:
            weights[name] = _soft_threshold(weights[name], threshold)
    if masks:
        notes.append(
            f"{len(masks)} weights have masks of their own ({list_names(list(masks)[:2])}, ...)"
        )
    count = sum(name.endswith(_THRESHOLD) for name in state)
    if count:
        notes.append(f"{count} learned thresholds (STR) put into effect")
    return EffectiveState(weights, masks, tuple(notes))


def _as_bool(mask: Tensor, weight: Tensor, key: str, path: str) -> Tensor:
    if mask.shape != weight.shape or not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError(
            f"{path}: {key} is no mask of zeros and ones in the shape {tuple(weight.shape)} of its weight."
        )
    return mask.bool()


def _soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    shrunk = torch.relu(weight.abs() - torch.sigmoid(threshold.to(weight.dtype)))
    return torch.sign(weight) * shrunk
