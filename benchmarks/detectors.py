"""Detectron2 models with random weights and made-up images, for benchmarks; nothing is downloaded."""

from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

from benchmarks.common import ROOT
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.setup_cfg import load_config
from lth_det.pruning import GlobalAllocation, MagnitudeCriterion, prune
from lth_det.tickets import Mask

CONFIGS = {
    "R-50": "configs/coco/mask_rcnn_R_50_FPN_imp.yaml",
    "R-18": "configs/coco/mask_rcnn_R_18_FPN_imp.yaml",
    "small": "configs/mask_rcnn_imp.yaml",
}
"""Mask R-CNNs with FPN: Detectron2's ResNet-50 and ResNet-18 at the paper's settings, and the one of the demo."""


def detector(name: str, *options: str) -> tuple[Any, nn.Module]:
    """Return (configuration, model on the CPU in training mode) with random weights, the same in every run."""
    cfg = load_config(
        str(ROOT / CONFIGS[name]), ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *options]
    )
    torch.manual_seed(0)
    model: nn.Module = build_model(cfg)
    return cfg, model.train()


def magnitude_mask(cfg: Any, model: nn.Module, density: float) -> Mask:
    """Return the global magnitude mask over the configuration's prunable set."""
    table = parameter_table_from_cfg(cfg, model)
    parameters = dict(model.named_parameters())
    weights = {name: parameters[name].detach() for name in table.prunable_names}
    return prune(
        weights,
        table_groups=dict.fromkeys(weights, "all"),
        criterion=MagnitudeCriterion(),
        allocation=GlobalAllocation(),
        density=density,
    )


def images(number: int, side: int, objects: int = 6) -> list[dict[str, Any]]:
    """Return training inputs: noise of side x side pixels with boxes and masks, the same in every run."""
    dice = torch.Generator().manual_seed(0)
    made = []
    for _ in range(number):
        corner = torch.rand(objects, 2, generator=dice) * side * 0.6
        size = torch.rand(objects, 2, generator=dice) * side * 0.3 + side / 16
        instances = Instances((side, side))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + size], dim=1))
        instances.gt_classes = torch.zeros(objects, dtype=torch.int64)
        masks = torch.zeros(objects, side, side, dtype=torch.bool)
        for index, (left, top, right, bottom) in enumerate(
            instances.gt_boxes.tensor.round().int().tolist()
        ):
            masks[index, top:bottom, left:right] = True
        instances.gt_masks = BitMasks(masks)
        pixels = torch.rand(3, side, side, generator=dice) * 255
        made.append({"image": pixels, "instances": instances, "height": side, "width": side})
    return made
