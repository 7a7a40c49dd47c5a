"""What a ticket buys: bytes on disk, multiply-accumulates, and a plain word about speed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lth_det.reports import html
from lth_det.reports.html import Html
from lth_det.reports.run_data import LayerResult, RoundResult, RunResults
from lth_det.reports.tables import Cell, Column, Table, make_table

VALUE_BYTES = 4
INDEX_BYTES = 4

NO_SPEED_UP = (
    "Unstructured zeros make nothing faster here: convolutions in PyTorch, Detectron2 and onnxruntime multiply by every zero, so "
    "latency and memory during inference are those of the dense model. What they make smaller is the file: "
    "tools/export_ticket.py writes it and restores the dense checkpoint. Faster is a network whose dead channels are cut out "
    "(export_ticket.py --remove-channels, which says how many there are), linear layers in a sparse matrix format at high prune "
    "rates, and hardware that skips zeros."
)


def ticket_size(result: RoundResult) -> dict[str, float]:
    """Return bytes of a round's parameters in several forms (float32, without buffers and file headers).

    ``dense``: all values. ``compact``: the least that a mask with these layer densities and the values of what is not
    pruned need (the entropy of the mask; files of ``export_ticket.py`` are within percents of it). ``packed_mask``: one bit
    for each prunable weight instead. ``index_and_value``: a 32-bit index with each kept prunable weight, the predecessor's
    figure. NaN where the round lists no layers.
    """
    if not result.layers:
        return dict.fromkeys(("dense", "compact", "packed_mask", "index_and_value"), math.nan)
    sizes = {"dense": 0.0, "compact": 0.0, "packed_mask": 0.0, "index_and_value": 0.0}
    for layer in result.layers:
        kept = layer.total_parameters - layer.pruned_parameters
        masked = layer.prunable
        sizes["dense"] += VALUE_BYTES * layer.total_parameters
        sizes["compact"] += VALUE_BYTES * kept + (_entropy_bytes(layer) if masked else 0.0)
        sizes["packed_mask"] += VALUE_BYTES * kept + (-(-layer.total_parameters // 8) * masked)
        sizes["index_and_value"] += (VALUE_BYTES + INDEX_BYTES * masked) * kept
    return sizes


def ticket_macs(results: RunResults, result: RoundResult) -> dict[str, dict[str, float]]:
    """Return MACs by module group, and of the network as ``all``: ``dense``, and ``ticket`` without those of zeros.

    Empty where the run did not record the MACs of its layers (``layer_macs`` in ``results.json``) or its layers.
    """
    known = results.facts.get("layer_macs")
    macs = known.get("layers") if isinstance(known, Mapping) else None
    if not isinstance(macs, Mapping) or not result.layers:
        return {}
    found: dict[str, dict[str, float]] = {}
    for layer in result.layers:
        count = macs.get(layer.name)
        if isinstance(count, int | float) and layer.total_parameters:
            for group in (layer.group, "all"):
                row = found.setdefault(group, {"dense": 0.0, "ticket": 0.0})
                row["dense"] += count
                row["ticket"] += count * (1 - layer.sparsity)
    return found


def sizes_table(results: RunResults) -> Table:
    """Return one row per ticket: bytes in each form (MB, 10^6), how much smaller, and MACs (10^9) where they are known."""
    models = [model for model in (results.dense, *results.tickets) if model is not None]
    counted = {model.title: ticket_macs(results, model).get("all") for model in models}
    columns = [
        Column("model", "model"),
        Column("sparsity", "sparsity", ".1%"),
        Column("dense_mb", "dense, MB", ",.2f"),
        Column("compact_mb", "compact, MB", ",.2f"),
        Column("times_smaller", "times smaller", ".1f"),
        Column("packed_mask_mb", "packed mask, MB", ",.2f"),
        Column("index_and_value_mb", "index + value, MB", ",.2f"),
    ]
    if any(counted.values()):
        columns += [
            Column("dense_gmacs", "dense, 10^9 MACs", ",.3f"),
            Column("ticket_gmacs", "without zeros, 10^9 MACs", ",.3f"),
        ]
    rows: list[list[Cell]] = []
    for model in models:
        sizes = ticket_size(model)
        row: list[Cell] = [
            model.title,
            model.sparsity,
            sizes["dense"] / 1e6,
            sizes["compact"] / 1e6,
            sizes["dense"] / sizes["compact"] if sizes["compact"] else math.nan,
            sizes["packed_mask"] / 1e6,
            sizes["index_and_value"] / 1e6,
        ]
        if any(counted.values()):
            macs = counted[model.title] or {}
            row += [macs.get(key, math.nan) / 1e9 for key in ("dense", "ticket")]
        rows.append(row)
    return make_table(columns, rows)


def macs_table(results: RunResults) -> Table:
    """Return MACs (10^9) of each module group of each ticket; no rows where they are not known."""
    columns = (
        Column("model", "model"),
        Column("group", "module group"),
        Column("dense_gmacs", "dense, 10^9 MACs", ",.4f"),
        Column("ticket_gmacs", "without zeros, 10^9 MACs", ",.4f"),
        Column("share", "left", ".1%"),
    )
    rows: list[list[Cell]] = [
        [
            model.title,
            group,
            row["dense"] / 1e9,
            row["ticket"] / 1e9,
            row["ticket"] / row["dense"] if row["dense"] else math.nan,
        ]
        for model in results.tickets
        for group, row in ticket_macs(results, model).items()
    ]
    return make_table(columns, rows)


def sizes_section(results: RunResults) -> Html:
    """Return the section of the run report: sizes, MACs, and where there is no speed-up."""
    if not any(model.layers for model in results.tickets):
        return html.join(
            [html.note("Sizes need the layers of a ticket."), html.paragraph(NO_SPEED_UP)]
        )
    parts = [
        html.table(
            sizes_table(results),
            emphasised=(0,) if results.dense else (),
            caption="Parameters on disk, float32. Compact: kept values and the entropy of the mask.",
        )
    ]
    groups = macs_table(results)
    if groups.rows:
        size = results.facts["layer_macs"].get("image", [])
        where = " x ".join(str(side) for side in size) or "test"
        caption = f"Multiply-accumulates of one {where} px image with every allowed region."
        parts.append(html.details("MACs by module group", html.table(groups, caption=caption)))
    else:
        hint = "MACs by module group: tools/inspect_ticket.py --config-file F --macs."
        parts.append(html.paragraph(hint, css="quiet"))
    parts.append(html.paragraph(NO_SPEED_UP))
    return html.join(parts)


def _entropy_bytes(layer: LayerResult) -> float:
    """Return the entropy of a layer's mask, its weights kept independently of each other."""
    if not 0 < layer.pruned_parameters < layer.total_parameters:
        return 0.0
    p = layer.sparsity
    return layer.total_parameters * (-p * math.log2(p) - (1 - p) * math.log2(1 - p)) / 8
