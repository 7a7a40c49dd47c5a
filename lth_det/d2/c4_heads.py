"""The C4 detector of ResNet-18 and ResNet-34: res5 made of basic blocks works on each region.

Detectron2's ``Res5ROIHeads`` always builds bottleneck blocks, which is another network than a ResNet-18 whose last
stage moves behind the region pooling (the VOC models of Girish et al., CVPR 2021, are of this kind).
"""

from typing import Any

from detectron2.layers import CNNBlockBase
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.backbone import ResNet
from detectron2.modeling.backbone.resnet import BasicBlock
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn

_BLOCKS_IN_RES5 = {18: 2, 34: 3}
_CHANNEL_FACTOR = 8  # res5 has 8 times the channels of res2


@ROI_HEADS_REGISTRY.register()
class BasicRes5ROIHeads(Res5ROIHeads):
    """``Res5ROIHeads`` whose res5 has basic blocks where ``MODEL.RESNETS.DEPTH`` is 18 or 34.

    With other depths it is Detectron2's class unchanged. The parameter names are those of Detectron2's ResNet, so
    ImageNet weights of ``res5`` load by name.
    """

    @classmethod
    def _build_res5_block(cls, cfg: Any) -> tuple[nn.Module, int]:
        depth = cfg.MODEL.RESNETS.DEPTH
        if depth not in _BLOCKS_IN_RES5:
            return super()._build_res5_block(cfg)  # type: ignore[no-any-return]
        channels = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * _CHANNEL_FACTOR
        count = _BLOCKS_IN_RES5[depth]
        blocks: list[CNNBlockBase] = ResNet.make_stage(
            BasicBlock,
            count,
            stride_per_block=[2] + [1] * (count - 1),
            in_channels=channels // 2,
            out_channels=channels,
            norm=cfg.MODEL.RESNETS.NORM,
        )
        return nn.Sequential(*blocks), channels
