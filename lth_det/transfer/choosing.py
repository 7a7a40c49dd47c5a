"""The mask of a transfer: the source's own, its zeros, or its largest magnitudes."""

from collections.abc import Collection, Mapping

from torch import Tensor

from lth_det.errors import ConfigError, DataError
from lth_det.pruning.allocation import build_allocation
from lth_det.pruning.criteria import MagnitudeCriterion
from lth_det.pruning.prune import prune
from lth_det.tickets.mask import Mask
from lth_det.transfer.matching import Matching
from lth_det.transfer.source import Source
from lth_det.transfer.target import Target

_DENSE = 1e-3  # below this share of zeros a checkpoint counts as dense


def choose_mask(
    source: Source,
    target: Target,
    matching: Matching,
    *,
    prune_rate: float | None,
    scope: str = "global",
) -> Mask:
    """Return the mask of the target's parameters that the source gives; what it does not name stays dense.

    * ``ticket``, ``mask``: the source's mask where it moves. With a prune rate, weights are pruned on top of it by the
      magnitude of the source's weights, until that share of the masked weights is pruned.
    * ``magnitude``: the largest magnitudes of the source among the target's prunable weights that move. The threshold
      is computed over exactly these, so the prune rate asked for is the one achieved there.
    * ``checkpoint``: kept is what is not zero, or what the checkpoint's own masks keep. A kept weight that happens to be
      exactly 0.0 cannot be told from a pruned one. With a prune rate as for ``ticket``.

    Args:
        source: What is transferred.
        target: Its prunable set is what ``magnitude`` chooses from.
        matching: What moves.
        prune_rate: Pruned / weights of the mask, in [0, 1).
        scope: Which magnitudes compete: ``global``, ``uniform`` or ``erk`` ratios of layers.

    Raises:
        ConfigError: the prune rate is missing, out of range or lower than the mask's own, or there are no weights.
        DataError: a checkpoint has no zeros.
    """
    if prune_rate is not None and not 0 <= prune_rate < 1:
        raise ConfigError(f"--prune-rate is {prune_rate}, but a prune rate lies in [0, 1).")
    places = {match.canonical: match.target for match in matching.matched}
    weights = {
        places[name]: value
        for name, value in source.weights.items()
        if places.get(name) in target.weight_names()
    }
    weights = {entry.name: weights[entry.name] for entry in target.table if entry.name in weights}
    if source.kind == "magnitude":
        return _by_magnitude(weights, target, prune_rate, scope)
    own = {places[name]: mask for name, mask in source.masks.items() if name in places}
    if source.kind == "checkpoint":
        own = _zeros(source, weights, own)
    mask = Mask({name: keep for name, keep in own.items() if name in target.weight_names()})
    if not len(mask):
        raise DataError(
            f"{source.label} masks nothing in the module groups {', '.join(matching.groups)}."
        )
    return mask if prune_rate is None else _pruned_further(mask, weights, target, prune_rate, scope)


def _by_magnitude(
    weights: Mapping[str, Tensor], target: Target, prune_rate: float | None, scope: str
) -> Mask:
    if prune_rate is None:
        raise ConfigError(
            "--kind magnitude needs --prune-rate R: which share of the dense weights to prune."
        )
    prunable = set(target.table.prunable_names)
    pool = {name: weight for name, weight in weights.items() if name in prunable}
    if not pool:
        raise ConfigError(
            "No weight that moves is prunable under the target's LTH.PRESET and LTH.GROUP_PRUNE_RATE; name --groups."
        )
    return _prune(pool, target, prune_rate, scope, previous=None)


def _zeros(
    source: Source, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    keep = {name: own.get(name, weight != 0) for name, weight in weights.items()}
    zeros = sum(int((~mask).sum()) for mask in keep.values())
    total = sum(mask.numel() for mask in keep.values())
    if zeros < _DENSE * total:
        raise DataError(
            f"{source.label} is dense: {zeros} of the {total} weights that would move are zero; use --kind magnitude "
            "with --prune-rate R to prune it."
        )
    return {name: mask for name, mask in keep.items() if not bool(mask.all())}


def _pruned_further(
    mask: Mask, weights: Mapping[str, Tensor], target: Target, prune_rate: float, scope: str
) -> Mask:
    lacking = [name for name in mask if name not in weights]
    if lacking:
        raise ConfigError(
            "--prune-rate ranks the source's weights, and this source has none; leave it out."
        )
    if prune_rate < mask.prune_rate:
        raise ConfigError(
            f"--prune-rate is {prune_rate}, but the source has pruned {mask.prune_rate:.6f} already; give a higher rate."
        )
    pool = {name: weights[name] for name in weights if name in mask}
    return _prune(pool, target, prune_rate, scope, previous=mask)


def _prune(
    pool: Mapping[str, Tensor],
    target: Target,
    prune_rate: float,
    scope: str,
    *,
    previous: Mask | None,
) -> Mask:
    return prune(
        pool,
        table_groups=target.table.group_of,
        criterion=MagnitudeCriterion(),
        allocation=build_allocation(scope),
        density=1 - prune_rate,
        previous=previous,
    )


def masked_groups(mask: Mask, groups: Mapping[str, str]) -> Collection[str]:
    """Return the module groups in which a mask names something, in the mask's order."""
    return dict.fromkeys(groups[name] for name in mask)
