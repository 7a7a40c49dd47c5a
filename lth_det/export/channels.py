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

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


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
        channels = _outputs(_layer(model, chain.producer))
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
                _cut(model, chain, keep)
                removal.kept = [removal.kept[index] for index in keep.nonzero().flatten().tolist()]
    return list(removals.values())


def fit_shapes_(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give the layers of a newly built model the smaller shapes of a state dict, so that it can be loaded strictly.

    Only convolutions, linear layers and batch norms are changed; values are not set.

    Args:
        model: as the configuration builds it.
        state: of a model whose channels were removed.

    Raises:
        MaskMismatchError: a shape differs elsewhere, or is larger than the model's.
    """
    for name, tensor in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
        if name not in state or tensor.shape == state[name].shape:
            continue
        path, _, leaf = name.rpartition(".")
        shape = state[name].shape
        if len(shape) != tensor.ndim or any(
            a > b for a, b in zip(shape, tensor.shape, strict=True)
        ):
            raise MaskMismatchError(
                f"{name} has shape {tuple(shape)}, which is no part of the model's {tuple(tensor.shape)}."
            )
        module = model.get_submodule(path)
        _replace(module, leaf, tensor.detach()[tuple(slice(size) for size in shape)].clone())
        _set_sizes(module)


def _kept(model: nn.Module, chain: Chain) -> tuple[Tensor, int]:
    """Return which channels stay, and how many of them are constants that cannot move; folds those that can."""
    producer = _layer(model, chain.producer)
    read = torch.stack(
        [
            _by_input(_layer(model, name), _outputs(producer)).ne(0).any(dim=1)
            for name in chain.readers
        ]
    ).any(dim=0)
    weighted = _by_output(producer).ne(0).any(dim=1)
    value = _constant(model, chain)
    silent = ~weighted & (value == 0)
    foldable = all(_can_fold(_layer(model, name)) for name in chain.readers)
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
    producer = _layer(model, chain.producer)
    value = torch.zeros(_outputs(producer), dtype=producer.weight.dtype)
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
    reader = _layer(model, name)
    weight = _by_input(reader, value.numel())  # (channels, outputs x places)
    per_output = weight.reshape(value.numel(), _outputs(reader), -1).sum(dim=2)
    added = value.to(torch.float64) @ per_output.to(torch.float64)
    if reader.bias is not None:
        reader.bias += added.to(reader.bias.dtype)
    elif norm:
        mean = cast(Tensor, model.get_submodule(norm).running_mean)
        mean -= added.to(mean.dtype)
    else:
        reader.bias = nn.Parameter(added.to(reader.weight.dtype))


def _cut(model: nn.Module, chain: Chain, keep: Tensor) -> None:
    producer = _layer(model, chain.producer)
    axis = 1 if isinstance(producer, nn.ConvTranspose2d) else 0
    channels = keep.numel()
    for name in chain.readers:
        reader = _layer(model, name)
        places = (
            _inputs(reader) // channels
        )  # a linear layer after a flattened map reads each channel many times
        columns = keep.repeat_interleave(places)
        _slice(reader, "weight", columns, axis=0 if isinstance(reader, nn.ConvTranspose2d) else 1)
        _set_sizes(reader)
    _slice(producer, "weight", keep, axis=axis)
    _slice(producer, "bias", keep)
    _set_sizes(producer)
    if chain.norm:
        norm = model.get_submodule(chain.norm)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            _slice(norm, leaf, keep)
        _set_sizes(norm)


def _slice(module: nn.Module, leaf: str, keep: Tensor, *, axis: int = 0) -> None:
    tensor = getattr(module, leaf, None)
    if isinstance(tensor, Tensor):
        _replace(module, leaf, tensor.detach().index_select(axis, keep.nonzero().flatten()))


def _replace(module: nn.Module, leaf: str, tensor: Tensor) -> None:
    old = getattr(module, leaf)
    if isinstance(old, nn.Parameter):
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=old.requires_grad))
    else:
        setattr(module, leaf, tensor)


def _set_sizes(module: nn.Module) -> None:
    """Make the numbers that a module keeps about itself those of its weight."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.ConvTranspose2d):
        module.in_channels, module.out_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(getattr(module, "running_mean", None), Tensor):
        # Frozen batch norm too, whose class torch does not know.
        vars(module)["num_features"] = cast(Tensor, module.running_mean).numel()


def _layer(model: nn.Module, name: str) -> Layer:
    return cast(Layer, model.get_submodule(name))


def _outputs(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _inputs(layer: Layer) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _by_output(layer: Layer) -> Tensor:
    """Return the weights as (outputs, rest)."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    return weight.reshape(_outputs(layer), -1)


def _by_input(layer: Layer, channels: int) -> Tensor:
    """Return the weights as (channels, outputs x places), places = taps of a kernel or pixels of a flattened map."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.reshape(channels, -1)
    return weight.reshape(_outputs(layer), channels, -1).transpose(0, 1).reshape(channels, -1)


def _require_fit(model: nn.Module, chain: Chain) -> None:
    names = dict(model.named_modules())
    missing = [n for n in _names(chain) if n not in names]
    if missing:
        raise MaskMismatchError(f"The model has no layer {', '.join(missing)}.")
    channels = _outputs(_layer(model, chain.producer))
    for name in chain.readers:
        if _inputs(_layer(model, name)) % channels:
            raise MaskMismatchError(
                f"{name} reads {_inputs(_layer(model, name))} inputs, no multiple of the {channels} of {chain.producer}."
            )


def _names(chain: Chain) -> Iterable[str]:
    return [n for n in (chain.producer, chain.norm, *chain.readers, *chain.reader_norms) if n]
