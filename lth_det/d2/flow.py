"""How much of an input of ones arrives at a detector's outputs: what SynFlow differentiates.

A detector is not one chain from image to output. Between the proposals and the heads there is a discrete step, which the
surrogate leaves out: the backbone sees an image of ones; the RPN head sees every feature level, as always; each head for
regions sees every level it pools from, averaged to the size of its regions, as one region that covers the image. And the
outputs have very different numbers of elements: in a plain sum the head with the most pixels would be the only one that
counts, and SynFlow would prune the others away whole. So the logarithms of the outputs' sums are added: then the scores of
each layer of each branch sum to one (the conservation that keeps SynFlow from emptying layers), and those of the
backbone to the number of branches. For a chain with one output the order of the scores is the published one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.modeling.meta_arch import GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from torch import Tensor, nn
from torch.nn import functional

from lth_det.errors import ConfigError

SIDE = 128
"""Pixels of a side of the image of ones, at least: every level has one cell or more, and it takes little time."""


def log_flow(model: nn.Module) -> Tensor:
    """Return the sum of log(sum of elements) over a detector's outputs for an image of ones.

    Outputs are, for example, the objectness of all levels, the box deltas, the class scores, the masks. One that nothing
    arrives at counts nothing. Weights must be absolute values, their dtype float64.

    Raises:
        ConfigError: the kind of model, or of its heads, is not known.
    """
    if not isinstance(model, GeneralizedRCNN | ProposalNetwork | DenseDetector):
        raise _unknown(model)
    backbone: Any = model.backbone
    side = max(SIDE, backbone.size_divisibility)
    weight = next(model.parameters())
    ones = torch.ones((1, 3, side, side), dtype=weight.dtype, device=weight.device)
    features: dict[str, Tensor] = backbone(ones)
    if isinstance(model, DenseDetector):
        outputs = _dense_outputs(model, features)
    else:
        rpn: Any = model.proposal_generator
        outputs = list(rpn.rpn_head([features[name] for name in rpn.in_features]))
        if isinstance(model, GeneralizedRCNN):
            outputs += _region_outputs(model.roi_heads, features)
    sums = [total for total in map(_sum, outputs) if float(total.detach()) > 0]
    return torch.stack(sums).log().sum() if sums else torch.zeros((), requires_grad=True)


def _dense_outputs(model: Any, features: Mapping[str, Tensor]) -> list[Any]:
    names = model.head_in_features or list(features)
    return list(model.head([features[name] for name in names]))


def _region_outputs(heads: Any, features: Mapping[str, Tensor]) -> list[Any]:
    if isinstance(heads, Res5ROIHeads):
        tops = [
            heads.res5(region) for region in _regions(features, heads.in_features, heads.pooler)
        ]
        outputs = _over_regions([heads.box_predictor(top.mean(dim=(2, 3))) for top in tops])
        return (
            [*outputs, [heads.mask_head.layers(top) for top in tops]] if heads.mask_on else outputs
        )
    if not isinstance(heads, StandardROIHeads):
        raise _unknown(heads)
    regions = _regions(features, heads.box_in_features, heads.box_pooler)
    stages = [(heads.box_head, heads.box_predictor)]
    if isinstance(heads, CascadeROIHeads):
        stages = list(zip(heads.box_head, heads.box_predictor, strict=True))
    outputs = []
    for head, predictor in stages:
        outputs += _over_regions([predictor(head(region)) for region in regions])
    for kind in ("mask", "keypoint"):
        if not getattr(heads, f"{kind}_on"):
            continue
        names, pooler = getattr(heads, f"{kind}_in_features"), getattr(heads, f"{kind}_pooler")
        if pooler is None:
            raise _unknown(heads)
        head = getattr(heads, f"{kind}_head")
        outputs.append([head.layers(region) for region in _regions(features, names, pooler)])
    return outputs


def _regions(features: Mapping[str, Tensor], names: Iterable[str], pooler: Any) -> list[Tensor]:
    return [functional.adaptive_avg_pool2d(features[name], pooler.output_size) for name in names]


def _over_regions(predictions: Sequence[tuple[Tensor, ...]]) -> list[Any]:
    """Turn (scores, deltas) of each region into the scores of all regions and the deltas of all regions."""
    return [list(output) for output in zip(*predictions, strict=True)]


def _sum(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output.sum()
    return torch.stack([_sum(item) for item in output]).sum()


def _unknown(module: nn.Module) -> ConfigError:
    return ConfigError(
        f"LTH.CRITERION synflow does not know how ones flow through {type(module).__name__}; choose another criterion, "
        "such as snip."
    )
