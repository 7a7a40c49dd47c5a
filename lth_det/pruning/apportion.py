"""Whole counts in given proportions that sum exactly to a total."""

import math
from collections.abc import Sequence

from lth_det.errors import ScopeError


def keep_count(total: int, density: float) -> int:
    """Return how many of ``total`` weights to keep: density * total, rounded half to even.

    The product is first rounded to six decimals, so that 1 - 0.9 and 0.1 give the same count. Pruned are the rest.

    Raises:
        ScopeError: the density is not in 0-1.

    >>> 30_704_832 - keep_count(30_704_832, 1 - 0.8)
    24563866
    """
    if not 0.0 <= density <= 1.0:
        raise ScopeError(f"The density must be in 0 to 1, not {density}; prune rate = 1 - density.")
    return round(round(density * total, 6))


def apportion(weights: Sequence[float], caps: Sequence[int], total: int) -> list[int]:
    """Return whole counts in proportion to ``weights``, none above its cap, that sum to ``total``.

    A share above its cap is cut to it and the rest is given to the others in their proportions, again and again
    until no share is too large (for the weights of ERK this is the loop that makes small layers dense). Then shares
    are rounded down and the largest remainders, the first of equal ones, get one more.

    Args:
        weights: Non-negative proportions.
        caps: The largest allowed counts.
        total: At most the sum of the caps of items with a weight.

    Raises:
        ScopeError: the total cannot be reached.

    >>> apportion([1, 1, 2], [100, 100, 100], 10)
    [3, 2, 5]
    >>> apportion([1, 1, 2], [100, 100, 2], 10)
    [4, 4, 2]
    """
    shares = _shares(weights, caps, total)
    counts = [min(math.floor(share), cap) for share, cap in zip(shares, caps, strict=True)]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - shares[i])
    missing = total - sum(counts)
    while missing > 0:
        before = missing
        for index in by_remainder:
            if missing and weights[index] > 0 and counts[index] < caps[index]:
                counts[index] += 1
                missing -= 1
        if missing == before:
            raise ScopeError(f"{total} weights cannot be shared out: {missing} find no place.")
    return counts


def _shares(weights: Sequence[float], caps: Sequence[int], total: int) -> list[float]:
    free = [index for index, weight in enumerate(weights) if weight > 0]
    shares = [0.0] * len(weights)
    left = float(total)
    while free:
        scale = max(left, 0.0) / sum(weights[index] for index in free)
        full = [index for index in free if weights[index] * scale > caps[index]]
        if not full:
            for index in free:
                shares[index] = weights[index] * scale
            break
        for index in full:
            shares[index] = float(caps[index])
            left -= caps[index]
        free = [index for index in free if index not in set(full)]
    return shares
