"""Shapes of convolutions and linear layers: which axis is what, and how to change one."""

from typing import cast

from torch import Tensor, nn

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def layer_named(model: nn.Module, name: str) -> Layer:
    """Return the layer of a model with this name."""
    return cast(Layer, model.get_submodule(name))


def output_axis(layer: Layer) -> int:
    """Return the axis of the weight that counts outputs."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def outputs(layer: Layer) -> int:
    """Return the number of output channels or features."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def inputs(layer: Layer) -> int:
    """Return the number of input channels or features."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def by_output(layer: Layer) -> Tensor:
    """Return the weights as (outputs, rest)."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    return weight.reshape(outputs(layer), -1)


def by_input(layer: Layer, channels: int) -> Tensor:
    """Return the weights as (channels, outputs x places), places = taps of a kernel or pixels of a flattened map."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.reshape(channels, -1)
    return weight.reshape(outputs(layer), channels, -1).transpose(0, 1).reshape(channels, -1)


def replace(module: nn.Module, leaf: str, tensor: Tensor) -> None:
    """Give a parameter or buffer of a module another value, of any shape."""
    old = getattr(module, leaf)
    if isinstance(old, nn.Parameter):
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=old.requires_grad))
    else:
        setattr(module, leaf, tensor)


def set_sizes(module: nn.Module) -> None:
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
