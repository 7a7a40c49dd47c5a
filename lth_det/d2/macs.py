"""Multiply-accumulate operations of a detector, counted on one image, and how many of them a mask could save."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable


def count_macs(cfg: Any, table: ParameterTable, mask: Mask) -> dict[str, Any]:
    """Return dense and remaining MACs of one forward pass by module group, JSON-ready.

    ``ticket`` counts each layer's MACs times its density: what hardware could save that skips every zero, not what
    dense kernels do. What is counted, and on which image, is said by :func:`macs_by_layer`.

    Args:
        cfg: a configuration; its model is built anew on the CPU.
        table: the model's parameters.
        mask: of the prunable ones.
    """
    counted = macs_by_layer(cfg)
    groups = table.group_of
    by_group: dict[str, dict[str, int]] = {}
    for name, macs in counted["layers"].items():
        density = mask.kept_in(name) / mask.numel_in(name) if name in mask else 1.0
        row = by_group.setdefault(groups[name], {"dense": 0, "ticket": 0})
        row["dense"] += macs
        row["ticket"] += round(macs * density)
    return {
        "image": counted["image"],
        "dense": sum(row["dense"] for row in by_group.values()),
        "ticket": sum(row["ticket"] for row in by_group.values()),
        "groups": {group: by_group[group] for group in table.groups if group in by_group},
    }


def macs_by_layer(cfg: Any) -> dict[str, Any]:
    """Return the dense MACs of one forward pass: ``{"image": [height, width], "layers": {parameter: MACs}}``.

    Convolutions (transposed too) and linear layers are counted; the rest of a detector is small beside them. The image
    has the test size of the configuration at aspect ratio 4:3. Every region that the configuration allows is
    processed (``POST_NMS_TOPK_TEST`` proposals, ``DETECTIONS_PER_IMAGE`` detections), so the figures are upper bounds
    that depend neither on weights nor on content.

    Args:
        cfg: a configuration; its model is built anew on the CPU.
    """
    model = build_model(_all_regions(cfg)).eval()
    with torch.no_grad():
        # All scores equal and all boxes at their anchors: finite and not empty, whatever an untrained network would say.
        for parameter in model.parameters():
            parameter.zero_()
    height, width = _image_size(cfg)
    image = torch.zeros(3, height, width)
    with _counting(model) as layers, torch.no_grad():
        model([{"image": image, "height": height, "width": width}])
    return {
        "image": [height, width],
        "layers": {f"{owner}.weight": macs for owner, macs in layers.items()},
    }


def layer_macs(module: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Return the MACs of one call of a convolution, transposed convolution or linear layer; 0 for other modules.

    Bias additions are not counted (as in fvcore).
    """
    if isinstance(module, nn.ConvTranspose2d):
        return inputs.numel() * module.out_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.Conv2d):
        return output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    return 0


@contextmanager
def _counting(model: nn.Module) -> Iterator[dict[str, int]]:
    """Yield a dictionary in which the MACs of each layer of ``model`` add up, over all its calls."""
    counts: dict[str, int] = {}

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            counts[name] = counts.get(name, 0) + layer_macs(module, arguments[0], output)

        return hook

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                hooks.callback(module.register_forward_hook(hook_for(name)).remove)
        yield counts


def _all_regions(cfg: Any) -> Any:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    # Nothing is suppressed and nothing is below the threshold: the largest number of regions goes through the heads.
    cfg.MODEL.RPN.NMS_THRESH = 1.0
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 1.0
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = -1.0
    return cfg


def _image_size(cfg: Any) -> tuple[int, int]:
    height = cfg.INPUT.MIN_SIZE_TEST
    width = min(round(height * 4 / 3), cfg.INPUT.MAX_SIZE_TEST)
    return height, width
