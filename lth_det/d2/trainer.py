"""The trainer of one round: Detectron2's ``DefaultTrainer`` with our hooks in the order that pruning needs."""

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data import (
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer, PeriodicWriter
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.evaluation import build_evaluator
from lth_det.d2.hooks import MaskHook, RewindPointHook, SparsityWriterHook, StepSeedHook
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.processes import ProcessesTrainer
from lth_det.d2.readable import SentenceMapper, annotations_of
from lth_det.d2.step_options import apply_step_options
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.d2.train_data import build_train_loader
from lth_det.errors import RunError
from lth_det.tickets.mask import Mask

logger = logging.getLogger(__name__)

SPARSITY_PERIOD = 20  # iterations between two writes, as Detectron2's writers


class _Stopped(BaseException):
    """Leaves Detectron2's training loop; no ``Exception``, which it would log as a failure."""


@dataclasses.dataclass(frozen=True)
class RoundOptions:
    """What one round adds to plain training.

    Attributes:
        seed: of the data order, the augmentation and each step.
        mask: weights to hold at zero; ``None`` in the dense round.
        rewind_file: where the dense round saves its snapshot; ``None`` = no snapshot.
        rewind_iteration: after how many steps.
        weight_hooks: run after those that hold zeros and take the snapshot, before whatever reads or saves the weights.
        extra_hooks: run after all others, for example progress.
    """

    seed: int
    mask: Mask | None = None
    rewind_file: Path | None = None
    rewind_iteration: int = 0
    weight_hooks: Sequence[HookBase] = ()
    extra_hooks: Sequence[HookBase] = ()


class LotteryTrainer(ProcessesTrainer):
    """Trains one round of a lottery-ticket run; with ``options=None`` it is plain ``DefaultTrainer``.

    Hook order (each place matters):

    1. ``IterationTimer``;
    2. :class:`StepSeedHook`, :class:`MaskHook`, :class:`RewindPointHook`, those of a method (RST, gradual pruning,
       early bird): before whatever reads or saves the weights;
    3. Detectron2's own: learning rate, precise BN, checkpointer, evaluation;
    4. :class:`SparsityWriterHook`, right before the writers.

    Args:
        cfg: the configuration of this round; ``OUTPUT_DIR`` is the round's folder.
        options: the round; ``None`` trains as Detectron2 would.
    """

    start_iter: int
    _hooks: list[HookBase]
    iter: int
    max_iter: int
    checkpointer: Any

    def __init__(self, cfg: Any, options: RoundOptions | None = None) -> None:
        self._options = options
        self._stopping = False
        super().__init__(cfg)

    def build_hooks(self) -> list[HookBase]:
        """Return Detectron2's hooks with ours at the places listed in the class description."""
        options = self._options
        if options is not None:
            plain = self.checkpointer
            self.checkpointer = StrictCheckpointer(
                plain.model,
                plain.save_dir,
                save_to_disk=plain.save_to_disk,
                **plain.checkpointables,
            )
        hooks = [hook for hook in super().build_hooks() if hook is not None]
        if options is None:
            return hooks
        first: list[HookBase] = [StepSeedHook(options.seed)]
        if options.mask is not None:
            first.append(MaskHook(options.mask, mask_gradients=gradients_masked(self.cfg)))
        if options.rewind_file is not None:
            first.append(RewindPointHook(options.rewind_file, options.rewind_iteration))
        first += options.weight_hooks
        table = parameter_table_from_cfg(self.cfg, unwrap(self.model))
        last = SparsityWriterHook(table, SPARSITY_PERIOD)
        return [hooks[0], *first, *hooks[1:-1], last, hooks[-1], *options.extra_hooks]

    def start_at(self, iteration: int) -> None:
        """Start at ``iteration`` of the schedule: the learning rate, the data and the counters as if trained up to it.

        Raises:
            ValueError: the trainer has already been set to another start.
        """
        if self.start_iter not in (0, iteration):
            raise ValueError(f"The trainer starts at {self.start_iter} already.")
        for _ in range(iteration - self.start_iter):
            self.scheduler.step()
        self.start_iter = self.iter = iteration
        self._restart_data()

    def resume_or_load(self, resume: bool = True) -> None:  # noqa: FBT001, FBT002 (Detectron2's signature)
        """As Detectron2's; a resumed run goes on with the batch that an unbroken run would have seen next."""
        super().resume_or_load(resume=resume)
        if self._options is not None and self.start_iter:
            self._restart_data()

    def train(self) -> Any:
        """Train to ``max_iter``, or to the step that a hook called :meth:`stop_after_this_step` in."""
        try:
            return super().train()
        except _Stopped:
            return self.last_results

    def stop_after_this_step(self) -> None:
        """Make the running step the last one, in ``after_step``: it is saved, evaluated and written as the last."""
        self._stopping = True
        self.end_at(self.iter + 1)

    def end_at(self, iteration: int) -> None:
        """Set the length of the training to ``iteration`` steps; the learning rates stay where they are."""
        self.max_iter = iteration
        for hook in self._hooks:
            if isinstance(hook, PeriodicCheckpointer):
                hook.max_iter = iteration  # it looks before the first step
            if isinstance(hook, PeriodicWriter):
                for writer in hook._writers:
                    if hasattr(writer, "_max_iter"):
                        # Else it prints the step after the last as one more.
                        writer._max_iter = iteration

    def after_step(self) -> None:
        """Let the hooks do what follows a step, then leave the loop if one of them asked for it."""
        super().after_step()
        if self._stopping:
            self.iter += 1  # as after a loop that ended by itself: hooks take it for success
            raise _Stopped

    def complete_checkpoints(self) -> None:
        """Write ``model_final.pth`` if the process was killed between the last periodic checkpoint and it."""
        newest = Path(self.checkpointer.get_checkpoint_file()).name
        if self.start_iter >= self.max_iter and newest != "model_final.pth":
            self.checkpointer.save("model_final", iteration=self.max_iter - 1)

    def run_step(self) -> None:
        """Do one step.

        Raises:
            RunError: the loss is not finite any more. (Plain training raises Detectron2's ``FloatingPointError``.)
        """
        try:
            super().run_step()
        except FloatingPointError as error:
            if self._options is None:
                raise
            saved = self.checkpointer.has_checkpoint()
            raise RunError(
                f"Training diverged at iteration {self.iter} ({_losses(error, self.storage)}); nothing was pruned after it; the last "
                f"good checkpoint is {self.checkpointer.get_checkpoint_file() if saved else 'not there yet'}; lower "
                "SOLVER.BASE_LR or raise SOLVER.WARMUP_ITERS and choose another OUTPUT_DIR."
            ) from error

    def after_train(self) -> None:
        """Let the hooks finish; a training that failed in its last step is not evaluated."""
        if self._options is not None and self.iter < self.max_iter:
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, EvalHook)]
        super().after_train()

    def _restart_data(self) -> None:
        if self._options is None:
            return
        loader = build_train_loader(self.cfg, seed=self._options.seed, start=self.start_iter)
        inner = self._trainer
        inner.data_loader = loader
        # 0.6 makes the iterator at once, later versions on first use.
        if hasattr(inner, "_data_loader_iter_obj"):
            inner._data_loader_iter_obj = None
        else:
            inner._data_loader_iter = iter(loader)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for checkpoints; 0.6 leaves the optimizer out, which loses the momentum on resume."""
        state: dict[str, Any] = super().state_dict()
        if self._options is not None:
            state.setdefault("_trainer", self._trainer.state_dict())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned, the optimizer included."""
        super().load_state_dict(state_dict)
        if self._options is not None and "load_state_dict" not in vars(DefaultTrainer):
            self._trainer.load_state_dict(state_dict["_trainer"])

    @property
    def last_results(self) -> Any:
        """The results of the newest evaluation; ``None`` before the first."""
        return getattr(self, "_last_eval_results", None)

    def build_train_loader(self, cfg: Any) -> Any:
        """Return Detectron2's loader, or the one whose batches depend on seed and position only."""
        if self._options is None:
            return build_detection_train_loader(cfg)
        return build_train_loader(cfg, seed=self._options.seed)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        """Return Detectron2's loader; files that cannot be read are one sentence."""
        mapper = SentenceMapper(DatasetMapper(cfg, is_train=False))
        with annotations_of([dataset_name]):
            return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_model(cls, cfg: Any) -> nn.Module:
        """Return Detectron2's model, which computes as ``LTH.CHANNELS_LAST`` and ``LTH.AUTOCAST`` say."""
        model: nn.Module = super().build_model(cfg)
        apply_step_options(cfg, model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
        """Return Detectron2's SGD, or AdamW with its parameter groups when ``LTH.OPTIMIZER`` says so."""
        if not cfg.LTH.ENABLED or cfg.LTH.OPTIMIZER == "SGD":
            plain: torch.optim.Optimizer = super().build_optimizer(cfg, model)
            return plain
        groups = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        kind = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
        optimizer: torch.optim.Optimizer = kind(
            groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY
        )
        return optimizer

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
        """Return the evaluator of a dataset (see :func:`lth_det.d2.evaluation.build_evaluator`)."""
        return build_evaluator(cfg, dataset_name)


def _losses(error: FloatingPointError, storage: Any) -> str:
    """Return what Detectron2 says of the losses, on one line and without NumPy's type names."""
    text = re.sub(r"np\.float\d+\(([^)]*)\)", r"\1", " ".join(str(error).split()))
    if "loss_dict" in text:
        return text[text.find("loss_dict") :]
    # The proposals were not finite, before any loss was computed.
    before = {name: value for name, (value, _) in storage.latest().items() if "loss" in name}
    return f"{text.rstrip('.!')}; losses of the step before: {before or 'none'}"


def gradients_masked(cfg: Any) -> bool:
    """Return whether ``LTH.MASK_GRADIENTS`` asks for the gradients of pruned weights to be zeroed."""
    choice = cfg.LTH.MASK_GRADIENTS
    return bool(choice == "always" or (choice == "auto" and cfg.SOLVER.CLIP_GRADIENTS.ENABLED))
