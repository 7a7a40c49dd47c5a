"""A ticket: mask, weights to go back to, and where both come from."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from lth_det.tickets.differences import require_equal_shapes
from lth_det.tickets.mask import Mask


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from.

    Attributes:
        criterion: Name of the criterion, such as ``"magnitude"``.
        scope: Which scores competed, such as ``"global"``.
        prune_rate: Pruned / prunable weights, in 0-1.
        prune_rates_by_group: The same for each module group.
        sparsity: Zeros / all parameters of the network, in 0-1.
        round: The round that made the ticket; 1 is the first pruning.
        parent_sha256: Hash of the ticket of the round before, or None.
        source_task: The task whose training decided the mask.
        source_weights: The weights the mask was computed from, as a path or a hash.
        seed: The seed of the run.
        rewind: The point of training that the weights belong to, such as ``"iteration 60"``.
        versions: Library -> version.
        extra: Anything else, as text.
    """

    criterion: str
    scope: str
    prune_rate: float
    prune_rates_by_group: dict[str, float]
    sparsity: float
    round: int
    parent_sha256: str | None
    source_task: str
    source_weights: str
    seed: int
    rewind: str
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    extra: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Ticket:
    """Mask + rewind weights + provenance.

    Attributes:
        mask: Which weights are kept.
        weights: The values to go back to, dense, for the whole state dict including buffers; None for
            a ticket that is only a mask.
        provenance: Where the ticket comes from.

    Raises:
        MaskMismatchError: a parameter of the mask is not among the weights with the same shape.
    """

    mask: Mask
    weights: Mapping[str, Tensor] | None
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.weights is None:
            return
        weights = dict(self.weights)
        require_equal_shapes(
            self.mask.shapes,
            {name: tuple(weights[name].shape) for name in self.mask if name in weights},
            what="The weights of the ticket do not fit its mask",
        )
        object.__setattr__(self, "weights", weights)
