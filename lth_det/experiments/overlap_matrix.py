"""How much tickets of one network, or of different ones, have in common beyond what chance gives."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_det.errors import MaskMismatchError
from lth_det.tickets.differences import list_names
from lth_det.tickets.inspection import ticket_table
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket
from lth_det.tickets.similarity import Similarity, mask_similarity
from lth_det.tickets.ticket import Ticket

FORMAT_VERSION = 1
ALL = "all"


def overlap_matrix(tickets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the overlap of every pair of tickets, as a whole and by module group.

    Only parameters that both masks name with the same shape are compared: a Mask R-CNN ticket and a keypoint ticket
    meet in the backbone and what else they share. What else there is, is counted, not compared.

    Args:
        tickets: name -> ticket file, in the order of the matrix; two or more.

    Returns:
        ``format_version``, ``names``, ``groups`` ("all" first), and ``pairs``: one for each pair (each once, first before
        second) and group, with ``iou`` of the kept sets, ``chance`` and ``kappa`` against uniform masks of the
        same densities, ``layer_chance`` and ``layer_kappa`` against random masks with the same layer densities (tickets whose
        layer ratios are alike overlap more than uniform ones without one weight in common), both densities, the number of
        ``common_parameters`` and ``common_elements``, and for "all" ``only_first`` and ``only_second``: elements of
        masked parameters that the other ticket lacks. A group that a pair does not share has no entry.

    Raises:
        MaskMismatchError: fewer than two tickets, or two of them have no parameter in common.
        RunError: a file cannot be read.
        TicketFormatError: a file is no ticket.
    """
    if len(tickets) < 2:
        raise MaskMismatchError(f"An overlap needs two tickets or more, not {len(tickets)}.")
    loaded = {name: load_ticket(path) for name, path in tickets.items()}
    groups_of = {name: _groups(ticket) for name, ticket in loaded.items()}
    pairs: list[dict[str, Any]] = []
    for first, second in itertools.combinations(loaded, 2):
        groups = {**groups_of[second], **groups_of[first]}
        pairs += [
            {"first": first, "second": second, **entry}
            for entry in _pair(loaded[first].mask, loaded[second].mask, groups, (first, second))
        ]
    found = dict.fromkeys(entry["group"] for entry in pairs)
    return {
        "format_version": FORMAT_VERSION,
        "names": list(loaded),
        "groups": list(found),
        "pairs": pairs,
    }


def overlap_matrix_text(matrix: Mapping[str, Any]) -> str:
    """Return the printed form of :func:`overlap_matrix`: a line for each pair and group."""
    head = ("first", "second", "group", "IoU", "chance", "kappa", "layer kappa")
    rows = [head] + [
        (
            pair["first"],
            pair["second"],
            pair["group"],
            *(f"{pair[key]:.4f}" for key in ("iou", "chance", "kappa", "layer_kappa")),
        )
        for pair in matrix["pairs"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _pair(
    first: Mask, second: Mask, groups: Mapping[str, str], names: tuple[str, str]
) -> list[dict[str, Any]]:
    shapes = second.shapes
    common = [name for name, shape in first.shapes.items() if shapes.get(name) == shape]
    if not common:
        raise MaskMismatchError(
            f"The tickets {names[0]} and {names[1]} have no parameter of the same name and shape: "
            f"{list_names(list(first)[:3])} ... against {list_names(list(second)[:3])} ...; a ticket of another architecture "
            "is compared after tools/transfer_ticket.py."
        )
    similarity = mask_similarity(first.restricted_to(common), second.restricted_to(common), groups)
    counts: dict[str, int] = {}
    for name in common:
        counts[groups[name]] = counts.get(groups[name], 0) + 1
    whole = {
        **_entry(ALL, similarity.total, len(common)),
        "only_first": first.numel - similarity.total.elements,
        "only_second": second.numel - similarity.total.elements,
    }
    return [
        whole,
        *(_entry(group, value, counts[group]) for group, value in similarity.groups.items()),
    ]


def _entry(group: str, value: Similarity, parameters: int) -> dict[str, Any]:
    found = value.to_dict()
    keys = ("iou", "chance", "kappa", "layer_chance", "layer_kappa")
    elements = value.elements
    return {
        "group": group,
        **{key: found[key] for key in keys},
        "density_first": value.kept_first / elements if elements else None,
        "density_second": value.kept_second / elements if elements else None,
        "common_parameters": parameters,
        "common_elements": elements,
    }


def _groups(ticket: Ticket) -> dict[str, str]:
    """Return parameter -> module group as the ticket records it; the first part of the name where it does not."""
    table = ticket_table(ticket)
    if table is None:
        return {name: name.split(".", maxsplit=1)[0] for name in ticket.mask}
    return table.group_of
