"""Trainer hooks: hold the zeros, take the rewind snapshot, seed each step, report sparsity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import Tensor, nn

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.train_data import seed_everything
from lth_det.errors import RunError
from lth_det.experiments.snapshot import save_snapshot
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.holding import ZeroHolder
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.summary import sparsity_summary


class MaskHook(HookBase):
    """Keeps the pruned weights at zero: before training, and after each optimizer step.

    Called: ``before_train`` and ``after_step``. Order: right after ``IterationTimer``, before anything that looks at or
    saves the weights (precise BN, checkpointer, evaluation); a checkpoint written before this hook would hold revived
    weights, since momentum, Adam and AMP all move pruned weights. State: none, the mask belongs to the ticket. Cost: one
    pass over the trainable masked weights, without waiting for the device, and at most one byte of memory per weight
    (see :class:`~lth_det.tickets.holding.ZeroHolder`).

    Args:
        mask: names as in ``model.named_parameters()`` without a DDP prefix.
        mask_gradients: also zero the gradients of pruned weights, before they are averaged, clipped or enter momentum.
    """

    def __init__(self, mask: Mask, *, mask_gradients: bool) -> None:
        self._mask = mask
        self._mask_gradients = mask_gradients
        self._holder: ZeroHolder | None = None
        self._handles: list[Any] = []

    def before_train(self) -> None:
        """Apply the mask strictly (every name and shape must fit) and prepare to hold the zeros of what is trained."""
        parameters = dict(unwrap(self.trainer.model).named_parameters())
        apply_mask_(parameters, self._mask)
        # Nothing moves a frozen weight: masked once is enough.
        trained = [name for name in self._mask if parameters[name].requires_grad]
        self._holder = ZeroHolder(parameters, self._mask.restricted_to(trained))
        if self._mask_gradients:
            self._handles = [
                _mask_gradient(name, parameters[name], self._holder) for name in trained
            ]

    def after_step(self) -> None:
        """Zero the pruned weights again."""
        if self._holder is not None:
            self._holder.hold()

    def after_train(self) -> None:
        """Let go of the masks and the gradient hooks, also after a crash."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._holder = [], None


def _mask_gradient(name: str, parameter: nn.Parameter, holder: ZeroHolder) -> Any:
    # A tensor hook runs once per backward, before DDP averaging and before clipping; optimizer step hooks do not reach
    # Detectron2's clipping optimizers reliably.
    return parameter.register_hook(lambda gradient: holder.masked(name, gradient))


class RewindPointHook(HookBase):
    """Saves the whole state dict of the dense round once ``iteration`` steps are done (0 = before the first).

    Called: ``before_train`` and ``after_step``. Order: after :class:`MaskHook`. State: none; the file is written
    atomically, and a resumed run that is past the point finds it. The tensors are clones, so that training on does not
    change them.

    Args:
        path: the snapshot file (see :mod:`lth_det.experiments.snapshot`).
        iteration: number of finished steps.

    Raises:
        RunError: training resumes after the point and the file is not there.
    """

    def __init__(self, path: Path, iteration: int) -> None:
        self._path, self._iteration = path, iteration

    def before_train(self) -> None:
        """Save the start, or check that a resumed run has its snapshot."""
        start = self.trainer.start_iter
        if start == 0 and self._iteration == 0:
            self._save()
        elif start >= self._iteration and comm.is_main_process() and not self._path.exists():
            raise RunError(
                f"{self._path} is missing, but training resumes at iteration {start}, after the rewind point "
                f"({self._iteration}); delete {self._path.parent} to train the dense round again."
            )

    def after_step(self) -> None:
        """Save when the step count is reached."""
        if self.trainer.iter + 1 == self._iteration:
            self._save()

    def _save(self) -> None:
        if comm.is_main_process():
            state = capture_weights(unwrap(self.trainer.model).state_dict())
            save_snapshot(self._path, state, iteration=self._iteration)


class StepSeedHook(HookBase):
    """Seeds every random generator before each step from (seed, iteration, rank).

    So a step draws the same numbers (RoI sampling, dropout) whether the run was resumed or not, and nothing about
    random states has to be saved. Called: ``before_step``. State: none.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def before_step(self) -> None:
        """Seed Python, NumPy and torch."""
        seed_everything(self._seed, self.trainer.iter, comm.get_rank())


class SparsityWriterHook(HookBase):
    """Writes ``sparsity/all`` and ``sparsity/<group>`` (counted from the live weights) to the event storage.

    Called: ``after_step``, every ``period`` steps and after the last, before the writers; metrics.json and TensorBoard
    show the values. Waits for the device once per tensor, therefore not each step. State: none.
    """

    def __init__(self, table: ParameterTable, period: int) -> None:
        self._table, self._period = table, period

    def after_step(self) -> None:
        """Count the zeros of the prunable weights and store their shares, in 0-1."""
        done = self.trainer.iter + 1
        if done % self._period and done != self.trainer.max_iter:
            return
        summary = measured_sparsity(
            self._table, dict(unwrap(self.trainer.model).named_parameters())
        )
        storage = self.trainer.storage
        storage.put_scalar("sparsity/all", summary["sparsity"], smoothing_hint=False)
        for group, row in summary["groups"].items():
            storage.put_scalar(f"sparsity/{group}", row["sparsity"], smoothing_hint=False)


def measured_sparsity(table: ParameterTable, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sparsity summary of the live weights: an element counts as pruned when it is exactly zero.

    Args:
        table: the parameters of the model.
        parameters: name -> tensor; only prunable names are counted.
    """
    nonzero = {name: parameters[name].detach() != 0 for name in table.prunable_names}
    return sparsity_summary(
        table, Mask({name: keep.cpu() for name, keep in nonzero.items()})
    ).to_dict()
