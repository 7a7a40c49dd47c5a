"""Where a Detectron2 detector has channels that only lead from one layer to the next, so that they can be removed."""

import itertools
from collections.abc import Iterator

from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    ROIHeads,
)
from torch import nn

from lth_det.export.channels import Chain

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)


def channel_chains(model: nn.Module) -> list[Chain]:
    """Return the chains of a detector: inside residual blocks, inside the heads, and from the heads to their predictors.

    Read from module types, not from names; other modules, layers with groups and layers with norms that mix channels
    (group norm) have no chain. The residual stream and the feature pyramid are sums, so they have none either.
    """
    return [chain for path in _paths(model) for chain in _chains(model, path)]


def _paths(model: nn.Module) -> Iterator[list[tuple[str, ...]]]:
    """Yield sequences of layers; each item holds the names of the layers that read the item before."""
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        # These types exactly: a subclass may do something else between its layers.
        kind = type(module)
        if kind is BottleneckBlock:
            yield [(f"{prefix}conv{number}",) for number in (1, 2, 3)]
        elif kind is BasicBlock:
            yield [(f"{prefix}conv{number}",) for number in (1, 2)]
        elif kind is StandardRPNHead:
            yield [
                *_sequence(f"{prefix}conv", module.conv),
                (f"{prefix}objectness_logits", f"{prefix}anchor_deltas"),
            ]
        elif kind in (MaskRCNNConvUpsampleHead, KRCNNConvDeconvUpsampleHead):
            yield _sequence(name, module)
        elif isinstance(module, ROIHeads):
            yield from _box_path(prefix, module)


def _sequence(name: str, module: nn.Module) -> list[tuple[str, ...]]:
    if isinstance(module, _LAYERS):
        return [(name,)]
    return [
        (f"{name}.{child}" if name else child,)
        for child, part in module.named_children()
        if isinstance(part, _LAYERS)
    ]


def _box_path(prefix: str, heads: nn.Module) -> Iterator[list[tuple[str, ...]]]:
    head, predictor = getattr(heads, "box_head", None), getattr(heads, "box_predictor", None)
    if head is None or type(head) is not FastRCNNConvFCHead:
        return
    layers = _sequence(f"{prefix}box_head", head)
    if type(predictor) is FastRCNNOutputLayers:
        layers.append((f"{prefix}box_predictor.cls_score", f"{prefix}box_predictor.bbox_pred"))
    yield layers


def _chains(model: nn.Module, path: list[tuple[str, ...]]) -> Iterator[Chain]:
    for (producer, *others), readers in itertools.pairwise(path):
        if others or not all(_is_plain(model.get_submodule(n)) for n in (producer, *readers)):
            continue
        yield Chain(
            producer=producer,
            norm=_norm(model, producer),
            readers=readers,
            reader_norms=tuple(_norm(model, name) for name in readers),
        )


def _norm(model: nn.Module, name: str) -> str:
    return f"{name}.norm" if getattr(model.get_submodule(name), "norm", None) is not None else ""


def _is_plain(layer: nn.Module) -> bool:
    norm = getattr(layer, "norm", None)
    return (
        isinstance(layer, _LAYERS)
        and getattr(layer, "groups", 1) == 1
        and (norm is None or (isinstance(norm, _NORMS) and norm.running_mean is not None))
    )
