"""What criteria and measurements that need a model ask of a trainer: losses at given weights, without training."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


class Scoring(Protocol):
    """A model at given weights, apart from the one that is trained, and seeded batches of the run's training data.

    Equal weights, seed and number of batches give equal losses: each batch is drawn and sampled with its own seed.
    """

    @property
    def model(self) -> nn.Module:
        """The model, in the mode in which losses are computed; its weights may be changed in place."""

    @property
    def batches(self) -> int:
        """How many batches there are."""

    def loss(self) -> Tensor:
        """Return the training loss of the next batch, a scalar; after the last batch comes the first again.

        It can be differentiated twice.
        """

    def flow(self) -> Tensor:
        """Return how much of an input of ones arrives at the model's outputs, for criteria without data (SynFlow).

        Called with absolute weights in float64 and in evaluation mode.

        Raises:
            ConfigError: this is not known for this kind of model.
        """


@runtime_checkable
class ScoringTrainer(Protocol):
    """A trainer that can score weights."""

    def scoring(
        self, weights: Mapping[str, Tensor], *, batches: int, seed: int
    ) -> AbstractContextManager[Scoring]:
        """Return the model at these weights; neither the run's model nor its random state notices.

        Args:
            weights: whole state dict.
            batches: number of training batches.
            seed: of their choice, their augmentation and the sampling inside the model.

        Raises:
            ConfigError: one process of several cannot compute losses by itself (synchronised batch norm).
        """
