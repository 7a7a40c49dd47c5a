"""Control masks: what a ticket has to beat before its mask means anything. Pure functions mask -> mask."""

from collections.abc import Callable

import torch
from torch import Tensor

from lth_det.errors import ScopeError
from lth_det.pruning.criteria import RandomCriterion
from lth_det.pruning.selection import select_keep
from lth_det.tickets.mask import Mask


def random_like(mask: Mask, seed: int) -> Mask:
    """Return a random mask that keeps as many elements of each parameter as ``mask``, drawn uniformly.

    The control for layer ratios ("layer-wise rearrangement", Frankle et al. 2021, arXiv 2009.08576). A parameter's
    draw depends on seed, name, size and count only.
    """

    def draw(name: str, keep: Tensor, scores: Tensor) -> Tensor:
        return _top(name, scores, int(keep.sum()))

    return _each(mask, seed, "random_like", draw)


def reshuffled(mask: Mask, seed: int) -> Mask:
    """Return a mask that keeps as many elements of each output filter (first axis) as ``mask``, drawn uniformly.

    Stricter than :func:`random_like`: filters that the ticket removes stay removed; only the places inside each
    filter are random. One-dimensional parameters stay as they are.
    """

    def draw(name: str, keep: Tensor, scores: Tensor) -> Tensor:
        if keep.ndim < 2 or keep.numel() == 0:
            return keep
        rows = scores.reshape(keep.shape[0], -1)
        # Rank of each element in its filter, 0 for the highest score; stable: the first of equal ones.
        order = torch.sort(rows, dim=1, descending=True, stable=True).indices
        ranks = torch.empty_like(order)
        ranks.scatter_(1, order, torch.arange(rows.shape[1]).expand_as(order))
        counts = keep.reshape(keep.shape[0], -1).sum(dim=1, keepdim=True)
        return (ranks < counts).reshape(keep.shape)

    return _each(mask, seed, "reshuffled", draw)


def complement(mask: Mask) -> Mask:
    """Return the mask that keeps exactly what ``mask`` prunes; its density is 1 - that of ``mask``."""
    return Mask({name: ~keep for name, keep in mask.items()})


def disjoint_like(mask: Mask, seed: int) -> Mask:
    """Return a random mask with the layer counts of ``mask`` that keeps only what ``mask`` prunes.

    The complement at equal density. Where a parameter keeps more than half, all pruned elements are kept and the
    rest is drawn from the kept ones.
    """

    def draw(name: str, keep: Tensor, scores: Tensor) -> Tensor:
        # Scores are in [0, 1): what the mask prunes comes before everything it keeps.
        return _top(name, scores - keep.float(), int(keep.sum()))

    return _each(mask, seed, "disjoint_like", draw)


def perturbed(mask: Mask, fraction: float, seed: int) -> Mask:
    """Return ``mask`` with a fraction of each parameter's kept elements moved to random pruned places.

    The count of each parameter stays (Chen et al. 2021, arXiv 2012.06908, perturb 10 %). No more are moved than
    there are pruned places.

    Args:
        mask: The mask.
        fraction: Share of the kept elements to move, in 0-1, rounded half to even.
        seed: Any whole number.

    Raises:
        ScopeError: the fraction is not in 0-1.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ScopeError(f"The fraction of a mask to perturb must be in 0 to 1, not {fraction}.")

    def draw(name: str, keep: Tensor, scores: Tensor) -> Tensor:
        kept = int(keep.sum())
        moved = min(round(fraction * kept), keep.numel() - kept)
        # Scores are in [0, 1): 2 * keep ranks all kept elements before the pruned ones, and the other way round.
        stay = _top(name, scores + 2.0 * keep.float(), kept - moved)
        come = _top(name, scores - 2.0 * keep.float(), moved)
        return stay | come

    return _each(mask, seed, "perturbed", draw)


def _each(mask: Mask, seed: int, label: str, draw: Callable[[str, Tensor, Tensor], Tensor]) -> Mask:
    # The label makes the draws of different controls with one seed independent of each other and of a
    # random criterion with this seed.
    return Mask(
        {
            name: draw(name, keep, _scores(name, keep, f"{label}/{seed}"))
            for name, keep in mask.items()
        }
    )


def _scores(name: str, keep: Tensor, key: str) -> Tensor:
    return RandomCriterion(key).scores({name: keep})[name]


def _top(name: str, scores: Tensor, count: int) -> Tensor:
    return select_keep({name: scores}, count)[name]
