"""What the export of a ticket needs from Detectron2: the detector that a configuration describes."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, cast

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from lth_det.d2.channel_chains import channel_chains
from lth_det.errors import ConfigError
from lth_det.export.channel_shapes import cut_mask, fit_shapes_
from lth_det.export.channels import Removal, remove_channels_
from lth_det.export.compact_reader import load_compact
from lth_det.export.onnx_file import OnnxReport, export_onnx
from lth_det.tickets.differences import require_equal_shapes
from lth_det.tickets.mask import Mask

EXAMPLE_SIDE = 128
"""Height and width in pixels of the image that an exported network is traced and checked with."""


@dataclasses.dataclass(frozen=True)
class Reduced:
    """A detector without the channels that no longer matter."""

    state: dict[str, Tensor]
    mask: Mask
    removals: list[Removal]


def load_detector(cfg: Any, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the detector of a configuration with these weights, on the CPU, in evaluation mode.

    Layers may be smaller than the configuration says: those of a detector whose channels were removed.

    Raises:
        MaskMismatchError: names or shapes differ otherwise; all of them are named.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    model = cast(nn.Module, build_model(cfg))
    fit_shapes_(model, channel_chains(model), state)
    require_equal_shapes(
        {name: tuple(value.shape) for name, value in model.state_dict().items()},
        {name: tuple(value.shape) for name, value in state.items()},
        what="The weights do not fit the configuration",
    )
    model.load_state_dict(dict(state))
    return model.eval()


def load_compact_detector(cfg: Any, path: str | os.PathLike[str]) -> nn.Module:
    """Return the detector in a compact checkpoint, with or without removed channels, ready for inference.

    Raises:
        TicketFormatError: the file is no compact checkpoint.
        MaskMismatchError: it is of another detector.
    """
    return load_detector(cfg, load_compact(path).state)


def without_dead_channels(cfg: Any, state: Mapping[str, Tensor], mask: Mask) -> Reduced:
    """Return weights and mask without the channels that no longer matter (see ``lth_det.export.channels``).

    Raises:
        MaskMismatchError: the weights do not fit the configuration.
        ConfigError: the detector has no layers from which channels could be removed.
    """
    model = load_detector(cfg, state)
    chains = channel_chains(model)
    if not chains:
        raise ConfigError(
            f"{type(model).__name__} has no chain of layers that channels could be removed from."
        )
    removals = remove_channels_(model, chains)
    left = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Reduced(left, cut_mask(mask, model, chains, removals), removals)


class _Features(nn.Module):
    """A backbone with its pyramid as a function from an image batch to a tuple of feature maps."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(image).values())


def export_features(
    cfg: Any, state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> OnnxReport:
    """Write the backbone and its feature pyramid to an ONNX file, zeros kept, and check it in onnxruntime.

    Input ``image``: (N, 3, H, W), normalised as the configuration says, H and W multiples of the backbone's stride.
    Outputs: the feature maps by their names in Detectron2 (``p2`` ... ``p6``).

    Raises:
        MaskMismatchError: the weights do not fit the configuration.
        ConfigError: onnx or onnxruntime is not installed.
        RunError: the file cannot be written, or the check fails.
    """
    model = load_detector(cfg, state)
    backbone = cast(Any, model).backbone
    example = torch.randn(
        1, 3, EXAMPLE_SIDE, EXAMPLE_SIDE, generator=torch.Generator().manual_seed(0)
    )
    network = _Features(backbone).eval()
    with torch.no_grad():
        names = tuple(backbone(example))
    return export_onnx(network, example, path, outputs=names)
