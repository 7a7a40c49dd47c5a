"""What an experiment needs from the outside: something that trains a stage, and a way to talk to the other processes."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lth_det.experiments.method_specs import EarlyBird, GradualPruning, Transform
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training of an experiment.

    Attributes:
        name: folder of the stage below the run's, such as ``"round_01"``.
        folder: the whole path.
        ticket: mask and weights to start from; ``None`` = the dense round. A ticket without weights starts from the
            initialisation.
        seed: of initialisation, data order and augmentation.
        init_seed: of the initialisation alone, where it is another one.
        start_iteration: place in the schedule to start at (0 = the whole schedule).
        snapshot: where the dense round saves its rewind snapshot; ``None`` = none.
        snapshot_iteration: after how many steps.
        iterations: length of the schedule where it is not the configured one, which is stretched to it.
        start: state dict to begin with, where there is no ticket; ``None`` = the initialisation.
        transform: penalty of an RST transformation.
        gradual: pruning during the training.
        early_bird: masks to record during the training. A trainer says in ``methods`` which of these three it
            knows ("rst", "gradual", "early_bird").
    """

    name: str
    folder: Path
    ticket: Ticket | None
    seed: int
    init_seed: int | None = None
    start_iteration: int = 0
    snapshot: Path | None = None
    snapshot_iteration: int = 0
    iterations: int | None = None
    start: Mapping[str, Tensor] | None = None
    transform: Transform | None = None
    gradual: GradualPruning | None = None
    early_bird: EarlyBird | None = None

    @property
    def initialisation(self) -> int:
        """The seed of the initialisation."""
        return self.seed if self.init_seed is None else self.init_seed


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What a finished training leaves.

    Attributes:
        weights: checkpoint of the final weights.
        metrics: Detectron2's metric names (``bbox/AP``) -> values in 0-100; NaN where not computable.
        predictions: COCO-format results of the validation set, if there are some.
        train_seconds: wall time of the training, of this process since it was last started.
        eval_seconds: wall time of the evaluations on top of that.
        iterations: place in the schedule at which the training ended; 0 where the trainer does not say.
        details: what the method of the stage found (see :mod:`lth_det.experiments.method_specs`); JSON values.
        mask: the mask that a gradual pruning ended with.
    """

    weights: Path
    metrics: Mapping[str, float]
    predictions: Path | None
    train_seconds: float
    eval_seconds: float = 0.0
    iterations: int = 0
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mask: Mask | None = None


class StageTrainer(Protocol):
    """Trains stages of one model and data set. ``lth_det.d2.stages.DetectorStages`` is one; tests use toys.

    One that can do more than plain stages has an attribute ``methods``; experiments ask for it with
    :func:`lth_det.experiments.method_specs.require_method`.
    """

    @property
    def table(self) -> ParameterTable:
        """The parameters of the model: groups, and which are prunable."""

    def train(self, stage: Stage) -> StageResult:
        """Train and evaluate a stage; called by all processes together."""

    def check(self, ticket: Ticket) -> None:
        """Check that a ticket is one of this model.

        Raises:
            MaskMismatchError: it is not; all differences are named.
        """

    def load_weights(self, path: Path) -> dict[str, Tensor]:
        """Return the state dict of a checkpoint that :meth:`train` wrote."""

    def overlay(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``state`` with the values of the checkpoint ``path`` (any that Detectron2 loads) where it has some."""


class Communicator(Protocol):
    """The processes of a data-parallel run."""

    @property
    def is_main(self) -> bool:
        """Whether this process decides and writes."""

    def on_main(self, work: Callable[[], bytes]) -> bytes:
        """Let the main process do ``work`` and return its bytes on every process.

        Raises:
            LthDetError: ``work`` raised it; the other processes raise ``ReportedElsewhereError``, so that none waits
                for a process that is gone.
        """

    def agree(self, value: str, what: str) -> None:
        """Check that ``value`` is the same on every process.

        Raises:
            RunError: it is not; ``what`` names it.
        """


class SingleProcess:
    """The communicator of a run with one process."""

    is_main = True

    def on_main(self, work: Callable[[], bytes]) -> bytes:
        """Return what ``work`` returns."""
        return work()

    def agree(self, value: str, what: str) -> None:
        """Do nothing: one process agrees with itself."""
