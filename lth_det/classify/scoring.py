"""Losses of a classifier at given weights: for criteria with gradients and for sensitivity curves."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lth_det.classify.transforms import Normalize

Batch = tuple[Tensor, Tensor]


class ClassifierScoring:
    """A :class:`~lth_det.experiments.scoring.Scoring` of one model and some training batches held in memory.

    Losses are computed as in training: batch norm uses the statistics of the batch, and keeps its running ones. Nothing in a ResNet draws random numbers.

    Args:
        model: in training mode, on its device.
        data: batches of images (N, 3, S, S) uint8 and labels (N,).
        normalize: applied to the images.
        label_smoothing: of the cross entropy.
    """

    def __init__(
        self, model: nn.Module, data: Sequence[Batch], normalize: Normalize, label_smoothing: float
    ) -> None:
        self.model = model
        # With momentum 0 a forward pass leaves the running statistics; setting them back afterwards would spoil the
        # tensors that the backward pass needs.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
        self._data, self._normalize, self._smoothing = list(data), normalize, label_smoothing
        self._places = itertools.cycle(range(len(self._data)))

    @property
    def batches(self) -> int:
        """How many batches there are."""
        return len(self._data)

    def loss(self) -> Tensor:
        """Return the cross entropy of the next batch; after the last comes the first again."""
        images, labels = self._data[next(self._places)]
        logits = self.model(self._normalize(images))
        return functional.cross_entropy(
            logits, labels.to(logits.device), label_smoothing=self._smoothing
        )

    def flow(self) -> Tensor:
        """Return the sum of the logits for an image of ones, in the dtype of the weights."""
        weight = next(self.model.parameters())
        size = self._data[0][0].shape[-1]
        ones = torch.ones((1, 3, size, size), dtype=weight.dtype, device=weight.device)
        logits: Tensor = self.model(ones)
        return logits.sum()
