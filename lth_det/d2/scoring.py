"""Losses of a detector at given weights: for criteria with gradients and for sensitivity curves."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from lth_det.d2.flow import log_flow
from lth_det.d2.train_data import build_train_loader, kept_random_state, seed_everything
from lth_det.d2.twice_differentiable import twice_differentiable
from lth_det.errors import ConfigError
from lth_det.tickets.rewinding import rewind_

_DRAWS = 2  # tells the draws inside the model from those of the data


class DetectorScoring:
    """A :class:`~lth_det.experiments.scoring.Scoring` of one model and some batches that are held in memory.

    Losses are computed as in training: batch norm uses the statistics of the batch (``FrozenBN`` its own), proposals
    are sampled. Random numbers are drawn from seeds of their own, one for each batch, and the global generators are given
    back as they were. The running statistics of this model move on, which no loss in training mode depends on.

    Args:
        model: in training mode.
        data: batches as Detectron2's loader gives them.
        seed: of what the model draws.
    """

    def __init__(self, model: nn.Module, data: Sequence[Any], seed: int) -> None:
        self.model = model
        self._data, self._seed = list(data), seed
        self._places = itertools.cycle(range(len(self._data)))

    @property
    def batches(self) -> int:
        """How many batches there are."""
        return len(self._data)

    def loss(self) -> Tensor:
        """Return the summed losses of the next batch."""
        place = next(self._places)
        with _own_random_numbers(self._seed, _DRAWS, place), EventStorage():
            losses = self.model(self._data[place])
        return torch.stack(list(losses.values())).sum()

    def flow(self) -> Tensor:
        """Return what arrives of ones (:func:`lth_det.d2.flow.log_flow`)."""
        return log_flow(self.model)


@contextlib.contextmanager
def detector_scoring(
    cfg: Any, weights: Mapping[str, Tensor], *, batches: int, seed: int
) -> Iterator[DetectorScoring]:
    """Return the configured detector at some weights, and batches of its training data, for the time of the block.

    Args:
        cfg: the run's configuration; batches have ``SOLVER.IMS_PER_BATCH`` images, augmented as in training.
        weights: whole state dict.
        batches: how many.
        seed: of the choice of images, their augmentation, and what the model draws.

    Raises:
        ConfigError: there are several processes, and the model has synchronised batch norm: the decision is made by
            one process, which would wait for the others for ever.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.VIS_PERIOD = 0
    with _own_random_numbers(seed):
        model: nn.Module = build_model(cfg)
        loader = iter(build_train_loader(cfg, seed=seed, process=(0, 1)))
        data = [next(loader) for _ in range(batches)]
    rewind_(model, dict(weights))
    model.train()
    _require_alone(model)
    with twice_differentiable(model):
        yield DetectorScoring(model, data, seed)


@contextlib.contextmanager
def _own_random_numbers(*entropy: int) -> Iterator[None]:
    with kept_random_state(), torch.random.fork_rng(enabled=torch.cuda.is_available()):
        seed_everything(*entropy)
        yield


def _require_alone(model: nn.Module) -> None:
    kinds = (nn.SyncBatchNorm, NaiveSyncBatchNorm)
    if comm.get_world_size() > 1 and any(isinstance(module, kinds) for module in model.modules()):
        raise ConfigError(
            "LTH.CRITERION and LTH.SCOPE need losses that one process computes by itself, which synchronised batch norm "
            "does not allow; use BN or FrozenBN, or find the ticket with one process."
        )
