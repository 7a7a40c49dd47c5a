"""What the hooks of the methods share: a result at the end, and stopping a training early."""

from typing import Any

from detectron2.engine import HookBase

from lth_det.tickets.mask import Mask


class MethodHook(HookBase):
    """A hook whose findings go into the result of the stage, and which may end the training early.

    State: the step the training was stopped after; so a training that is resumed after its last step does not go on.
    Subclasses add to it. One such hook for a trainer, as Detectron2 keeps state by class.
    """

    def __init__(self) -> None:
        self.stopped_at: int | None = None

    def stop(self) -> None:
        """Let this step be the last; call it in ``after_step``."""
        self.stopped_at = self.trainer.iter + 1
        self.trainer.stop_after_this_step()

    def details(self) -> dict[str, Any]:
        """Return what the stage's record says about the method; JSON values that do not depend on the clock."""
        return {}

    @property
    def mask(self) -> Mask | None:
        """The mask that the method found, if it finds one."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for checkpoints."""
        return {"stopped_at": -1 if self.stopped_at is None else self.stopped_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned, and end the training where it was stopped."""
        if state_dict["stopped_at"] >= 0:
            self.stopped_at = state_dict["stopped_at"]
            self.trainer.end_at(self.stopped_at)
