"""Options of the training step that Detectron2 lacks: layout of the images, and mixed precision without a GPU's scaler."""

from typing import Any

import torch
from torch import Tensor, nn

from lth_det.errors import ConfigError

PRECISIONS = ("", "bfloat16")


def apply_step_options(cfg: Any, model: nn.Module) -> None:
    """Make a Detectron2 model compute as ``LTH.CHANNELS_LAST`` and ``LTH.AUTOCAST`` say, in place.

    Parameters keep dtype float32 and their layout, so that masks, rewinding, hashes and checkpoints do not notice.

    Args:
        cfg: the configuration; with both keys at their defaults nothing is changed.
        model: a network with the attribute ``backbone``, which gets images (N, C, H, W).

    Raises:
        ConfigError: ``LTH.AUTOCAST`` and ``SOLVER.AMP.ENABLED`` are both on.
    """
    if cfg.LTH.AUTOCAST and cfg.SOLVER.AMP.ENABLED:
        raise ConfigError(
            "LTH.AUTOCAST and SOLVER.AMP.ENABLED are both on; keep one: AMP is Detectron2's float16 with a loss scaler, for GPUs."
        )
    if cfg.LTH.CHANNELS_LAST:
        model.get_submodule("backbone").register_forward_pre_hook(_channels_last)
    if cfg.LTH.AUTOCAST:
        _Autocast(cfg.MODEL.DEVICE.split(":")[0], getattr(torch, cfg.LTH.AUTOCAST)).attach(model)


def _channels_last(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # Convolutions hand the layout on; those of the weights are not touched.
    images, *others = arguments
    return (images.contiguous(memory_format=torch.channels_last), *others)


class _Autocast:
    """Autocast around the forward pass of training; evaluation stays in float32, as under Detectron2's AMP."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._open: list[torch.autocast] = []

    def attach(self, model: nn.Module) -> None:
        model.register_forward_pre_hook(self._enter)
        model.register_forward_hook(
            self._leave, always_call=True
        )  # also when the forward pass raises

    def _enter(self, model: nn.Module, _: Any) -> None:
        context = torch.autocast(self._device, dtype=self._dtype, enabled=model.training)
        context.__enter__()
        self._open.append(context)

    def _leave(self, *_: Any) -> None:
        if self._open:
            self._open.pop().__exit__(None, None, None)
