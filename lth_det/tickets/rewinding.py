"""Take a snapshot of a network's weights and set the network back to it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lth_det.errors import MaskMismatchError
from lth_det.tickets.differences import list_names, mismatch, same_bits, shape_differences


def capture_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of all tensors of a state dict: detached, on the CPU, contiguous, same dtype.

    Training on after this changes no captured tensor: none shares storage with the model or with
    another captured tensor.

    Args:
        state: Such as ``model.state_dict()``, parameters and buffers.

    Raises:
        MaskMismatchError: an entry is not an ordinary dense tensor.
    """
    _require_dense_tensors(state)
    return {name: _copy(tensor) for name, tensor in state.items()}


def _copy(tensor: Tensor) -> Tensor:
    # .cpu() and .contiguous() return the tensor itself if they can; clone never does.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


@torch.no_grad()
def rewind_(
    module_or_state: nn.Module | Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    """Set a network, or the tensors of a state dict, back to ``weights`` in place, bit for bit.

    Parameters stay the same objects, so optimizers and hooks go on working; the optimizer's own
    state is not touched. A mask is not applied: see :func:`lth_det.tickets.apply.apply_mask_`.

    Args:
        module_or_state: The module, or its state dict whose tensors share the module's storage.
        weights: As :func:`capture_weights` returns it.

    Raises:
        MaskMismatchError: names, shapes or dtypes differ, or two names that share one tensor in the
            network have different values in ``weights``; all are named and nothing is changed.
    """
    if isinstance(module_or_state, nn.Module):
        target: Mapping[str, Tensor] = module_or_state.state_dict()
    else:
        target = module_or_state
    _require_dense_tensors(target)
    _require_dense_tensors(weights)
    differences = {**_differences(target, weights), **_shared_conflicts(target, weights)}
    if differences:
        raise mismatch("The weights do not fit the network", differences)
    for name, tensor in target.items():
        tensor.detach().copy_(weights[name])


def _require_dense_tensors(state: Mapping[str, object]) -> None:
    others = [
        name
        for name, value in state.items()
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta
    ]
    if others:
        raise MaskMismatchError(
            f"These entries of the state are not ordinary tensors: {list_names(others)}; "
            "only dense tensors can be captured and set back."
        )


def _differences(
    target: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, list[str]]:
    differences = shape_differences(
        {name: tuple(tensor.shape) for name, tensor in target.items()},
        {name: tuple(tensor.shape) for name, tensor in weights.items()},
    )
    # copy_ would convert the values without a word; a rewind that rounds is no rewind.
    dtypes = [
        f"{name} {weights[name].dtype} instead of {tensor.dtype}"
        for name, tensor in target.items()
        if name in weights and weights[name].dtype != tensor.dtype
    ]
    if dtypes:
        differences["wrong dtype"] = dtypes
    return differences


def _shared_conflicts(
    target: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, list[str]]:
    first_name: dict[tuple[object, ...], str] = {}
    conflicts = []
    for name, tensor in target.items():
        if name not in weights or tensor.numel() == 0:
            continue
        place = (
            tensor.device,
            tensor.data_ptr(),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.dtype,
        )
        first = first_name.setdefault(place, name)
        if first != name and not same_bits(weights[first], weights[name]):
            conflicts.append(f"{first} and {name}")
    return {"different values for one shared tensor": conflicts} if conflicts else {}
