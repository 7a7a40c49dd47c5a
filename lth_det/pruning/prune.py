"""Put criterion, allocation and selection together: weights -> mask."""

from collections.abc import Mapping

from torch import Tensor

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.pruning.allocation import Allocation, AllocationRequest, Scope
from lth_det.pruning.criteria import Criterion, ElementCriterion
from lth_det.pruning.keys import KeyStream
from lth_det.pruning.selection import select_packed
from lth_det.tickets.differences import list_names, require_equal_shapes
from lth_det.tickets.mask import Mask, PackedBits, numel


def prune(
    weights: Mapping[str, Tensor],
    *,
    table_groups: Mapping[str, str],
    criterion: Criterion,
    allocation: Allocation,
    density: float | None,
    previous: Mask | None = None,
) -> Mask:
    """Return the mask that keeps the highest-scoring weights, exactly as many as density and allocation say.

    What ``previous`` prunes stays pruned, so the masks of rounds with falling density are nested. Rounding may ask a
    scope for one weight more than it has left: another scope then keeps it. Equal scores: see
    :func:`lth_det.pruning.selection.select_keep`; the order of the names is that of ``weights``.

    Beside the mask (one bit per weight) this needs a few MB for criteria that score each weight alone, and the
    scores for others; the weights are read in pieces and never joined.

    Args:
        weights: The prunable parameters, in model order, on any device; not changed.
        table_groups: Parameter -> module group; may name others too (``ParameterTable.group_of``).
        criterion: Weights -> scores, higher = keep.
        allocation: How the density is shared over scopes.
        density: Kept / prunable weights, in 0-1, counted from the unpruned network, not from ``previous``; None
            only for an allocation that has its own counts.
        previous: The mask of the round before, for the same parameters.

    Raises:
        ScopeError: a weight has no group, a score is not finite, the density is not in 0-1, or a scope cannot keep
            as many weights as it should.
        MaskMismatchError: ``previous`` or the scores do not fit the weights.
    """
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if previous is not None:
        require_equal_shapes(
            shapes, previous.shapes, what="The previous mask does not fit the prunable weights"
        )
    request = _request(shapes, table_groups, previous, density)
    scopes = allocation.scopes(request)
    _check_cover(scopes, shapes)
    if isinstance(criterion, ElementCriterion):
        tensors, score = weights, criterion.score_elements
    else:
        tensors, score = _scores(criterion, weights, shapes), None
    packed: dict[str, PackedBits] = {}
    for scope in scopes:
        stream = KeyStream(tensors, scope.names, previous=previous, score=score)
        packed.update(select_packed(stream, scope.keep_count, scope.label))
    return Mask.from_packed(shapes, packed)


def _request(
    shapes: Mapping[str, tuple[int, ...]],
    groups: Mapping[str, str],
    previous: Mask | None,
    density: float | None,
) -> AllocationRequest:
    without = [name for name in shapes if name not in groups]
    if without:
        raise ScopeError(f"These parameters have no module group: {list_names(without)}.")
    available = {
        name: numel(shape) if previous is None else previous.kept_in(name)
        for name, shape in shapes.items()
    }
    return AllocationRequest(
        shapes=shapes,
        groups={name: groups[name] for name in shapes},
        available=available,
        density=density,
    )


def _check_cover(scopes: list[Scope], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Guard against an allocation of a user that forgets or repeats a parameter."""
    names = [name for scope in scopes for name in scope.names]
    if sorted(names) != sorted(shapes):
        differing = {name for name in {*names, *shapes} if names.count(name) != (name in shapes)}
        raise ScopeError(
            f"The allocation must put each prunable parameter into one scope; wrong: "
            f"{list_names(sorted(differing))}."
        )


def _scores(
    criterion: Criterion, weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, Tensor]:
    scores = criterion.scores(weights)
    require_equal_shapes(
        shapes,
        {name: tuple(value.shape) for name, value in scores.items()},
        what=f"The scores of the criterion {criterion.name} do not fit the weights",
    )
    for name, value in scores.items():
        if not value.is_floating_point():
            raise MaskMismatchError(
                f"The criterion {criterion.name} gave {value.dtype} scores for {name}; scores are floats."
            )
    return scores
