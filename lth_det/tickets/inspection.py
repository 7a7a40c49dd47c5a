"""What there is to know about one ticket, and about two: sparsity, sizes, thin layers, overlap against chance."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from lth_det.errors import MaskMismatchError
from lth_det.tickets.mask import Mask, MaskOverlap
from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_from_text
from lth_det.tickets.ticket import Ticket

NEAR_COLLAPSE_DENSITY = 0.01
"""A layer that keeps less than this share of its weights is listed as near collapse."""

_FLOAT_BYTES = 4


def mask_report(table: ParameterTable, mask: Mask) -> dict[str, Any]:
    """Return the facts about a mask on a network, JSON-ready.

    Keys: those of :meth:`~lth_det.tickets.summary.SparsitySummary.to_dict`; ``bytes`` (see :func:`size_estimate`);
    ``near_collapse`` (layers with a density below :data:`NEAR_COLLAPSE_DENSITY`, thinnest first) and
    ``frozen_in_scope`` (names of prunable parameters that are not trained, so cannot adapt to their zeros).

    Raises:
        MaskMismatchError: the mask does not fit the table.
        ScopeError: the mask prunes what the table says is not prunable.
    """
    report = sparsity_summary(table, mask).to_dict()
    report["bytes"] = size_estimate(table, mask)
    report["near_collapse"] = near_collapse(mask)
    report["frozen_in_scope"] = [entry.name for entry in table if entry.prunable and entry.frozen]
    return report


def size_estimate(table: ParameterTable, mask: Mask) -> dict[str, int]:
    """Return bytes of the parameters (float32; buffers and file headers left out) in three forms.

    ``dense``: all values. ``packed_mask``: one bit for each masked weight, the kept values, and all values without a
    mask. ``index_and_value``: a 32-bit index with each kept weight, as the
    predecessor's estimate.
    """
    unmasked = table.total_parameters - mask.numel
    bits = sum((mask.numel_in(name) + 7) // 8 for name in mask)
    return {
        "dense": _FLOAT_BYTES * table.total_parameters,
        "packed_mask": bits + _FLOAT_BYTES * (mask.kept + unmasked),
        "index_and_value": 2 * _FLOAT_BYTES * mask.kept + _FLOAT_BYTES * unmasked,
    }


def near_collapse(mask: Mask) -> list[dict[str, Any]]:
    """Return the layers that keep less than 1 % of their weights: ``name``, ``kept``, ``parameters``, ``density``."""
    densities = {
        name: mask.kept_in(name) / mask.numel_in(name) for name in mask if mask.numel_in(name)
    }
    thin = sorted(
        (value, name) for name, value in densities.items() if value < NEAR_COLLAPSE_DENSITY
    )
    return [
        {
            "name": name,
            "kept": mask.kept_in(name),
            "parameters": mask.numel_in(name),
            "density": density,
        }
        for density, name in thin
    ]


def ticket_table(ticket: Ticket) -> ParameterTable | None:
    """Return the parameter table that the ticket carries, None if it carries none.

    Raises:
        TicketFormatError: the table is damaged.
        MaskMismatchError: it does not fit the ticket's mask.
    """
    text = ticket.provenance.extra.get(TABLE_KEY)
    return None if text is None else table_from_text(text)


def mask_only_table(mask: Mask) -> ParameterTable:
    """Return a table of the masked parameters alone, all prunable and in group ``other``."""
    return ParameterTable(
        ParameterEntry(
            name=name,
            shape=shape,
            numel=mask.numel_in(name),
            group="other",
            prunable=True,
            frozen=False,
        )
        for name, shape in mask.shapes.items()
    )


def ticket_report(ticket: Ticket, table: ParameterTable | None = None) -> dict[str, Any]:
    """Return the facts about a ticket, JSON-ready.

    The keys are those of :func:`mask_report` and ``provenance``, ``mask_sha256``, ``rewind_weights`` (None without
    any) and ``complete``.

    Args:
        ticket: the ticket.
        table: of the network, for tickets that carry none. Without any, only masked weights are counted, in the
            group ``other``, ``complete`` is false, and ``sparsity`` is the one of the provenance.

    Raises:
        TicketFormatError: the ticket's own table is damaged.
        MaskMismatchError: the table is of another network.
    """
    known = table if table is not None else ticket_table(ticket)
    counted = mask_only_table(ticket.mask) if known is None else known
    report = mask_report(counted, ticket.mask)
    if known is None:
        report["sparsity"] = ticket.provenance.sparsity
        pruned = ticket.mask.numel - ticket.mask.kept
        # Sparsity is pruned / all parameters, and a float holds it finely enough to get the whole number back.
        report["total_parameters"] = round(pruned / ticket.provenance.sparsity) if pruned else None
        report["bytes"] = None
    provenance = dataclasses.asdict(ticket.provenance)
    provenance["extra"] = {k: v for k, v in provenance["extra"].items() if k != TABLE_KEY}
    weights = ticket.weights
    report |= {
        "complete": known is not None,
        "provenance": provenance,
        "mask_sha256": ticket.mask.sha256(),
        "rewind_weights": None if weights is None else {"tensors": len(weights)},
    }
    return report


def overlap_report(first: Mask, second: Mask, groups: Mapping[str, str]) -> dict[str, Any]:
    """Return how much two tickets keep in common, against chance, JSON-ready.

    ``iou`` is intersection over union of the kept weights. Chance is what independent masks give: ``chance`` with the
    two densities alone, ``chance_of_layers`` with the two densities of each layer (magnitude tickets agree about
    layers more easily than about weights). ``kappa`` = (iou - chance) / (1 - chance), ``kappa_of_layers`` likewise:
    0 is chance, 1 is equality.

    Args:
        first: a mask.
        second: a mask; parameters that only one of the two has, or that differ in shape, are listed and left out.
        groups: parameter -> module group; a parameter without one counts as ``other``.

    Raises:
        MaskMismatchError: the masks share no parameter.
    """
    shared = [name for name, shape in first.shapes.items() if second.shapes.get(name) == shape]
    if not shared:
        raise MaskMismatchError(
            "The two tickets have no parameter of the same name and shape in common."
        )
    by_group: dict[str, list[str]] = {}
    for name in shared:
        by_group.setdefault(groups.get(name, "other"), []).append(name)
    common_first, common_second = first.restricted_to(shared), second.restricted_to(shared)
    return {
        **_overlap(first, second, shared),
        "groups": {group: _overlap(first, second, names) for group, names in by_group.items()},
        "layers": [{"name": name, **_overlap(first, second, [name])} for name in shared],
        "first_nested_in_second": common_first.is_nested_in(common_second),
        "second_nested_in_first": common_second.is_nested_in(common_first),
        "only_in_first": [name for name in first if name not in shared],
        "only_in_second": [name for name in second if name not in shared],
    }


def _overlap(first: Mask, second: Mask, names: list[str]) -> dict[str, Any]:
    part_first, part_second = first.restricted_to(names), second.restricted_to(names)
    plain = part_first.overlap(part_second)
    both = sum(part_first.kept_in_both(part_second, name) for name in names)
    either = part_first.kept + part_second.kept - both
    by_layer = MaskOverlap.from_counts(
        both=both, either=either, chance=_chance_of_layers(part_first, part_second, names)
    )
    return {
        **dataclasses.asdict(plain),
        "chance_of_layers": by_layer.chance,
        "kappa_of_layers": by_layer.kappa,
        "densities": [part_first.density, part_second.density],
    }


def _chance_of_layers(first: Mask, second: Mask, names: Iterable[str]) -> float:
    """Return the IoU that masks tend to which are independent inside each layer, with these counts."""
    both = either = 0.0
    for name in names:
        size = first.numel_in(name)
        if size:
            expected = first.kept_in(name) * second.kept_in(name) / size
            both += expected
            either += first.kept_in(name) + second.kept_in(name) - expected
    return both / either if either else 0.0
