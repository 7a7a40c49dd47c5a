"""A source and a target put together: the ticket of the target, and the report of what happened."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.tickets.differences import require_equal_shapes
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket
from lth_det.tickets.summary import SparsitySummary, sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket
from lth_det.transfer.admission import TRANSFER_KEY, admitted_table
from lth_det.transfer.choosing import choose_mask
from lth_det.transfer.inputs import (
    REQUIRED_KEY,
    STEM,
    SettledInputs,
    fold_stem_mask,
    fold_stem_weight,
    settle_inputs,
)
from lth_det.transfer.matching import Matching, match
from lth_det.transfer.preprocessing import facts_to_extra
from lth_det.transfer.source import Source
from lth_det.transfer.state_file import read_state
from lth_det.transfer.target import Target


@dataclasses.dataclass(frozen=True)
class TransferRequest:
    """How to transfer.

    Attributes:
        groups: Module groups that move; None is the default of :func:`~lth_det.transfer.matching.moved_groups`.
        prune_rate: See :func:`~lth_det.transfer.choosing.choose_mask`.
        scope: Likewise.
        weights: Start values: ``source`` (the source's over the target's initialisation), ``target`` (none: the run's
            own initialisation) or the path of a snapshot, ticket or checkpoint of the target; None is ``source``, and
            ``target`` for the kind ``mask``.
        policy: What to do about another pre-processing, one of :data:`~lth_det.transfer.inputs.POLICIES`.
        versions: Library -> version, for the provenance.
    """

    groups: Collection[str] | None = None
    prune_rate: float | None = None
    scope: str = "global"
    weights: str | None = None
    policy: str = "refuse"
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a transfer gives: the target's ticket, and how it came about."""

    ticket: Ticket
    matching: Matching
    summary: SparsitySummary
    inputs: SettledInputs
    weights: str


def transfer(source: Source, target: Target, request: TransferRequest) -> Transfer:
    """Make a ticket of the target out of a source.

    Parameters that the mask does not name are dense. Buffers (running statistics, batch counters) move with the weights.

    Raises:
        ConfigError: see the parts, or ``weights`` contradicts the kind.
        DataError: a file cannot be read, or a checkpoint is dense.
        MaskMismatchError: source and target are different networks; everything is listed.
    """
    start = request.weights or ("target" if source.kind == "mask" else "source")
    if start == "source" and (source.kind == "mask" or not source.weights):
        raise ConfigError(
            "--weights source needs the source's values, but only its mask is asked for; use --kind ticket, or "
            "--weights target."
        )
    matching = match(source, target, request.groups)
    mask = choose_mask(source, target, matching, prune_rate=request.prune_rate, scope=request.scope)
    stem = next((m.target for m in matching.matched if m.canonical == STEM), None)
    inputs = settle_inputs(
        source,
        target,
        policy=request.policy,
        values_move=start == "source",
        stem_moves=stem is not None,
        stem_masked=stem is not None and stem in mask,
    )
    mask = _folded_mask(mask, stem, source, inputs)
    weights = _start_weights(source, target, matching, start, inputs)
    extra = {
        TRANSFER_KEY: json.dumps(
            {
                "kind": source.kind,
                "source": source.label,
                "source_sha256": source.sha256,
                "convention": source.named.convention,
                "groups": list(matching.groups),
                "tensors": len(matching.matched),
                "values": source.values if start == "source" else start_label(start),
                "policy": request.policy,
            },
            sort_keys=True,
        ),
        **_input_extra(inputs),
    }
    draft = Ticket(mask, weights, _provenance(source, target, request, extra))
    table = admitted_table(target.table, draft)
    summary = sparsity_summary(table, mask)
    provenance = dataclasses.replace(
        draft.provenance,
        prune_rate=summary.total.prune_rate,
        prune_rates_by_group={name: row.prune_rate for name, row in summary.groups.items()},
        sparsity=summary.total.sparsity,
        rewind=source.values if start == "source" else start_label(start),
        extra={**extra, TABLE_KEY: table_to_text(table)},
    )
    ticket = dataclasses.replace(draft, provenance=provenance)
    return Transfer(ticket, matching, summary, inputs, start)


def start_label(start: str) -> str:
    """Return where the start values come from, in words that do not depend on the machine."""
    if start == "target":
        return "initialisation of the run"
    return f"{Path(start).parent.name}/{Path(start).name}"


def _input_extra(inputs: SettledInputs) -> dict[str, str]:
    extra: dict[str, str] = {}
    if inputs.required:
        extra[REQUIRED_KEY] = json.dumps(inputs.required)
    if inputs.accepted:
        extra["preprocessing_mismatch"] = json.dumps(inputs.accepted)
    return extra | facts_to_extra(inputs.facts)


def _provenance(
    source: Source, target: Target, request: TransferRequest, extra: dict[str, str]
) -> Provenance:
    origin = source.provenance
    ranked = request.prune_rate is not None
    criterion = {"magnitude": "magnitude", "checkpoint": "zeros of the source"}.get(source.kind)
    own = origin.criterion if origin is not None else "zeros of the source"
    return Provenance(
        criterion=criterion or (f"{own}, then magnitude" if ranked else own),
        scope=request.scope if ranked or origin is None else origin.scope,
        prune_rate=0.0,
        prune_rates_by_group={},
        sparsity=0.0,
        round=origin.round if origin is not None else 1,
        parent_sha256=source.sha256 if source.kind in ("ticket", "mask") else None,
        source_task=origin.source_task if origin is not None else source.label,
        source_weights=f"{source.label}, sha256 {source.sha256}",
        seed=target.seed,
        rewind="",
        versions=dict(request.versions),
        extra=extra,
    )


def _folded_mask(mask: Mask, stem: str | None, source: Source, inputs: SettledInputs) -> Mask:
    before = source.inputs.preprocessing
    if inputs.fold_to is None or before is None or stem is None or stem not in mask:
        return mask
    return Mask({**mask, stem: fold_stem_mask(mask[stem], before, inputs.fold_to)})


def _start_weights(
    source: Source, target: Target, matching: Matching, start: str, inputs: SettledInputs
) -> dict[str, Tensor] | None:
    if start == "target":
        return None
    if start != "source":
        return _weights_of_file(Path(start), target)
    weights = dict(target.initial())
    for entry in matching.matched:
        if entry.canonical not in source.weights:
            continue  # only in the mask of the ticket, whose weights then come from elsewhere
        value = source.weights[entry.canonical].to(weights[entry.target].dtype)
        if entry.canonical == STEM and inputs.fold_to is not None and source.inputs.preprocessing:
            value = fold_stem_weight(value, source.inputs.preprocessing, inputs.fold_to)
        weights[entry.target] = value.clone(memory_format=torch.contiguous_format)
    return weights


def _weights_of_file(path: Path, target: Target) -> dict[str, Tensor]:
    """Return the weights in a rewind snapshot, ticket or checkpoint of the target, which must fit it exactly."""
    state = read_state(path)
    if any(name.startswith("mask/") for name in state):
        ticket = load_ticket(path)
        if ticket.weights is None:
            raise ConfigError(f"--weights names {path}, a ticket without weights.")
        state = dict(ticket.weights)
    state = {name.removeprefix("module."): value for name, value in state.items()}
    require_equal_shapes(
        target.shapes,
        {name: tuple(value.shape) for name, value in state.items()},
        what=f"--weights names {path}, which is not of the target",
    )
    return state
