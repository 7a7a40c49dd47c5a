"""One line now and then that says how far the whole run is, not only the round."""

import dataclasses
import logging
import time

from detectron2.engine import HookBase

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class RunProgress:
    """Iterations of all stages together, and the time they took in this process.

    Attributes:
        total: iterations of all stages that are to be trained.
        done: iterations finished or skipped, in all stages.
        measured: iterations trained by this process.
        seconds: what they took, evaluation included.
    """

    total: int
    done: int = 0
    measured: int = 0
    seconds: float = 0.0

    def eta(self) -> float | None:
        """Return the seconds that are left at the pace so far; ``None`` before the first iteration."""
        if self.measured == 0:
            return None
        return (self.total - self.done) * self.seconds / self.measured


class ProgressHook(HookBase):
    """Logs the progress of the whole run at most every ``period`` seconds, and at the end of each stage.

    Called: ``before_train``, ``after_step`` and ``after_train``. State: none.
    """

    def __init__(self, progress: RunProgress, stage: str, period: float = 10.0) -> None:
        self._progress, self._stage, self._period = progress, stage, period
        self._last_step = self._last_line = 0.0

    def before_train(self) -> None:
        """Count what a resumed stage has behind it."""
        self._progress.done += self.trainer.start_iter
        self._last_step = self._last_line = time.perf_counter()

    def after_step(self) -> None:
        """Count one iteration and log if the last line is old."""
        now = time.perf_counter()
        self._progress.done += 1
        self._progress.measured += 1
        self._progress.seconds += now - self._last_step
        self._last_step = now
        if now - self._last_line >= self._period:
            self._last_line = now
            self._log()

    def after_train(self) -> None:
        """Add the time of the evaluation to the pace."""
        now = time.perf_counter()
        self._progress.seconds += now - self._last_step
        self._log()

    def _log(self) -> None:
        progress = self._progress
        eta = progress.eta()
        left = "?" if eta is None else f"{int(eta) // 60}:{int(eta) % 60:02d} min"
        share = 100 * progress.done / max(1, progress.total)
        logger.info(
            "whole run %3.0f %%  |  %s, iteration %d of %d  |  ETA %s",
            share,
            self._stage,
            self.trainer.iter + 1
            if self.trainer.iter < self.trainer.max_iter
            else self.trainer.max_iter,
            self.trainer.max_iter,
            left,
        )
