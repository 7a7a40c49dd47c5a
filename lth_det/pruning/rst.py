"""Random sparse network transformation: a random mask, and a growing penalty that empties what it prunes.

Bai et al. 2022, "Dual Lottery Ticket Hypothesis" (arXiv 2203.04248). The mask is drawn once, before training. While
all weights go on learning the task, a penalty lambda / 2 * |w|^2 on the weights to be pruned grows until they carry
nothing ("information extrusion"); then they are set to zero and the rest is fine-tuned.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lth_det.errors import ConfigError, ScopeError
from lth_det.pruning.allocation import Allocation
from lth_det.pruning.criteria import RandomCriterion
from lth_det.pruning.prune import prune
from lth_det.tickets.apply import require_fit
from lth_det.tickets.mask import Mask, numel
from lth_det.tickets.scope import ParameterTable


@dataclasses.dataclass(frozen=True)
class RstSchedule:
    """Strength lambda of the penalty by iteration: a ramp of small steps, then constant.

    strength(t) = ceiling * (k / K)^power, where k = t // interval + 1 counts the steps made and K = ramp / interval
    those of the whole ramp. The published code goes on until lambda *exceeds* the ceiling, one step more; here
    it stops at it.

    Attributes:
        ramp: Iterations from the first step to the ceiling.
        hold: Iterations at the ceiling, before the hard mask.
        ceiling: Largest strength.
        interval: Iterations between two steps; at most ``ramp``.
        power: 1, 2 or 3, the published schedules x, x^2 and x^3 (any positive number is allowed).
    """

    ramp: int
    hold: int = 0
    ceiling: float = 1.0
    interval: int = 1
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.ramp < 1 or self.hold < 0 or not 1 <= self.interval <= self.ramp:
            raise ConfigError(
                f"An RST schedule needs a ramp of at least one iteration, a hold of at least 0 and an interval "
                f"in 1 to the ramp, not {self.ramp}, {self.hold} and {self.interval}."
            )
        if not (math.isfinite(self.ceiling) and self.ceiling > 0 and self.power > 0):
            raise ConfigError(
                f"Ceiling and power of an RST schedule must be above 0, not {self.ceiling} and {self.power}."
            )

    @classmethod
    def published(cls) -> "RstSchedule":
        """Return the one of the paper's code: +1e-4 each 5 iterations to 1 (50,000), then 40,000 more."""
        return cls(ramp=50_000, hold=40_000, ceiling=1.0, interval=5)

    @classmethod
    def of_fraction(
        cls, iterations: int, *, ramp: float, hold: float = 0.0, ceiling: float = 1.0
    ) -> "RstSchedule":
        """Return a schedule whose parts are fractions of a training, with a step in each iteration.

        Args:
            iterations: Length of the training.
            ramp: Share of it for the ramp, above 0; ramp + hold is at most 1.
            hold: Share of it for the hold.
            ceiling: Largest strength.

        Raises:
            ConfigError: the shares are not such fractions.
        """
        if not (0.0 < ramp <= 1.0 and 0.0 <= hold <= 1.0 and ramp + hold <= 1.0 + 1e-9):
            raise ConfigError(
                f"Ramp and hold of RST are fractions of the training, together at most 1, not {ramp} and {hold}."
            )
        return cls(
            ramp=max(1, round(ramp * iterations)), hold=round(hold * iterations), ceiling=ceiling
        )

    @property
    def iterations(self) -> int:
        """Iterations of ramp and hold together."""
        return self.ramp + self.hold

    def strength(self, iteration: int) -> float:
        """Return lambda in an iteration, counted from 0; the first step is made in iteration 0."""
        steps = iteration // self.interval + 1
        whole = self.ramp / self.interval
        return float(self.ceiling * min(steps / whole, 1.0) ** self.power)


def decoupled_ceiling(
    *, learning_rate: float = 1e-3, momentum: float = 0.9, ceiling: float = 1.0
) -> float:
    """Return the share by which SGD with a coupled penalty shrinks a weight in each iteration, in the long run.

    learning_rate * ceiling / (1 - momentum), at most 1: 0.01 for the published settings. As the ceiling of a schedule for
    :meth:`Extrusion.shrink_` it gives the published speed whatever the learning rate of the detector is.

    >>> round(decoupled_ceiling(), 6)
    0.01
    """
    return min(learning_rate * ceiling / (1.0 - momentum), 1.0)


