"""Recording early-bird masks in Detectron2's trainer."""

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.communicator import Processes
from lth_det.d2.hooks_method import MethodHook
from lth_det.experiments.method_specs import EarlyBird


class EarlyBirdHook(MethodHook):
    """Records the mask that would be picked, every ``period`` steps and after the last, and may end the training.

    Called: ``after_step``. Order: before the checkpointer, so that the masks up to a checkpoint are on disk when it is.
    State: where the training was stopped; the masks are files. Cost: a decision every ``period`` steps, on the main
    process.

    Args:
        early_bird: when to record, and how.
    """

    def __init__(self, early_bird: EarlyBird) -> None:
        super().__init__()
        self._spec = early_bird

    def after_step(self) -> None:
        """Record the mask when it is time, and stop if it is stable and that is asked for."""
        done, last = self.trainer.iter + 1, self.trainer.max_iter
        if done % self._spec.period and done != last:
            return
        stable = Processes().on_main(lambda: b"1" if self._record(done) else b"0") == b"1"
        if stable and self._spec.stop and self._spec.earliest <= done < last:
            self.stop()

    def _record(self, done: int) -> bool:
        state = unwrap(self.trainer.model).state_dict()
        return self._spec.record({name: value.detach() for name, value in state.items()}, done)
