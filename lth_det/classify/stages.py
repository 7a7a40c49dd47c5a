"""Trains the stages of an experiment: a ``StageTrainer`` for classifiers."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.data.images import ClassificationData
from lth_det.classify.evaluation import evaluate
from lth_det.classify.groups import HEAD, classifier_table
from lth_det.classify.loader import train_loader, val_loader
from lth_det.classify.models import build_model
from lth_det.classify.pretrained import overlay_state
from lth_det.classify.progress import RunProgress
from lth_det.classify.rst import transform_solver
from lth_det.classify.scoring import ClassifierScoring
from lth_det.classify.solver import total_iterations
from lth_det.classify.training import CHECKPOINT, TrainingJob, train_model_
from lth_det.classify.transforms import Normalize
from lth_det.errors import MaskMismatchError
from lth_det.experiments.protocols import Stage, StageResult
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.checkpoint_file import load_checkpoint_weights, save_checkpoint
from lth_det.tickets.rewinding import capture_weights, rewind_
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket

logger = logging.getLogger(__name__)

FINAL_WEIGHTS = "model_final.pth"


class ClassifierStages:
    """A :class:`~lth_det.experiments.protocols.StageTrainer` for one classifier and data set, in one process.

    Args:
        config: the run's configuration.
        data: its data set.
        resume: go on inside a stage from its last checkpoint, instead of starting it again.
        progress: the line of the whole run; None = of these stages alone.
        head_layers: linear layers of the head.
        frozen: train the head alone: all other weights keep their values, and batch norm uses and keeps the statistics
            that the stage starts with (evaluation mode).
    """

    methods = frozenset({"rst"})

    def __init__(
        self,
        config: ClassifyConfig,
        data: ClassificationData,
        *,
        resume: bool,
        progress: RunProgress | None = None,
        head_layers: int = 1,
        frozen: bool = False,
    ) -> None:
        self._config, self._data, self._resume = config, data, resume
        self._head_layers, self._frozen = head_layers, frozen
        self._device = pick_device(config.device)
        self._total = total_iterations(config.solver, len(data.train.labels))
        self._progress = progress or RunProgress(total=self._total)
        self._table = classifier_table(self._build(config.seed), config)

    @property
    def table(self) -> ParameterTable:
        """The parameters of the model."""
        return self._table

    @property
    def iterations(self) -> int:
        """Steps of a whole schedule."""
        return self._total

    def expect_stages(self, count: int) -> None:
        """Let the progress line reckon with ``count`` stages of a whole schedule to train."""
        self.expect_iterations(count * self._total)

    def expect_iterations(self, count: int) -> None:
        """Let the progress line reckon with ``count`` steps of all stages together."""
        self._progress.total = count

    def initial_state(self, seed: int) -> dict[str, Tensor]:
        """Return the state dict that a stage without weights starts from: ``seed`` and ``model.weights``."""
        state = capture_weights(self._build(seed).state_dict())
        path = self._config.model.weights
        return overlay_state(Path(path).expanduser(), state) if path else state

    def train(self, stage: Stage) -> StageResult:
        """Train a stage from its start, or with ``resume`` from its last checkpoint, and evaluate it."""
        stage.folder.mkdir(parents=True, exist_ok=True)
        model = self._build(stage.initialisation)
        if stage.ticket is not None and stage.ticket.weights is not None:
            load_ticket_into(model, stage.ticket)
        else:
            start_state = stage.start or self.initial_state(stage.initialisation)
            rewind_(model, start_state)
            if stage.ticket is not None:
                load_ticket_into(model, stage.ticket)
        _set_modes(model, frozen=self._frozen)
        model.to(self._device)
        job = self._job(stage)
        start = time.perf_counter()
        end = train_model_(model, stage, job)
        trained = time.perf_counter()
        weights = stage.folder / FINAL_WEIGHTS
        save_checkpoint(weights, {"model": capture_weights(model.state_dict())})
        metrics = self.evaluate(model)
        self._progress.rest()
        # What a stage ended with is in model_final.pth; the optimizer's state is of no more use.
        (stage.folder / CHECKPOINT).unlink(missing_ok=True)
        logger.info("%s: top-1 %.2f %%, top-5 %.2f %%", stage.name, *metrics.values())
        return StageResult(
            weights=weights,
            metrics=metrics,
            predictions=None,
            train_seconds=round(trained - start, 3),
            eval_seconds=round(time.perf_counter() - trained, 3),
            iterations=end.iterations,
            details=end.details,
        )

    def _job(self, stage: Stage) -> TrainingJob:
        config, total = self._config, stage.iterations or self._total
        if stage.transform is not None:
            config = dataclasses.replace(config, solver=transform_solver(config))
            total = stage.transform.schedule.iterations
        return TrainingJob(
            config=config,
            images=self._data.train,
            total=total,
            device=self._device,
            progress=self._progress,
            resume=self._resume,
        )

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``top1`` and ``top5`` (0-100) of a model on this run's device."""
        batches = val_loader(
            self._data.val, self._config.data, batch_size=self._config.solver.eval_batch_size
        )
        return evaluate(model, batches, Normalize(self._config.data, self._device))

    def check(self, ticket: Ticket) -> None:
        """Check that mask and weights of a ticket fit this model.

        Raises:
            MaskMismatchError: they do not; all differences are named.
        """
        load_ticket_into(self._build(self._config.seed), ticket)

    @contextlib.contextmanager
    def scoring(
        self, weights: Mapping[str, Tensor], *, batches: int, seed: int
    ) -> Iterator[ClassifierScoring]:
        """Return the model at some weights with training batches, for criteria that need losses."""
        model = self._build(self._config.seed)
        rewind_(model, dict(weights))
        model.to(self._device).train()
        config = dataclasses.replace(self._config.data, workers=0)
        loader = train_loader(
            self._data.train,
            config,
            batch_size=self._config.solver.batch_size,
            seed=seed,
            span=(0, batches),
        )
        normalize = Normalize(config, self._device)
        yield ClassifierScoring(model, list(loader), normalize, self._config.solver.label_smoothing)

    def load_weights(self, path: Path) -> dict[str, Tensor]:
        """Return the state dict of a checkpoint of ours."""
        return load_checkpoint_weights(path)

    def overlay(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``state`` with the values of a state dict of torchvision's where it has some (the head may differ)."""
        return overlay_state(path, state)

    def _build(self, seed: int) -> nn.Module:
        return build_model(
            self._config.model,
            len(self._data.classes),
            seed=seed,
            head_layers=self._head_layers,
            head_hidden=self._config.transfer.head_hidden,
        )


def load_ticket_into(model: nn.Module, ticket: Ticket) -> None:
    """Set ``model`` to the ticket: its weights if it has some, then its zeros; strictly.

    Raises:
        MaskMismatchError: names, shapes or dtypes differ; all differences are listed.
    """
    try:
        if ticket.weights is not None:
            rewind_(model, ticket.weights)
        apply_mask_(dict(model.named_parameters()), ticket.mask)
    except MaskMismatchError as error:
        raise MaskMismatchError(
            f"The ticket is of another classifier ({ticket.provenance.source_task}): {error}"
        ) from error


def pick_device(name: str) -> torch.device:
    """Return the device that ``device`` names.

    On CUDA deterministic kernels are chosen, so that a resumed training stays equal to an unbroken one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return device


def _set_modes(model: nn.Module, *, frozen: bool) -> None:
    model.train()
    if not frozen:
        return
    for name, child in model.named_children():
        if name != HEAD:
            child.eval()
            child.requires_grad_(requires_grad=False)
