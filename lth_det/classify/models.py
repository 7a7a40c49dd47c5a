"""The classifiers: ResNets of torchvision, narrow ones with torchvision's parameter names, and those of CIFAR."""

import json
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lth_det.classify.config import ModelConfig
from lth_det.classify.shortcuts import PaddedShortcut, projected_shortcut
from lth_det.errors import ConfigError

_CIFAR_DEPTHS = (20, 32, 44, 56, 110)
_CIFAR_WIDTHS = (16, 32, 64)

Shortcut = Callable[[int, int, int], nn.Module]
"""(channels in, channels out, stride) -> the shortcut of a block that changes them."""


class NarrowResNet(nn.Module):
    """A ResNet of basic blocks with free widths, and torchvision's names (``conv1``, ``layer1.0.conv1``, ``fc``).

    With the stem ``imagenet`` it computes, up to ``fc``, the same function of the same weights as the narrow ResNet
    of the small detectors (``lth_det.d2.backbone``): 7x7 convolution with stride 2, batch norm, ReLU, 3x3 max-pooling
    with stride 2; stages of basic blocks (stride in the first 3x3 convolution, 1x1 shortcut convolution where the
    width or the stride changes). The stem ``cifar`` is a 3x3 convolution with stride 1 and no pooling (He et al. 2016,
    section 4.2; shortcuts by convolution, their option B, if no other ones are given).

    Args:
        model: widths, blocks and stem.
        num_classes: outputs of ``fc``.
        shortcut: makes the shortcuts.
    """

    def __init__(
        self, model: ModelConfig, num_classes: int, shortcut: Shortcut = projected_shortcut
    ) -> None:
        super().__init__()
        width = model.stem_width
        self.conv1, self.maxpool = _stem(model.stem, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages = [f"layer{number}" for number in range(1, len(model.widths) + 1)]
        for index, (out, blocks) in enumerate(zip(model.widths, model.blocks, strict=True)):
            stage = [_block(width, out, 1 if index == 0 else 2, shortcut)]
            stage += [_block(out, out, 1, shortcut) for _ in range(blocks - 1)]
            self.add_module(self.stages[index], nn.Sequential(*stage))
            width = out
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as torchvision and Detectron2 both do
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the stages for normalised images (N, 3, H, W): each (N, width, height, width)."""
        found = []
        value = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name in self.stages:
            value = self.get_submodule(name)(value)
            found.append(value)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of normalised images (N, 3, H, W)."""
        pooled: Tensor = self.avgpool(self.features(images)[-1])
        logits: Tensor = self.fc(pooled.flatten(1))
        return logits


def build_model(
    model: ModelConfig, num_classes: int, *, seed: int, head_layers: int = 1, head_hidden: int = 0
) -> nn.Module:
    """Return the configured classifier, on the CPU, initialised from ``seed`` alone.

    ``model.weights`` is not loaded here.

    Args:
        model: the configuration.
        num_classes: outputs.
        seed: of the initialisation; the global random state is left as it was.
        head_layers: linear layers in the head ``fc``, 1 or 2 (then ``fc.0`` and ``fc.2`` with a ReLU between).
        head_hidden: width between two layers; 0 = as many as the features.

    Raises:
        ConfigError: the name is unknown, or the stem does not fit it.
    """
    network: Any
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = _network(model, num_classes)
        if head_layers == 2:
            inputs = network.fc.in_features
            hidden = head_hidden or inputs
            network.fc = nn.Sequential(
                nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_classes)
            )
    built: nn.Module = network
    return built


def architecture_options(model: ModelConfig) -> str:
    """Return what besides the name decides the architecture, as JSON text."""
    options: dict[str, Any] = {"stem": model.stem}
    if model.name == "narrow_resnet":
        options |= {
            "stem_width": model.stem_width,
            "widths": list(model.widths),
            "blocks": list(model.blocks),
        }
    return json.dumps(options, sort_keys=True)


def _network(model: ModelConfig, num_classes: int) -> Any:
    if model.name == "narrow_resnet":
        return NarrowResNet(model, num_classes)
    if model.name in (*_cifar_names("cifar_resnet"), *_cifar_names("resnet")):
        return _cifar_resnet(model.name, num_classes)
    if model.name not in model_names():
        raise ConfigError(
            f"model.name is {model.name!r}; choose one of {', '.join(model_names())}."
        )
    network = getattr(torchvision.models, model.name)(weights=None, num_classes=num_classes)
    if model.stem == "cifar":
        network.conv1, network.maxpool = _stem("cifar", 64)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def model_names() -> tuple[str, ...]:
    """Return the names that ``model.name`` may have."""
    resnets = [
        name
        for name in torchvision.models.list_models(module=torchvision.models)
        if torchvision.models.get_model_builder(name).__module__
        == torchvision.models.resnet.__name__
    ]
    own = (*_cifar_names("resnet"), *_cifar_names("cifar_resnet"))
    return ("narrow_resnet", *own, *sorted(resnets))


def _cifar_names(family: str) -> tuple[str, ...]:
    return tuple(f"{family}{depth}" for depth in _CIFAR_DEPTHS)


def _cifar_resnet(name: str, num_classes: int) -> NarrowResNet:
    """Return a ResNet for CIFAR (He et al. 2016, section 4.2): three stages of (depth - 2) / 6 basic blocks each."""
    projected = name.startswith("cifar_")
    blocks = (int(name.rsplit("resnet", maxsplit=1)[1]) - 2) // 6
    model = ModelConfig(
        name=name,
        stem="cifar",
        stem_width=_CIFAR_WIDTHS[0],
        widths=_CIFAR_WIDTHS,
        blocks=(blocks,) * len(_CIFAR_WIDTHS),
    )
    if projected:
        return NarrowResNet(model, num_classes)
    network = NarrowResNet(model, num_classes, PaddedShortcut)
    for module in network.modules():
        # By the inputs, and the classifier too: as the code of Bai et al. (2022) has it.
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def _stem(kind: str, width: int) -> tuple[nn.Conv2d, nn.Module]:
    if kind == "cifar":
        return nn.Conv2d(3, width, 3, padding=1, bias=False), nn.Identity()
    conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    return conv, nn.MaxPool2d(3, stride=2, padding=1)


def _block(inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> nn.Module:
    changed = stride != 1 or inputs != outputs
    block: nn.Module = BasicBlock(
        inputs, outputs, stride, shortcut(inputs, outputs, stride) if changed else None
    )
    return block
