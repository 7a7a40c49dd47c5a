"""Remove channels that no longer matter: a smaller dense network with the same output.

Unstructured zeros make no dense kernel faster; a channel without weights can be cut out, and then every kernel is. A
channel between a layer and the layers that read it goes when

* no reader has a weight for it (whatever its values, they are multiplied by zero), or
* it has no weights itself, so that it is the same number everywhere: relu(norm(bias)). Where that number is 0 the channel
  goes; where not, its contribution moves into the readers' biases, unless a reader pads with zeros (its borders would
  change) or is a transposed convolution: then the channel stays, and is counted.

Channels that are added to others (the residual stream of a ResNet, the levels of a feature pyramid) have no such place
between two layers and stay. Removing channels of one layer takes weights of the layers before, so the rule is applied
until nothing changes. One channel is always left.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lth_det.errors import MaskMismatchError
from lth_det.export.layers import (
    Layer,
    by_input,
    by_output,
    inputs,
    layer_named,
    output_axis,
    outputs,
    replace,
    set_sizes,
)


@dataclasses.dataclass(frozen=True)
class Chain:
    """A layer, its norm, a ReLU, and the layers that alone read the result.

    Attributes:
        producer: name of a convolution, transposed convolution or linear layer without groups.
        norm: name of its norm (batch norm in evaluation, or frozen), "" without one.
        readers: names of the layers that read its output, all of them.
        reader_norms: the readers' norms, "" without one.
    """

    producer: str
    norm: str
    readers: tuple[str, ...]
    reader_norms: tuple[str, ...]


@dataclasses.dataclass
class Removal:
    """What happened to the channels of one producer.

    Attributes:
        producer: its name.
        channels: how many it had.
        kept: indices of those that are left, in the old numbering.
        constant: how many are without weights but stay, because a reader would see the difference.
    """

    producer: str
    channels: int
    kept: list[int]
    constant: int


@torch.no_grad()
def remove_channels_(model: nn.Module, chains: Sequence[Chain]) -> list[Removal]:
    """Cut the channels out of a model in place; return what was done to each producer.

    The output in evaluation mode is the same up to the order of additions. Masks for the old shapes no longer fit.

    Raises:
        MaskMismatchError: a chain names a layer that the model does not have or that has other sizes.
    """
    removals = {}
    for chain in chains:
        _require_fit(model, chain)
        channels = outputs(layer_named(model, chain.producer))
        removals[chain.producer] = Removal(chain.producer, channels, list(range(channels)), 0)
    changed = True
    while changed:
        changed = False
        for chain in chains:
            keep, constant = _kept(model, chain)
            removal = removals[chain.producer]
            removal.constant = constant
            if not bool(keep.all()):
                changed = True
                cut_(model, chain, keep)
                removal.kept = [removal.kept[index] for index in keep.nonzero().flatten().tolist()]
    return list(removals.values())


def _kept(model: nn.Module, chain: Chain) -> tuple[Tensor, int]:
    """Return which channels stay, and how many of them are constants that cannot move; folds those that can."""
    producer = layer_named(model, chain.producer)
    read = torch.stack(
        [
            by_input(layer_named(model, name), outputs(producer)).ne(0).any(dim=1)
            for name in chain.readers
        ]
    ).any(dim=0)
    weighted = by_output(producer).ne(0).any(dim=1)
    value = _constant(model, chain)
    silent = ~weighted & (value == 0)
    foldable = all(_can_fold(layer_named(model, name)) for name in chain.readers)
    keep = read & ~silent
    if foldable:
        keep &= weighted
    if not bool(keep.any()):
        keep[0] = True  # a layer without channels is none
    moved = ~keep & read & ~silent
    if bool(moved.any()):
        for name, norm in zip(chain.readers, chain.reader_norms, strict=True):
            _fold(model, name, norm, torch.where(moved, value, torch.zeros_like(value)))
    return keep, int((~weighted & read & keep).sum())


def _constant(model: nn.Module, chain: Chain) -> Tensor:
    """Return what each channel is if it has no weights: relu(norm(bias)), (channels,)."""
    producer = layer_named(model, chain.producer)
    value = torch.zeros(outputs(producer), dtype=producer.weight.dtype)
    if producer.bias is not None:
        value = producer.bias.detach().clone()
    if chain.norm:
        mean, scale, shift = _affine(model.get_submodule(chain.norm))
        value = (value - mean) * scale + shift
    return value.relu()


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = (variance + float(cast(float, norm.eps))).rsqrt()
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if isinstance(weight, Tensor):
        scale = scale * weight.detach()
    return mean, scale, bias.detach() if isinstance(bias, Tensor) else torch.zeros_like(mean)


def _can_fold(reader: Layer) -> bool:
    if isinstance(reader, nn.Linear):
        return True
    return isinstance(reader, nn.Conv2d) and all(size == 0 for size in reader.padding)


def _fold(model: nn.Module, name: str, norm: str, value: Tensor) -> None:
    """Add to a reader's bias (or take from its norm's mean) what constant channels of these values contribute."""
    reader = layer_named(model, name)
    weight = by_input(reader, value.numel())  # (channels, outputs x places)
    per_output = weight.reshape(value.numel(), outputs(reader), -1).sum(dim=2)
    added = value.to(torch.float64) @ per_output.to(torch.float64)
    if reader.bias is not None:
        reader.bias += added.to(reader.bias.dtype)
    elif norm:
        mean = cast(Tensor, model.get_submodule(norm).running_mean)
        mean -= added.to(mean.dtype)
    else:
        reader.bias = nn.Parameter(added.to(reader.weight.dtype))


def cut_(model: nn.Module, chain: Chain, keep: Tensor) -> None:
    """Leave the channels of a chain where ``keep`` (bool, (channels,)) is true, whatever the others hold."""
    producer = layer_named(model, chain.producer)
    channels = keep.numel()
    for name in chain.readers:
        reader = layer_named(model, name)
        places = (
            inputs(reader) // channels
        )  # a linear layer after a flattened map reads each channel many times
        columns = keep.repeat_interleave(places)
        _slice(reader, "weight", columns, axis=1 - output_axis(reader))
        set_sizes(reader)
    _slice(producer, "weight", keep, axis=output_axis(producer))
    _slice(producer, "bias", keep)
    set_sizes(producer)
    if chain.norm:
        norm = model.get_submodule(chain.norm)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            _slice(norm, leaf, keep)
        set_sizes(norm)


def _slice(module: nn.Module, leaf: str, keep: Tensor, *, axis: int = 0) -> None:
    tensor = getattr(module, leaf, None)
    if isinstance(tensor, Tensor):
        replace(module, leaf, tensor.detach().index_select(axis, keep.nonzero().flatten()))


def _require_fit(model: nn.Module, chain: Chain) -> None:
    names = dict(model.named_modules())
    missing = [n for n in _names(chain) if n not in names]
    if missing:
        raise MaskMismatchError(f"The model has no layer {', '.join(missing)}.")
    channels = outputs(layer_named(model, chain.producer))
    for name in chain.readers:
        if inputs(layer_named(model, name)) % channels:
            raise MaskMismatchError(
                f"{name} reads {inputs(layer_named(model, name))} inputs, no multiple of the {channels} of {chain.producer}."
            )


def _names(chain: Chain) -> Iterable[str]:
    return [n for n in (chain.producer, chain.norm, *chain.readers, *chain.reader_norms) if n]
