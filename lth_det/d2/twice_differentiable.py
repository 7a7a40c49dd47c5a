"""RoIAlign that can be differentiated twice, which GraSP and other second-order criteria need.

torchvision's has no second derivative. But for fixed boxes it is linear in the features, so the derivative of its
derivative is itself once more.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.layers import ROIAlign
from torch import Tensor, nn
from torch.autograd import Function


class _Pool(Function):
    """RoIAlign; the other arguments are those of torchvision's operator."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, boxes: Tensor, options: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(boxes)
        ctx.options, ctx.shape = options, features.shape
        scale, height, width, ratio, aligned = options
        pooled: Tensor = torch.ops.torchvision.roi_align(
            features, boxes, scale, height, width, ratio, aligned
        )
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (boxes,) = ctx.saved_tensors
        return _Spread.apply(gradients[0], boxes, ctx.options, ctx.shape), None, None


class _Spread(Function):
    """The transpose of RoIAlign: gradients of the pooled values -> gradients of the features."""

    @staticmethod
    def forward(
        ctx: Any, pooled: Tensor, boxes: Tensor, options: tuple[Any, ...], shape: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(boxes)
        ctx.options = options
        scale, height, width, ratio, aligned = options
        spread: Tensor = torch.ops.torchvision._roi_align_backward(
            pooled.contiguous(), boxes, scale, height, width, *shape, ratio, aligned
        )
        return spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (boxes,) = ctx.saved_tensors
        return _Pool.apply(gradients[0], boxes, ctx.options), None, None, None


@contextlib.contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Let every ``ROIAlign`` of a model have second derivatives for the time of the block; its values stay the same."""
    layers = [module for module in model.modules() if isinstance(module, ROIAlign)]
    try:
        for layer in layers:
            layer.__dict__["forward"] = _forward_of(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _forward_of(layer: Any) -> Any:
    def forward(features: Tensor, boxes: Tensor) -> Any:
        height, width = layer.output_size
        options = (layer.spatial_scale, height, width, layer.sampling_ratio, layer.aligned)
        return _Pool.apply(features, boxes.to(features.dtype), options)

    return forward
