"""Trains the stages of an experiment with Detectron2."""

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from lth_det.d2.building import build_configured
from lth_det.d2.checkpoint import load_checkpoint_weights, load_ticket_into, unwrap
from lth_det.d2.evaluation import predictions_folder, stage_metrics
from lth_det.d2.method_hooks import METHODS, method_hook
from lth_det.d2.metrics_file import trim_metrics
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.plan import retraining_cfg, stretch_schedule
from lth_det.d2.plan_methods import transform_cfg
from lth_det.d2.progress import ProgressHook, RunProgress
from lth_det.d2.scoring import DetectorScoring, detector_scoring
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.d2.train_data import seed_everything
from lth_det.d2.trainer import LotteryTrainer, RoundOptions, gradients_masked
from lth_det.experiments.protocols import Stage, StageResult
from lth_det.tickets.rewinding import capture_weights, rewind_
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket

logger = logging.getLogger(__name__)


class DetectorStages:
    """A :class:`~lth_det.experiments.protocols.StageTrainer` for one Detectron2 configuration.

    Args:
        cfg: the run's configuration; each stage gets a copy with its own ``OUTPUT_DIR``.
        resume: go on inside a stage from its last checkpoint, instead of starting it again.
    """

    methods = METHODS

    def __init__(self, cfg: Any, *, resume: bool) -> None:
        self._cfg = cfg
        self._resume = resume
        self._progress = RunProgress(total=cfg.SOLVER.MAX_ITER)
        self._table = parameter_table_from_cfg(cfg, self._build_model())

    @property
    def table(self) -> ParameterTable:
        """The parameters of the model."""
        return self._table

    def expect_stages(self, count: int) -> None:
        """Let the progress line reckon with ``count`` stages to train."""
        self._progress.total = count * self._cfg.SOLVER.MAX_ITER

    def check(self, ticket: Ticket) -> None:
        """Check that mask and weights of a ticket fit this model.

        Raises:
            MaskMismatchError: they do not; all differences are named.
        """
        load_ticket_into(self._build_model(), ticket)

    def train(self, stage: Stage) -> StageResult:
        """Train a stage from its start, or with ``resume`` from its last checkpoint, and evaluate it."""
        cfg = self._stage_cfg(stage)
        # Initialisation: the same for every stage of the same seed, and on every rank.
        seed_everything(stage.initialisation)
        mask = None if stage.ticket is None else stage.ticket.mask
        method = method_hook(stage, mask_gradients=gradients_masked(cfg))
        options = RoundOptions(
            seed=stage.seed,
            mask=mask,
            rewind_file=stage.snapshot,
            rewind_iteration=stage.snapshot_iteration,
            weight_hooks=() if method is None else (method,),
            extra_hooks=(ProgressHook(self._progress, stage.name),)
            if comm.is_main_process()
            else (),
        )
        # Asked and cleared before the trainer opens its log files.
        resumed = self._resume and (stage.folder / "last_checkpoint").exists()
        if not resumed and comm.is_main_process():
            _forget_old_files(stage.folder)
        comm.synchronize()
        self._progress.total += cfg.SOLVER.MAX_ITER - self._cfg.SOLVER.MAX_ITER
        trainer = LotteryTrainer(cfg, options)
        self._load(trainer, stage, resumed=resumed)
        evaluation = _timed_evaluation(trainer)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start - sum(evaluation)
        self._progress.total += trainer.max_iter - cfg.SOLVER.MAX_ITER  # stopped early
        comm.synchronize()
        predictions = predictions_folder(cfg, cfg.DATASETS.TEST[0]) / "coco_instances_results.json"
        return StageResult(
            weights=Path(cfg.OUTPUT_DIR) / "model_final.pth",
            metrics=stage_metrics(trainer.last_results, cfg.DATASETS.TEST),
            predictions=predictions if predictions.exists() else None,
            train_seconds=round(seconds, 3),
            eval_seconds=round(sum(evaluation), 3),
            iterations=trainer.max_iter,
            details={} if method is None else method.details(),
            mask=None if method is None else method.mask,
        )

    def _load(self, trainer: LotteryTrainer, stage: Stage, *, resumed: bool) -> None:
        trainer.resume_or_load(resume=resumed)
        if resumed:
            trainer.complete_checkpoints()
            if comm.is_main_process():
                trim_metrics(stage.folder / "metrics.json", trainer.start_iter)
        if stage.ticket is not None and not resumed:
            load_ticket_into(trainer.model, stage.ticket)
        if stage.start is not None and not resumed:
            rewind_(unwrap(trainer.model), stage.start)
        if not resumed and stage.start_iteration:
            trainer.start_at(stage.start_iteration)

    def _stage_cfg(self, stage: Stage) -> Any:
        cfg = self._cfg.clone() if stage.ticket is None else retraining_cfg(self._cfg)
        if stage.transform is not None:
            cfg = transform_cfg(self._cfg)
        cfg.defrost()
        cfg.OUTPUT_DIR = str(stage.folder)
        if stage.iterations is not None:
            stretch_schedule(cfg, stage.iterations)
        if stage.ticket is not None and stage.ticket.weights is not None:
            cfg.MODEL.WEIGHTS = ""  # everything comes from the ticket
        if stage.start is not None:
            cfg.MODEL.WEIGHTS = ""
        cfg.freeze()
        stage.folder.mkdir(parents=True, exist_ok=True)
        return cfg

    def scoring(
        self, weights: Mapping[str, Tensor], *, batches: int, seed: int
    ) -> contextlib.AbstractContextManager[DetectorScoring]:
        """Return the model at some weights with training batches (see :func:`lth_det.d2.scoring.detector_scoring`)."""
        return detector_scoring(self._cfg, weights, batches=batches, seed=seed)

    def load_weights(self, path: Path) -> dict[str, Tensor]:
        """Return the state dict of a checkpoint of ours."""
        return load_checkpoint_weights(path)

    def overlay(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``state`` with the values of the checkpoint ``path`` where it has some (names as Detectron2 maps them)."""
        model = self._build_model()
        rewind_(model, dict(state))
        StrictCheckpointer(model).load(str(path))
        return capture_weights(unwrap(model).state_dict())

    def _build_model(self) -> nn.Module:
        # Building a model draws random numbers: a run must not depend on how often that happened before.
        with torch.random.fork_rng():
            return build_configured(self._cfg)


def _timed_evaluation(trainer: LotteryTrainer) -> list[float]:
    """Let the trainer's evaluations be timed; return the list that their seconds are put into."""
    evaluate = trainer.test
    seconds: list[float] = []

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        results = evaluate(*arguments)
        seconds.append(time.perf_counter() - start)
        return results

    trainer.__dict__["test"] = timed  # Detectron2 looks it up on the trainer
    return seconds


def _forget_old_files(folder: Path) -> None:
    """Remove what an unfinished earlier try left, so that nothing of it is taken for this one's."""
    for name in ("last_checkpoint", "metrics.json", "model_final.pth"):
        (folder / name).unlink(missing_ok=True)
