"""Top-1 and top-5 accuracy on the validation images."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from lth_det.classify.transforms import Normalize

TOP = (1, 5)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Any], normalize: Normalize) -> dict[str, float]:
    """Return ``top1`` and ``top5``: percent of the images whose class is among the 1 or 5 highest logits.

    With fewer than five classes ``top5`` counts them all, so it is 100. Equal logits: the lower class number first, by
    a stable sort. NaN without images.

    Args:
        model: any classifier; it is put into evaluation mode and back.
        batches: images (N, 3, S, S) uint8 and labels (N,).
        normalize: applied to the images.
    """
    training = [module.training for module in model.modules()]
    model.eval()
    seen, hits = 0, dict.fromkeys(TOP, 0)
    for images, labels in batches:
        logits = model(normalize(images)).float().cpu()
        order = logits.argsort(dim=1, descending=True, stable=True)
        found = order == labels[:, None]
        seen += len(labels)
        for top in TOP:
            hits[top] += int(found[:, :top].sum())
    for module, mode in zip(model.modules(), training, strict=True):
        module.training = mode
    return {f"top{top}": 100 * hits[top] / seen if seen else float("nan") for top in TOP}
