"""The penalty of RST in the training loop of a classifier."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lth_det.experiments.method_specs import Transform
from lth_det.pruning.rst import Extrusion


class Transformation:
    """Empties the weights that an RST mask will prune, while a model trains; without a specification it does nothing.

    Coupled: :meth:`penalty` is a term of the loss. Decoupled: :meth:`after_step` shrinks the weights. Call ``begin`` once,
    and ``after_step`` before anything saves the weights, so that no step is shrunk twice. State: the residual norms found
    so far (lambda follows from the iteration, the stop from the residuals); ``state`` goes into a checkpoint.

    Args:
        model: in training mode, on its device.
        spec: mask, schedule, kind of the penalty, stop rule; None = an ordinary training.

    Raises:
        MaskMismatchError: the mask is of another model.
        ScopeError: it prunes frozen weights.
    """

    def __init__(self, model: nn.Module, spec: Transform | None) -> None:
        self._spec = spec
        self._residuals: list[list[float]] = []
        self._extrusion = (
            None if spec is None else Extrusion(dict(model.named_parameters()), spec.mask)
        )

    @property
    def stopped(self) -> bool:
        """Whether the stop rule ends the training here: in the hold, with a residual norm that is small enough."""
        spec = self._spec
        if spec is None or not self._residuals or spec.stop_residual <= 0:
            return False
        done, _, residual = self._residuals[-1]
        held = spec.schedule.ramp <= done < spec.schedule.iterations
        return held and residual <= spec.stop_residual

    def begin(self, iteration: int) -> None:
        """Note at the very start (iteration 0) how much there is to remove."""
        if iteration == 0:
            self._look(0, 0.0)

    def penalty(self, iteration: int) -> Tensor | None:
        """Return the term of the loss in ``iteration`` (from 0); None where there is none."""
        if self._spec is None or self._extrusion is None or self._spec.decoupled:
            return None
        return self._extrusion.penalty(self._spec.schedule.strength(iteration))

    def after_step(self, iteration: int) -> None:
        """Shrink if decoupled; look at the residual norm now and then."""
        spec = self._spec
        if spec is None or self._extrusion is None:
            return
        strength = spec.schedule.strength(iteration)
        if spec.decoupled:
            self._extrusion.shrink_(strength)
        done = iteration + 1
        if done % spec.check_period == 0 or done == spec.schedule.iterations:
            self._look(done, strength)

    def details(self) -> dict[str, Any]:
        """Return ``residuals`` [[steps done, lambda, residual norm], ...] and ``stopped_early``; empty without RST."""
        if self._spec is None:
            return {}
        residuals = [[int(done), *rest] for done, *rest in self._residuals]
        return {"residuals": residuals, "stopped_early": self.stopped}

    def state(self) -> list[list[float]]:
        """Return what a checkpoint has to keep."""
        return [list(point) for point in self._residuals]

    def load_state(self, state: Sequence[Sequence[float]]) -> None:
        """Load what :meth:`state` returned."""
        self._residuals = [[float(value) for value in point] for point in state]

    def _look(self, done: int, strength: float) -> None:
        if self._extrusion is not None:
            self._residuals.append([done, strength, self._extrusion.residual().item()])
