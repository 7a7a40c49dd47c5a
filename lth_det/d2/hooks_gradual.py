"""Pruning during the training, in Detectron2's trainer."""

from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.communicator import Processes
from lth_det.d2.hooks import MaskHook
from lth_det.d2.hooks_method import MethodHook
from lth_det.experiments.method_specs import GradualPruning
from lth_det.tickets.mask import Mask


class GradualHook(MethodHook):
    """Prunes the live weights further and further, and holds the zeros in between.

    The main process decides; all get its bits and compare the hash. Called: ``before_train``, ``after_step``,
    ``after_train``. Order: as :class:`~lth_det.d2.hooks.MaskHook`. State: the mask so far, one bit a weight, so a resumed
    training goes on with the mask it had, and does not guess it from weights that are zero. Cost: that of a
    ``MaskHook``, and a decision every ``period`` steps of the pruning.

    Args:
        gradual: when and how to prune.
        mask_gradients: as in ``MaskHook``.
    """

    def __init__(self, gradual: GradualPruning, *, mask_gradients: bool) -> None:
        super().__init__()
        self._spec, self._mask_gradients = gradual, mask_gradients
        self._mask: Mask | None = None
        self._loaded: dict[str, Tensor] = {}
        self._holder: MaskHook | None = None
        self._prunings: list[tuple[int, float]] = []

    def before_train(self) -> None:
        """Take up the mask of a resumed training."""
        if self._loaded:
            self._mask = self._unpack(self._loaded)
            self._loaded = {}
        if self._mask is not None:
            self._hold(self._mask)

    def after_step(self) -> None:
        """Zero what is pruned; prune further when it is time."""
        if self._holder is not None:
            self._holder.after_step()
        done = self.trainer.iter + 1
        if not self._spec.due(done, self.trainer.max_iter):
            return
        processes = Processes()
        bits = load(processes.on_main(lambda: save(self._decide(done))))
        self._mask = self._unpack(bits)
        processes.agree(self._mask.sha256(), f"The mask after {done} iterations")
        self._hold(self._mask)
        self._prunings.append((done, self._mask.prune_rate))

    def after_train(self) -> None:
        """Let go of the weights, also after a crash."""
        self._let_go()

    @property
    def mask(self) -> Mask | None:
        """The mask so far."""
        return self._mask

    def details(self) -> dict[str, Any]:
        """Return ``prunings`` [[steps done, prune rate], ...]."""
        return {"prunings": [list(point) for point in self._prunings]}

    def state_dict(self) -> dict[str, Any]:
        """Return the mask (packed bits by name) and the prunings so far, for checkpoints."""
        return {
            **super().state_dict(),
            # A resumed run may save before its training begins, which is when the loaded mask is taken up.
            "mask": dict(self._loaded) if self._mask is None else _pack(self._mask),
            "prunings": [list(point) for point in self._prunings],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._loaded = dict(state_dict["mask"])
        self._prunings = [(int(done), float(rate)) for done, rate in state_dict["prunings"]]

    def _decide(self, done: int) -> dict[str, Tensor]:
        weights = {name: w.detach() for name, w in unwrap(self.trainer.model).state_dict().items()}
        progress = self._spec.progress(done, self.trainer.max_iter)
        return _pack(self._spec.decide(weights, progress, self._mask))

    def _unpack(self, bits: dict[str, Tensor]) -> Mask:
        shapes = {
            name: tuple(parameter.shape)
            for name, parameter in unwrap(self.trainer.model).named_parameters()
            if name in bits
        }
        return Mask.from_packed(
            shapes, {name: value.cpu().numpy().astype(np.uint8) for name, value in bits.items()}
        )

    def _hold(self, mask: Mask) -> None:
        self._let_go()
        self._holder = MaskHook(mask, mask_gradients=self._mask_gradients)
        self._holder.trainer = self.trainer
        self._holder.before_train()

    def _let_go(self) -> None:
        if self._holder is not None:
            self._holder.after_train()
            self._holder = None


def _pack(mask: Mask) -> dict[str, Tensor]:
    return {name: torch.from_numpy(mask.packed(name).copy()) for name in mask}
