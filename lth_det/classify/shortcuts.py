"""Shortcuts of residual blocks whose width or resolution changes (He et al. 2016, section 4.1)."""

from torch import Tensor, nn
from torch.nn import functional


class PaddedShortcut(nn.Module):
    """Option A: every second pixel, with zero channels before and after; no parameters.

    Half of the new channels stand before the old ones and half after, as in the usual code of CIFAR's ResNets (the paper
    does not say where).

    Args:
        inputs: channels of the input.
        outputs: channels of the output; ``outputs - inputs`` is even.
        stride: distance of the pixels taken.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self._side, self._stride = (outputs - inputs) // 2, stride

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        pixels = images[:, :, :: self._stride, :: self._stride]
        return functional.pad(pixels, (0, 0, 0, 0, self._side, self._side))


def projected_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return option B: a 1x1 convolution with batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )
