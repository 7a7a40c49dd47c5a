"""From a picture to the network's input; every random draw comes from a generator that is passed in."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lth_det.classify.config import DataConfig
from lth_det.classify.data.images import Pixels

_AREA = (0.08, 1.0)
_LOG_ASPECT = math.log(4 / 3)


class TrainTransform:
    """Augmentation as ``data.augment`` says, then scaling to ``data.input_size``; uint8 in, uint8 out.

    Args:
        config: of the data set.
    """

    def __init__(self, config: DataConfig) -> None:
        self._config = config

    def __call__(self, image: Pixels, draw: np.random.Generator) -> Tensor:
        """Return ``image`` (H, W, 3) as (3, S, S) uint8, augmented with the numbers of ``draw``."""
        config = self._config
        if config.augment == "resized_crop_flip":
            image = _random_part(image, draw)
        scaled = _resized(_channels_first(image), (config.input_size, config.input_size))
        if config.augment == "crop_flip":
            scaled = _padded_crop(scaled, config.pad, draw)
        if config.augment != "none" and draw.random() < 0.5:
            scaled = scaled.flip(2)
        return scaled


class ValTransform:
    """Scaling and a centre crop (``data.crop_share``): nothing random.

    Args:
        config: of the data set.
    """

    def __init__(self, config: DataConfig) -> None:
        self._size, self._share = config.input_size, config.crop_share

    def __call__(self, image: Pixels) -> Tensor:
        """Return ``image`` (H, W, 3) as (3, S, S) uint8."""
        height, width = image.shape[:2]
        if self._share == 1.0 and height == width:
            return _resized(_channels_first(image), (self._size, self._size))
        scale = self._size / self._share / min(height, width)
        sides = max(self._size, round(height * scale)), max(self._size, round(width * scale))
        scaled = _resized(_channels_first(image), sides)
        top, left = (sides[0] - self._size) // 2, (sides[1] - self._size) // 2
        return scaled[:, top : top + self._size, left : left + self._size]


class Normalize:
    """Turns a batch (N, 3, S, S) uint8 into float32: (value - mean) / std per channel, on the 0-255 scale.

    Args:
        config: of the data set.
        device: where the batch goes.
    """

    def __init__(self, config: DataConfig, device: torch.device) -> None:
        self._mean = torch.tensor(config.mean, device=device).view(1, 3, 1, 1)
        self._scale = 1 / torch.tensor(config.std, device=device).view(1, 3, 1, 1)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the normalised batch on the device."""
        values = batch.to(self._mean.device, non_blocking=True).float()
        return (values - self._mean).mul_(self._scale)


def _channels_first(image: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _resized(image: Tensor, sides: tuple[int, int]) -> Tensor:
    if tuple(image.shape[1:]) == sides:
        return image
    # Antialiased, as Pillow does it and torchvision's reference training.
    return functional.interpolate(image[None], sides, mode="bilinear", antialias=True)[0]


def _padded_crop(image: Tensor, pad: int, draw: np.random.Generator) -> Tensor:
    size = image.shape[1]
    padded = functional.pad(image, (pad, pad, pad, pad))
    top, left = draw.integers(0, 2 * pad, size=2, endpoint=True)
    return padded[:, top : top + size, left : left + size]


def _random_part(image: Pixels, draw: np.random.Generator) -> Pixels:
    """Return a random part as torchvision's ``RandomResizedCrop``: area 8 to 100 %, aspect ratio 3:4 to 4:3."""
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * draw.uniform(*_AREA)
        aspect = math.exp(draw.uniform(-_LOG_ASPECT, _LOG_ASPECT))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top = int(draw.integers(0, height - high, endpoint=True))
            left = int(draw.integers(0, width - wide, endpoint=True))
            return image[top : top + high, left : left + wide]
    side: Any = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
