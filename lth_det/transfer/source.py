"""What is transferred: masks and weights of a ticket or checkpoint, under canonical names."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lth_det.errors import ConfigError, TicketFormatError
from lth_det.tickets.serialization import load_ticket, read_manifest
from lth_det.tickets.table_record import TABLE_KEY, table_from_text
from lth_det.tickets.ticket import Provenance
from lth_det.transfer.masked_state import effective_state
from lth_det.transfer.names import NamedSource, name_source
from lth_det.transfer.preprocessing import InputFacts, facts_of_convention, facts_of_extra
from lth_det.transfer.state_file import read_state

KINDS = ("ticket", "mask", "magnitude", "checkpoint")
"""What can be done with a source; :class:`Source` and the command line use these words."""

_STAGE_TICKET = "ticket.safetensors"
_STAGE_WEIGHTS = "model_final.pth"


@dataclasses.dataclass(frozen=True)
class Source:
    """Masks and weights under canonical names.

    Attributes:
        label: The file's name, for reports.
        sha256: Of the ticket, or of the file.
        kind: One of :data:`KINDS`.
        named: The names in the file.
        weights: Canonical name -> value; empty if there are none.
        masks: Canonical name -> bool tensor, true = keep; empty before a dense checkpoint is thresholded.
        inputs: What the source's input layer expects.
        values: Which values the weights are, in words ("rewind weights of the ticket, iteration 60").
        provenance: Of a ticket.
        notes: Remarks for the report.
    """

    label: str
    sha256: str
    kind: str
    named: NamedSource
    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    inputs: InputFacts
    values: str
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_detector(self) -> bool:
        """Whether the source is a detector with more than its ResNet.

        A mask alone names only what was prunable, which may be the backbone and the FPN: the parameter table that the
        ticket carries names the rest.
        """
        names = [*self.named.file_names]
        text = None if self.provenance is None else self.provenance.extra.get(TABLE_KEY)
        if text is not None:
            names += [entry.name for entry in table_from_text(text)]
        return any(name.startswith("proposal_generator.") for name in names)


def read_source(path: str | Path, kind: str, *, weights_from: str | Path | None = None) -> Source:
    """Read what is to be transferred.

    Args:
        path: For the kinds ``ticket`` and ``mask`` a ticket file of ours, or the folder of a finished stage
            (``round_02/``), whose *trained* weights (``model_final.pth``) are then the values of the ticket: the transfer
            ticket of Girish et al. (CVPR 2021, 4.2) is the trained sparse network, not the rewound one. For
            ``magnitude`` and ``checkpoint`` a file of weights, a stage folder, or a ticket with weights.
        kind: One of :data:`KINDS`.
        weights_from: A checkpoint of the source network whose values replace those of the ticket.

    Raises:
        DataError: a file cannot be read or holds no ResNet.
        TicketFormatError: a ticket is expected and the file is none, or it is damaged.
        ConfigError: the kind is unknown, or it needs weights and there are none.
    """
    if kind not in KINDS:
        raise ConfigError(f"The kind of transfer is {kind!r}; choose one of {', '.join(KINDS)}.")
    path = Path(path)
    if path.is_dir():
        if weights_from is None:
            weights_from = path / _STAGE_WEIGHTS
        path = path / _STAGE_TICKET if kind in ("ticket", "mask") else Path(weights_from)
    if kind in ("ticket", "mask"):
        return _ticket_source(path, kind, None if weights_from is None else Path(weights_from))
    return _checkpoint_source(path, kind)


def _ticket_source(path: Path, kind: str, weights_from: Path | None) -> Source:
    if not path.exists():
        raise TicketFormatError(
            f"{path} does not exist; give a ticket file, or the folder of a finished stage."
        )
    ticket = load_ticket(path)
    weights: Mapping[str, Tensor] = ticket.weights or {}
    values = f"rewind weights of the ticket ({ticket.provenance.rewind})"
    if kind == "ticket" and weights_from is not None:
        weights = read_state(weights_from)
        values = f"{weights_from.name} of the source"
    if kind == "ticket" and not weights:
        raise ConfigError(
            f"{path} is a ticket without weights; use --kind mask, or name the source's weights with --source-weights."
        )
    # The names of weights and mask together: the mask alone does not show how deep the network is.
    named = name_source(dict.fromkeys([*(ticket.weights or {}), *weights, *ticket.mask]), str(path))
    canonical = {name: key for key, name in named.file_names.items()}
    return Source(
        label=path.name,
        sha256=str(read_manifest(path)["sha256"]),
        kind=kind,
        named=named,
        weights={canonical[n]: v for n, v in weights.items() if n in canonical},
        masks={canonical[n]: ticket.mask[n] for n in ticket.mask if n in canonical},
        inputs=facts_of_extra(ticket.provenance.extra, str(path)),
        values=values,
        provenance=ticket.provenance,
    )


def _checkpoint_source(path: Path, kind: str) -> Source:
    inputs: InputFacts | None
    provenance: Provenance | None
    if _is_ticket(path):
        ticket = load_ticket(path)
        if ticket.weights is None:
            raise ConfigError(f"{path} is a ticket without weights; --kind {kind} needs some.")
        raw: Mapping[str, Tensor] = ticket.weights
        inputs = facts_of_extra(ticket.provenance.extra, str(path))
        provenance = ticket.provenance
    else:
        raw, inputs, provenance = read_state(path), _facts_of_run(path), None
    state = effective_state(raw, str(path))
    named = name_source(state.weights, str(path))
    canonical = {name: key for key, name in named.file_names.items()}
    return Source(
        label=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        kind=kind,
        named=named,
        weights={canonical[n]: v for n, v in state.weights.items() if n in canonical},
        masks={canonical[n]: m for n, m in state.masks.items() if n in canonical},
        inputs=facts_of_convention(named.convention) if inputs is None else inputs,
        values=f"weights of {path.name}",
        provenance=provenance,
        notes=state.notes,
    )


def _facts_of_run(path: Path) -> InputFacts | None:
    """Return what the results of a run of ours say about a checkpoint in one of its stage folders; None without any."""
    results = path.parent.parent / "results.json"
    try:
        extra = json.loads(results.read_bytes()).get("input")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(extra, dict) or not extra:
        return None
    return dataclasses.replace(facts_of_extra(extra, str(results)), origin="the results of its run")


def _is_ticket(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        read_manifest(path)
    except TicketFormatError as error:
        if "not a ticket" in str(error):
            return False
        raise
    return True
