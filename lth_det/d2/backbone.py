"""A narrow ResNet for small images, built from Detectron2's own blocks, with or without FPN.

Detectron2 fixes the widths of its ResNet-18/34; a detector that trains on a CPU in minutes needs narrower ones.
"""

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, ResNet
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem


def add_narrow_resnet_config(cfg: Any) -> None:
    """Add the node ``MODEL.NARROW_RESNET`` (widths of the narrow ResNet) to a configuration, in place."""
    node = CfgNode()
    cfg.MODEL.NARROW_RESNET = node
    # Output channels of the stem and of res2 to res5.
    node.STEM_WIDTH = 16
    node.WIDTHS = [16, 32, 64, 128]
    # Basic blocks in each of res2 to res5.
    node.BLOCKS = [1, 1, 1, 1]


def build_narrow_resnet(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Return a ResNet of basic blocks with the widths of ``MODEL.NARROW_RESNET``.

    The stem has stride 4 as in every ResNet, so res2 to res5 have strides 4, 8, 16, 32. ``MODEL.RESNETS.NORM``,
    ``MODEL.RESNETS.OUT_FEATURES`` and ``MODEL.BACKBONE.FREEZE_AT`` mean what they mean for Detectron2's ResNets.
    """
    node, norm = cfg.MODEL.NARROW_RESNET, cfg.MODEL.RESNETS.NORM
    stem = BasicStem(in_channels=input_shape.channels, out_channels=node.STEM_WIDTH, norm=norm)
    stages = []
    width_in = node.STEM_WIDTH
    for index, (width, blocks) in enumerate(zip(node.WIDTHS, node.BLOCKS, strict=True)):
        strides = [1 if index == 0 else 2] + [1] * (blocks - 1)
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                blocks,
                stride_per_block=strides,
                in_channels=width_in,
                out_channels=width,
                norm=norm,
            )
        )
        width_in = width
    network = ResNet(stem, stages, out_features=cfg.MODEL.RESNETS.OUT_FEATURES)
    return network.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_narrow_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Return the narrow ResNet alone (for C4-like models)."""
    return build_narrow_resnet(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_narrow_resnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Return the narrow ResNet with a feature pyramid (p2 to p6), as Detectron2's ``build_resnet_fpn_backbone``."""
    return FPN(
        bottom_up=build_narrow_resnet(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
