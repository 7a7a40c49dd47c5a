"""The training loop of one stage: hold the zeros, take the snapshot, write checkpoints, go on from one."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.data.images import Images
from lth_det.classify.loader import train_loader
from lth_det.classify.progress import RunProgress
from lth_det.classify.solver import build_optimizer, learning_rate
from lth_det.classify.transformation import Transformation
from lth_det.classify.transforms import Normalize
from lth_det.errors import RunError
from lth_det.experiments.protocols import Stage
from lth_det.experiments.snapshot import save_snapshot
from lth_det.io import atomic_write
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.checkpoint_file import load_checkpoint, save_checkpoint
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights

CHECKPOINT = "checkpoint.pth"
_CURVE_PERIOD = 20


class MaskKeeper:
    """Keeps the pruned weights of a model at zero.

    Called once before training (strictly: every name and shape must fit) and after each optimizer step, before anything
    saves or evaluates the weights: momentum and AdamW move pruned weights too. Frozen weights are masked once.

    Args:
        model: its parameters are changed in place.
        mask: which weights are kept; None = all.
    """

    def __init__(self, model: nn.Module, mask: Mask | None) -> None:
        self._weights: list[Tensor] = []
        self._keep: list[Tensor] = []
        if mask is None:
            return
        parameters = dict(model.named_parameters())
        apply_mask_(parameters, mask)
        for name in mask:
            if parameters[name].requires_grad:
                self._weights.append(parameters[name])
                self._keep.append(mask[name].to(parameters[name]))

    @torch.no_grad()
    def hold(self) -> None:
        """Zero the pruned weights again; one pass over the masked weights, without waiting for the device."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._keep)


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """What a training needs besides the model.

    Attributes:
        config: the configuration.
        images: training images.
        total: steps of the whole schedule.
        device: where the model is.
        progress: the run's progress line.
        resume: go on from the stage's last checkpoint.
    """

    config: ClassifyConfig
    images: Images
    total: int
    device: torch.device
    progress: RunProgress
    resume: bool


class TrainingEnd(NamedTuple):
    """How a training ended.

    Attributes:
        iterations: place in the schedule; below its length where a rule ended it.
        details: what the method of the stage found.
    """

    iterations: int
    details: Mapping[str, Any]


def train_model_(model: nn.Module, stage: Stage, job: TrainingJob) -> TrainingEnd:
    """Train ``model`` in place through a stage's schedule; it ends with exact zeros where the mask has them.

    A stage with a transformation (RST) has the penalty in its loss, or shrinks the weights after each step; the loss that is
    recorded is that of the task alone.

    With ``job.resume`` and a checkpoint in the stage's folder, training goes on there, and the result is equal bit for
    bit to an unbroken training: order and augmentation depend on the position only (:mod:`lth_det.classify.loader`) and
    the optimizer's state is in the checkpoint.

    Raises:
        RunError: the loss is not finite, a checkpoint is damaged, or the rewind snapshot is missing.
    """
    solver = job.config.solver
    keeper = MaskKeeper(model, None if stage.ticket is None else stage.ticket.mask)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(solver, trained)
    change = Transformation(model, stage.transform)
    start, curve = _resume(model, optimizer, stage, job, change)
    change.begin(start)
    _snapshot(model, stage, start, first=True)
    normalize = Normalize(job.config.data, job.device)
    batches = train_loader(
        job.images,
        job.config.data,
        batch_size=solver.batch_size,
        seed=stage.seed,
        span=(start, job.total),
    )
    job.progress.start(start)
    done = start
    for iteration, (images, labels) in enumerate(batches, start):
        if change.stopped:
            break
        rate = learning_rate(solver, iteration, job.total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=solver.amp):
            logits = model(normalize(images))
        loss = functional.cross_entropy(
            logits.float(), labels.to(job.device), label_smoothing=solver.label_smoothing
        )
        penalty = change.penalty(iteration)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if penalty is None else loss + penalty)
        optimizer.step()
        keeper.hold()
        change.after_step(iteration)
        done = iteration + 1
        value = None
        if done % _CURVE_PERIOD == 0 or done == job.total:
            value = _finite(loss, stage, done)
            curve.append([done, rate, value])
        job.progress.step(stage.name, done, job.total, value)
        _snapshot(model, stage, done, first=False)
        if solver.checkpoint_period and done % solver.checkpoint_period == 0:
            _save(model, optimizer, stage, done, curve, change)
    atomic_write(stage.folder / "curve.json", _curve_text(curve))
    return TrainingEnd(done, change.details())


def _finite(loss: Tensor, stage: Stage, done: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RunError(
            f"The loss of {stage.name} is {value} at iteration {done}: the training diverged; lower solver.lr or add "
            "solver.warmup."
        )
    return value


def _curve_text(curve: list[list[float]]) -> str:
    rows = [{"iteration": int(row[0]), "lr": row[1], "loss": row[2]} for row in curve]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _snapshot(model: nn.Module, stage: Stage, done: int, *, first: bool) -> None:
    if stage.snapshot is None:
        return
    if done == stage.snapshot_iteration and (not first or done == 0):
        save_snapshot(stage.snapshot, capture_weights(model.state_dict()), iteration=done)
    elif first and done >= stage.snapshot_iteration and not stage.snapshot.exists():
        raise RunError(
            f"{stage.snapshot} is missing, but training goes on at iteration {done}, after the rewind point "
            f"({stage.snapshot_iteration}); delete {stage.folder} to train the dense round again."
        )


def _resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    job: TrainingJob,
    change: Transformation,
) -> tuple[int, list[list[float]]]:
    path = stage.folder / CHECKPOINT
    if not job.resume or not path.exists():
        path.unlink(missing_ok=True)
        return stage.start_iteration, []
    content: dict[str, Any] = load_checkpoint(path)
    try:
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        if stage.transform is not None:
            change.load_state(content["residuals"])
        return int(content["iteration"]), list(content["curve"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"{path} is not a checkpoint of this stage ({str(error).splitlines()[0]}); delete {stage.folder} and run again."
        ) from error


def _save(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    done: int,
    curve: list[list[float]],
    change: Transformation,
) -> None:
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": done,
        "curve": curve,
    }
    if stage.transform is not None:
        content["residuals"] = change.state()
    save_checkpoint(stage.folder / CHECKPOINT, content)
