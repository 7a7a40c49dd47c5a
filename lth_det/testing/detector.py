"""A Detectron2 configuration as a thing to be checked: it trains for a few steps, in any way the invariants need."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.utils.env import seed_all_rng
from torch import Tensor, nn

from lth_det.d2.checkpoint import load_ticket_into, unwrap
from lth_det.d2.datasets import register_all
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.preflight import check_inputs
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.train_data import seed_everything
from lth_det.d2.trainer import LotteryTrainer, RoundOptions, gradients_masked
from lth_det.pruning.allocation import GlobalAllocation
from lth_det.pruning.criteria import MagnitudeCriterion
from lth_det.pruning.prune import prune
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights, rewind_
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a short training left.

    Attributes:
        start: state dict before the first step, after the mask was applied.
        weights: state dict at the end.
        files: the checkpoints it saved, oldest first.
        start_iteration: where it began: not 0 after a resume.
    """

    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    files: tuple[Path, ...]
    start_iteration: int


class Detector:
    """A configuration under test. Each part that could be wrong is a method or attribute, to be replaced in self-tests.

    Args:
        config_file: a configuration for ``train_net.py``.
        options: ``KEY VALUE`` pairs.
        folder: for the checkpoints; a temporary one.
        steps: how many steps each training has.

    Raises:
        LthDetError: the configuration cannot be used.
    """

    trainer_type: type[LotteryTrainer] = LotteryTrainer

    def __init__(
        self, config_file: str, folder: Path, *, options: Sequence[str] = (), steps: int = 4
    ) -> None:
        register_all()
        self._cfg = load_config(config_file, options)
        check_inputs(self._cfg, eval_only=False)
        self._folder, self.steps = folder, steps
        self._model: nn.Module | None = None

    def cfg(self, name: str, *options: str) -> Any:
        """Return the configuration of one short training, with its files in the folder ``name``."""
        cfg = self._cfg.clone()
        cfg.defrost()
        cfg.merge_from_list(
            [
                *("SOLVER.MAX_ITER", self.steps, "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.STEPS", ()),
                *("SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 0, "LTH.ENABLED", True),
                *("TEST.PRECISE_BN.ENABLED", False, *options),
            ]
        )
        cfg.OUTPUT_DIR = str(self._folder / name)
        Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
        cfg.freeze()
        return cfg

    def build_model(self) -> nn.Module:
        """Return the model as the configuration starts it, without ``MODEL.WEIGHTS``; always with the same values."""
        seed_everything(1)
        model: nn.Module = LotteryTrainer.build_model(self._cfg)
        return model

    def table(self, model: nn.Module) -> ParameterTable:
        """Return the parameters, and which of them may be pruned."""
        return parameter_table_from_cfg(self._cfg, model)

    def decide(self, model: nn.Module, prune_rate: float, previous: Mask | None = None) -> Mask:
        """Return the mask of global magnitude pruning for a model's present weights."""
        table = self.table(model)
        parameters = dict(model.named_parameters())
        return prune(
            {name: parameters[name].detach() for name in table.prunable_names},
            table_groups=table.group_of,
            criterion=MagnitudeCriterion(),
            allocation=GlobalAllocation(),
            density=1.0 - prune_rate,
            previous=previous,
        )

    def capture(self, state: Any) -> Any:
        """Return a snapshot of a state dict."""
        return capture_weights(state)

    def rewind(self, model: nn.Module, snapshot: Any) -> None:
        """Set a model to a snapshot."""
        rewind_(model, snapshot)

    def load_ticket(self, model: nn.Module, ticket: Ticket) -> None:
        """Put a ticket into a model."""
        load_ticket_into(model, ticket)

    def train(
        self,
        name: str,
        *options: str,
        mask: Mask | None = None,
        stop_after: int | None = None,
        resume: bool = False,
    ) -> Trained:
        """Train for a few steps and return what that left.

        Args:
            name: the folder.
            options: ``KEY VALUE`` pairs of this training.
            mask: weights to hold at zero.
            stop_after: break off, as if killed, after this many steps.
            resume: go on from the last checkpoint in the folder.
        """
        cfg = self.cfg(name, *options)
        hooks = () if stop_after is None else (_PowerCut(stop_after),)
        seed_everything(1)
        trainer = self.trainer_type(cfg, RoundOptions(seed=1, mask=mask, extra_hooks=hooks))
        return _run(trainer, resume=resume)

    def train_disabled(self, name: str) -> Trained:
        """Train with ``LTH.ENABLED False``, as ``train_net.py`` does then."""
        cfg = self.cfg(name, "LTH.ENABLED", "False")
        seed_all_rng(1)
        return _run(self.trainer_type(cfg), resume=False)

    def train_plain(self, name: str) -> Trained:
        """Train with Detectron2's own trainer."""
        cfg = self.cfg(name, "LTH.ENABLED", "False")
        seed_all_rng(1)
        return _run(_Plain(cfg), resume=False)

    def masks_gradients(self, *options: str) -> bool:
        """Return whether a training with these options masks the gradients, too."""
        return gradients_masked(self.cfg("asked", *options))


class _Plain(DefaultTrainer):  # type: ignore[misc] # Detectron2 is untyped
    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
        raise NotImplementedError  # is never asked: ``test`` is replaced


class _StoppedError(Exception):
    """The power cut of :class:`_PowerCut`."""


class _PowerCut(HookBase):  # type: ignore[misc] # Detectron2 is untyped
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self._steps:
            raise _StoppedError


class _Start(HookBase):  # type: ignore[misc] # Detectron2 is untyped
    """Takes the weights when all ``before_train`` are done: the mask has been applied."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def before_train(self) -> None:
        self.state = capture_weights(unwrap(self.trainer.model).state_dict())


def _run(trainer: Any, *, resume: bool) -> Trained:
    no_evaluation: Callable[..., dict[str, float]] = lambda *_: {}  # noqa: E731 (an attribute of one object)
    trainer.__dict__["test"] = no_evaluation
    trainer.resume_or_load(resume=resume)
    start = _Start()
    trainer.register_hooks([start])
    first = trainer.start_iter
    with contextlib.suppress(_StoppedError):
        trainer.train()
    folder = Path(trainer.cfg.OUTPUT_DIR)
    files = sorted(folder.glob("model_*.pth"), key=lambda path: path.stat().st_mtime_ns)
    final = capture_weights(unwrap(trainer.model).state_dict())
    for writer in trainer._hooks:
        for open_file in getattr(writer, "_writers", ()):
            open_file.close()
    return Trained(start.state, final, tuple(files), first)


def split_options(text: str) -> list[str]:
    """Return ``KEY VALUE`` pairs out of one shell-like text."""
    return shlex.split(text)


def change_parameter(model: nn.Module, name: str) -> None:
    """Give one parameter another shape, so that the model is another one."""
    owner, _, last = name.rpartition(".")
    old = model.get_parameter(name)
    wider = nn.Parameter(torch.zeros((old.shape[0] + 1, *old.shape[1:]), dtype=old.dtype))
    setattr(model.get_submodule(owner), last, wider)
