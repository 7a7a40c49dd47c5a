"""The penalty of RST in Detectron2's trainer."""

from typing import Any

import torch
from torch import nn

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.communicator import Processes
from lth_det.d2.hooks_method import MethodHook
from lth_det.experiments.method_specs import Transform
from lth_det.pruning.rst import Extrusion

LOSS_NAME = "loss_rst"


class TransformHook(MethodHook):
    """Empties the weights that an RST mask will prune.

    Coupled: in training mode the model's losses get one more, ``loss_rst`` = lambda / 2 * |w|^2, through a forward hook
    that is taken away at the end. So loss scaling and gradient clipping treat it as any loss, averaging over
    processes counts it once (each has the same term), and no key of the state dict changes. Decoupled: after the step the
    weights are multiplied by 1 - lambda.

    Called: ``before_train``, ``before_step``, ``after_step``, ``after_train``. Order: right after ``IterationTimer``, before
    the checkpointer and whatever else reads the weights, so that a checkpoint holds the shrunk weights of its step and
    no step is shrunk twice. State: the residual norms found so far and where the training was stopped; lambda follows
    from the iteration. Cost: one pass over the weights of the mask; waits for the device every ``check_period`` steps.

    Args:
        transform: mask, schedule, kind of the penalty, stop rule.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self._spec = transform
        self._extrusion: Extrusion | None = None
        self._strength = 0.0
        self._residuals: list[tuple[int, float, float]] = []
        self._handles: list[Any] = []

    def before_train(self) -> None:
        """Find the weights, and at the very start note how much of them there is to remove.

        Raises:
            MaskMismatchError: the mask is of another model.
            ScopeError: it prunes frozen weights.
        """
        model = unwrap(self.trainer.model)
        self._extrusion = Extrusion(dict(model.named_parameters()), self._spec.mask)
        if not self._spec.decoupled:
            self._handles.append(model.register_forward_hook(self._add_penalty))
        if self.trainer.start_iter == 0 and not self._residuals:
            self._residuals.append((0, 0.0, self._residual()))

    def before_step(self) -> None:
        """Set lambda to that of the iteration."""
        self._strength = self._spec.schedule.strength(self.trainer.iter)

    def after_step(self) -> None:
        """Shrink if decoupled; look at the residual norm now and then, and stop by it."""
        if self._spec.decoupled and self._extrusion is not None:
            self._extrusion.shrink_(self._strength)
        done = self.trainer.iter + 1
        if done % self._spec.check_period and done != self.trainer.max_iter:
            return
        residual = self._residual()
        self._residuals.append((done, self._strength, residual))
        self.trainer.storage.put_scalar("rst/lambda", self._strength, smoothing_hint=False)
        self.trainer.storage.put_scalar("rst/residual", residual, smoothing_hint=False)
        held = self._spec.schedule.ramp <= done < self.trainer.max_iter
        if held and self._spec.stop_residual > 0 and residual <= self._spec.stop_residual:
            self.stop()

    def after_train(self) -> None:
        """Take the penalty away, also after a crash."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._extrusion = [], None

    def details(self) -> dict[str, Any]:
        """Return ``residuals`` [[steps done, lambda, residual norm], ...] and ``stopped_early``."""
        return {
            "residuals": [list(point) for point in self._residuals],
            "stopped_early": self.stopped_at is not None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the residual norms and the stop, for checkpoints."""
        return {**super().state_dict(), "residuals": [list(point) for point in self._residuals]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._residuals = [(int(a), float(b), float(c)) for a, b, c in state_dict["residuals"]]

    def _residual(self) -> float:
        if self._extrusion is None:
            raise RuntimeError("The transformation has not begun.")
        # Processes may round their sums differently on different devices; the stop must be the same for all.
        own = self._extrusion.residual().item()
        return float(Processes().broadcast(repr(own).encode()).decode())

    def _add_penalty(self, module: nn.Module, _inputs: Any, losses: Any) -> Any:
        if not (module.training and torch.is_grad_enabled() and isinstance(losses, dict)):
            return None
        if self._extrusion is None:
            return None
        return {**losses, LOSS_NAME: self._extrusion.penalty(self._strength)}
