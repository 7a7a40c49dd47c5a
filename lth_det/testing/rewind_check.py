"""Whether a rewind goes back: the invariant that most implementations broke at some time."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from lth_det.testing.checks import BrokenInvariantError, check_same_weights
from lth_det.tickets.differences import list_names
from lth_det.tickets.rewinding import capture_weights, rewind_


def check_rewind_is_a_clone(
    model: nn.Module,
    *,
    step: Callable[[], object],
    capture: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = capture_weights,
    rewind: Callable[[nn.Module, Any], object] = rewind_,
) -> None:
    """Check that captured weights do not train along, and that rewinding restores them to the bit.

    Args:
        model: is trained by ``step`` and set back.
        step: trains the model for a step or more.
        capture: state dict -> snapshot; ours by default.
        rewind: sets the model to a snapshot; ours by default.

    Raises:
        BrokenInvariantError: the snapshot shares memory with the model or within itself, changed with the training, or
            the rewound model is not what was captured; or the step trained nothing.
    """
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    snapshot = dict(capture(model.state_dict()))
    _check_own_memory(model, snapshot)
    objects = {name: id(value) for name, value in model.named_parameters()}
    step()
    if _equal(start, model.state_dict()):
        raise BrokenInvariantError("The step changed no weight, so nothing was checked.")
    check_same_weights(start, snapshot, what="The snapshot before and after training")
    rewind(model, snapshot)
    check_same_weights(start, model.state_dict(), what="The captured and the rewound weights")
    replaced = [name for name, value in model.named_parameters() if id(value) != objects.get(name)]
    if replaced:
        raise BrokenInvariantError(
            f"Rewinding replaced parameters, which optimizers no longer reach: {list_names(replaced)}."
        )
    step()
    check_same_weights(start, snapshot, what="The snapshot before and after training from it")


def _check_own_memory(model: nn.Module, snapshot: Mapping[str, Tensor]) -> None:
    owner = {
        value.untyped_storage().data_ptr(): f"the model's {name}"
        for name, value in model.state_dict().items()
        if value.numel()
    }
    for name, value in snapshot.items():
        if not value.numel():
            continue
        other = owner.setdefault(value.untyped_storage().data_ptr(), f"the snapshot's {name}")
        if other != f"the snapshot's {name}":
            raise BrokenInvariantError(f"The snapshot's {name} shares its memory with {other}.")


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    try:
        check_same_weights(first, second, what="")
    except BrokenInvariantError:
        return False
    return True
