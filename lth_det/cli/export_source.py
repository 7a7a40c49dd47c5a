"""Where the weights and the mask of an export come from: a run folder, or two files."""

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.cli.common import read_json
from lth_det.errors import ConfigError, RunError
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.checkpoint_file import load_checkpoint_weights
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, read_manifest, weights_sha256
from lth_det.tickets.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class Source:
    """A state dict with zeros, its mask, and facts for people about where they come from."""

    state: dict[str, Tensor]
    mask: Mask
    about: dict[str, str]


def run_source(folder: Path, number: int | None) -> Source:
    """Return the trained weights and the mask of a round of a run; ``None`` is the last finished round.

    Raises:
        LthDetError: no such run or round, the round is dense, or its files are not those it ended with.
    """
    content = read_json(str(folder / "results.json"))
    rounds = content.get("rounds") if isinstance(content, dict) else None
    records = [r for r in rounds or [] if isinstance(r, dict) and r.get("ticket")]
    if number is not None:
        records = [record for record in records if record.get("round") == number]
    if not records:
        which = (
            "a finished round with a ticket" if number is None else f"round {number} with a ticket"
        )
        raise RunError(f"{folder} has no {which}; see its results.json.")
    record = records[-1]
    ticket = load_ticket(folder / str(record["ticket"]))
    state = load_checkpoint_weights(folder / str(record.get("weights")))
    if weights_sha256(state) != record.get("weights_sha256"):
        raise RunError(
            f"{folder / str(record.get('weights'))} is not the file that {record.get('stage')} ended with; train it again."
        )
    sha256 = read_manifest(folder / str(record["ticket"]))["sha256"]
    return Source(state, ticket.mask, _about(ticket, sha256) | _metrics(record))


def files_source(weights: str | None, ticket: str | None) -> Source:
    """Return the weights of a checkpoint and the mask of a ticket file, or the ticket's own start values under it.

    Raises:
        LthDetError: a file is missing or damaged, or there is no ticket.
    """
    if ticket is None:
        raise ConfigError(
            "Give a run folder, or --ticket T with --weights PTH: without the mask, a kept weight that is zero would "
            "be taken for a pruned one."
        )
    loaded = load_ticket(ticket)
    about = _about(loaded, read_manifest(ticket)["sha256"])
    if weights is not None:
        return Source(load_checkpoint_weights(weights), loaded.mask, about)
    if loaded.weights is None:
        raise ConfigError(f"{ticket} is a mask without weights; add --weights PTH.")
    state = dict(loaded.weights)
    apply_mask_(state, loaded.mask)
    return Source(
        state, loaded.mask, about | {"weights": f"start of the ticket ({about['rewind']})"}
    )


def _about(ticket: Ticket, sha256: str) -> dict[str, str]:
    made = ticket.provenance
    return {
        "ticket_sha256": sha256,
        "source_task": made.source_task,
        "criterion": made.criterion,
        "prune_rate": f"{made.prune_rate:.6g}",
        "sparsity": f"{made.sparsity:.6g}",
        "round": str(made.round),
        "rewind": made.rewind,
    }


def _metrics(record: dict[str, Any]) -> dict[str, str]:
    metrics = record.get("metrics")
    found = metrics if isinstance(metrics, dict) else {}
    wanted = {
        name: value for name, value in found.items() if name.endswith("/AP") or name == "top1"
    }
    return {
        name: f"{value:.4f}" for name, value in wanted.items() if isinstance(value, int | float)
    }
