"""What follows from removed channels: the masks of what is left, and models that such weights can be loaded into."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lth_det.export.channels import Chain, Removal, cut_
from lth_det.export.layers import layer_named, output_axis, outputs
from lth_det.tickets.mask import Mask


def cut_mask(
    mask: Mask, model: nn.Module, chains: Sequence[Chain], removals: Sequence[Removal]
) -> Mask:
    """Return the mask of what is left of the masked weights.

    Args:
        mask: of the model before channels were removed.
        model: the model, before or after.
        chains: as given to :func:`remove_channels_`.
        removals: as it returned them.
    """
    flags = dict(mask)
    for chain, removal in zip(chains, removals, strict=True):
        kept = torch.tensor(removal.kept)
        name = f"{chain.producer}.weight"
        if name in flags:
            axis = output_axis(layer_named(model, chain.producer))
            flags[name] = flags[name].index_select(axis, kept)
        for reader in chain.readers:
            name = f"{reader}.weight"
            if name in flags:
                axis = 1 - output_axis(layer_named(model, reader))
                places = flags[name].shape[axis] // removal.channels
                columns = torch.arange(removal.channels * places).reshape(-1, places)[kept]
                flags[name] = flags[name].index_select(axis, columns.flatten())
    return Mask(flags)


def fit_shapes_(model: nn.Module, chains: Sequence[Chain], state: Mapping[str, Tensor]) -> None:
    """Make a newly built model as narrow as a state dict whose channels were removed, so that it loads strictly.

    Only what :func:`~lth_det.export.channels.remove_channels_` may change is changed: the number of channels of the
    chains, and a bias where folding made one. Values are not set, and what else differs is for the loader to refuse.

    Args:
        model: as the configuration builds it.
        chains: of this model.
        state: the weights to load afterwards.
    """
    for chain in chains:
        producer = layer_named(model, chain.producer)
        weight = state.get(f"{chain.producer}.weight")
        if weight is not None and weight.ndim == producer.weight.ndim:
            left = weight.shape[output_axis(producer)]
            if 0 < left < outputs(producer):
                cut_(model, chain, torch.arange(outputs(producer)) < left)
        for name in chain.readers:
            reader = layer_named(model, name)
            if reader.bias is None and f"{name}.bias" in state:
                zeros = torch.zeros(outputs(reader), dtype=reader.weight.dtype)
                reader.bias = nn.Parameter(zeros)
