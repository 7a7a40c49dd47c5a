"""One line now and then that says how far the whole run is, and when it will be done."""

import dataclasses
import logging
import time

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class RunProgress:
    """Iterations of all stages together and the time they took in this process.

    Attributes:
        total: iterations of all stages that are still to be trained.
        period: seconds between two lines.
        done: iterations finished or passed over.
    """

    total: int
    period: float = 10.0
    done: int = 0
    _measured: int = 0
    _seconds: float = 0.0
    _last: float = 0.0
    _line: float = 0.0

    def start(self, passed: int) -> None:
        """Begin a stage whose first ``passed`` iterations are behind it."""
        self.done += passed
        self._last = time.perf_counter()
        self._line = self._line or self._last

    def step(self, stage: str, iteration: int, of: int, loss: float | None = None) -> None:
        """Count one iteration; log if the last line is old or this was the stage's last iteration."""
        now = time.perf_counter()
        self.done += 1
        self._measured += 1
        self._seconds += now - self._last
        self._last = now
        if now - self._line >= self.period or iteration == of:
            self._line = now
            self._log(stage, iteration, of, loss)

    def rest(self) -> None:
        """Add the time since the last iteration (an evaluation) to the pace."""
        now = time.perf_counter()
        self._seconds += now - self._last
        self._last = now

    def eta(self) -> float | None:
        """Return the seconds that are left at the pace so far; None before the first iteration."""
        if not self._measured:
            return None
        return max(0, self.total - self.done) * self._seconds / self._measured

    def _log(self, stage: str, iteration: int, of: int, loss: float | None) -> None:
        eta = self.eta()
        left = "?" if eta is None else f"{int(eta) // 60}:{int(eta) % 60:02d} min"
        shown = "" if loss is None else f", loss {loss:.3f}"
        logger.info(
            "whole run %3.0f %%  |  %s, iteration %d of %d%s  |  ETA %s",
            100 * self.done / max(1, self.total),
            stage,
            iteration,
            of,
            shown,
            left,
        )
