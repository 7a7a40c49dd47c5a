"""What the tests of ticket transfer share: trained-like networks, tickets of them, and the command."""

import json

import torch

from lth_det.classify.config import ModelConfig
from lth_det.classify.models import build_model
from lth_det.cli import transfer_ticket
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.serialization import save_ticket
from lth_det.tickets.ticket import Provenance, Ticket

SHAPES_INPUT = {"format": "RGB", "mean": [116.0, 116.0, 116.0], "std": [58.0, 58.0, 58.0]}
IMAGENET_INPUT = {
    "format": "RGB",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}


def trained_like(network, seed=0):
    """Give the norm layers of a network statistics and gains of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.5, 2.0, generator=generator)
        elif "running_mean" in name or name.endswith("bias"):
            value.normal_(0, 0.1, generator=generator)
        elif name.endswith("num_batches_tracked"):
            value.fill_(7)
    return network.eval()


def narrow_classifier():
    return trained_like(build_model(ModelConfig(name="narrow_resnet"), 5, seed=3))


def write_ticket(path, network, names, *, keep=0.3, extra=None, weights=True):
    """Save a ticket of a network with a random mask over some parameters; return the ticket."""
    generator = torch.Generator().manual_seed(5)
    shapes = {name: value.shape for name, value in network.named_parameters()}
    mask = Mask({name: torch.rand(shapes[name], generator=generator) < keep for name in names})
    state = capture_weights(network.state_dict()) if weights else None
    provenance = Provenance(
        criterion="magnitude",
        scope="global",
        prune_rate=mask.prune_rate,
        prune_rates_by_group={},
        sparsity=mask.prune_rate,
        round=2,
        parent_sha256=None,
        source_task="shapes_cls",
        source_weights="",
        seed=3,
        rewind="iteration 60",
        extra=extra or {},
    )
    ticket = Ticket(mask, state, provenance)
    save_ticket(path, ticket)
    return ticket


def classifier_extra(preprocessing=SHAPES_INPUT):
    return {
        "architecture": "narrow_resnet",
        "preprocessing": json.dumps(preprocessing),
        "stride_in_1x1": "false",
    }


def block_convolutions(network):
    return [
        name
        for name, value in network.named_parameters()
        if value.dim() == 4 and (name == "conv1.weight" or ".conv" in name)
    ]


def command(*words):
    """Run the tool as the command line does, without leaving the process."""
    return transfer_ticket.run(
        transfer_ticket.build_parser().parse_intermixed_args([str(word) for word in words])
    )