class Extrusion:
    """The weights that an RST mask will prune, on their device, and what is done to them.

    Args:
        params: Parameters by name; those of the mask are held.
        mask: The mask; it must fit the parameters.

    Raises:
        MaskMismatchError: a parameter of the mask is missing or has another shape.
        ScopeError: a parameter with pruned elements is frozen; it would never be emptied.
    """

    def __init__(self, params: Mapping[str, Tensor], mask: Mask) -> None:
        require_fit(params, mask)
        frozen = [
            n for n in mask if not params[n].requires_grad and mask.kept_in(n) < mask.numel_in(n)
        ]
        if frozen:
            raise ScopeError(
                f"These parameters are frozen, so RST cannot empty them: {', '.join(frozen)}; "
                "draw the mask without them."
            )
        self._params = [params[name] for name in mask]
        self._pruned = [(~keep).to(device=params[name].device) for name, keep in mask.items()]

    def penalty(self, strength: float) -> Tensor:
        """Return strength / 2 * sum of the squares of the weights to be pruned, as a term of the loss.

        Its gradient, strength * w, is what the published code adds to the gradient of these weights after the
        backward pass. As a loss term it passes through loss scaling and gradient clipping like the rest.
        """
        parts = [
            torch.where(pruned, weight, 0.0).square().sum()
            for weight, pruned in zip(self._params, self._pruned, strict=True)
        ]
        return 0.5 * strength * _sum(parts)

    @torch.no_grad()
    def shrink_(self, strength: float) -> None:
        """Multiply the weights to be pruned by 1 - strength in place: after the optimizer's step.

        The decoupled penalty: independent of learning rate, loss scaling and gradient clipping. The strength is in
        0-1; see :func:`decoupled_ceiling`.

        Raises:
            ConfigError: the strength is not in 0-1.
        """
        if not 0.0 <= strength <= 1.0:
            raise ConfigError(f"A weight can be shrunk by a share in 0 to 1, not {strength}.")
        for weight, pruned in zip(self._params, self._pruned, strict=True):
            weight.mul_(1.0 - strength * pruned.to(weight.dtype))

    @torch.no_grad()
    def residual(self) -> Tensor:
        """Return the norm of the weights to be pruned / the norm of all weights of the mask, in 0-1.

        What the hard mask would take away: the stop rule of a transformation. 0 if all weights are 0. A scalar on the
        parameters' device, so that the caller decides when to wait for it.
        """
        pruned = _sum(
            [
                torch.where(p, w.detach(), 0.0).float().square().sum()
                for w, p in zip(self._params, self._pruned, strict=True)
            ]
        )
        total = _sum([weight.detach().float().square().sum() for weight in self._params])
        return torch.where(total > 0, pruned / total, 0.0).sqrt()


def random_ticket_mask(
    table: ParameterTable,
    *,
    allocation: Allocation,
    density: float | None,
    seed: int,
    previous: Mask | None = None,
) -> Mask:
    """Return a random mask over the prunable parameters that are trained; frozen ones are left out.

    A frozen weight gets no gradient, so nothing can move from it into the others. The density is that of the
    parameters in the mask. The draw depends on seed and names only, so it can be repeated anywhere; still, save it.

    Args:
        table: The network's parameters.
        allocation: How the density is shared: uniform, ERK, or given layer counts (:func:`published_counts`).
        density: Kept weights / weights of the mask, in 0-1; None for given counts.
        seed: Any whole number.
        previous: The mask of the cycle before (iterative RST): what it prunes stays pruned.

    Raises:
        ScopeError: nothing is left to draw from, or the density cannot be reached.
        MaskMismatchError: ``previous`` is for other parameters.
    """
    chosen = [entry for entry in table if entry.prunable and not entry.frozen]
    if not chosen:
        raise ScopeError(
            "No prunable parameter is trained, so there is nothing to draw an RST mask from."
        )
    return prune(
        # Only the shapes matter to random scores: one zero stands for a whole tensor.
        {entry.name: torch.zeros(()).expand(entry.shape) for entry in chosen},
        table_groups={entry.name: entry.group for entry in chosen},
        criterion=RandomCriterion(f"rst/{seed}"),
        allocation=allocation,
        density=density,
        previous=previous,
    )


def published_counts(shapes: Mapping[str, tuple[int, ...]], prune_rate: float) -> dict[str, int]:
    """Return how many weights each layer keeps by the published rule: pruned = min(ceil(prune rate * n), n - 1).

    For ``LayerRatioAllocation``. No layer is emptied; a layer of no element keeps none.

    >>> published_counts({"a": (10,), "b": (1,)}, 0.72)
    {'a': 2, 'b': 1}
    """
    if not 0.0 <= prune_rate <= 1.0:
        raise ConfigError(f"The prune rate must be in 0 to 1, not {prune_rate}.")
    kept = {}
    for name, shape in shapes.items():
        size = numel(shape)
        pruned = math.ceil(round(prune_rate * size, 6))
        kept[name] = size - max(min(pruned, size - 1), 0)
    return kept


def _sum(parts: list[Tensor]) -> Tensor:
    if not parts:
        return torch.zeros(())
    first = parts[0]
    # Models spread over devices or dtypes: add up on the first one.
    return torch.stack([part.to(first) for part in parts]).sum()
