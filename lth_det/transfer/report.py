"""The report of a transfer: as JSON, and as the text that a person reads."""

from typing import Any

from lth_det.tickets.summary import sparsity_table
from lth_det.transfer.compose import Transfer
from lth_det.transfer.preprocessing import options_text
from lth_det.transfer.source import Source
from lth_det.transfer.target import Target


def transfer_report(done: Transfer, source: Source, target: Target) -> dict[str, Any]:
    """Return everything about a transfer, JSON-ready.

    Keys: ``kind``, ``source`` (file, sha256, convention, prefix, values, notes), ``groups`` (that moved),
    ``weights`` (where the start values come from), ``matched`` (list of ``source``, ``target``, ``shape``, ``group``,
    ``masked``), ``unmatched_source`` and ``unmatched_target`` (name -> reason), ``preprocessing`` (``note``,
    ``required_options``, ``accepted_mismatch``), ``mask`` (``weights``, ``pruned``, ``prune_rate``: of the weights that the
    mask names), ``zero_parameters`` (zeros among all parameters of the ticket's weights under its mask, null without
    weights), ``frozen_in_mask`` (pruned, but not trained by this configuration), and ``total_parameters``,
    ``prunable_parameters``, ``pruned_parameters``, ``sparsity``, ``prune_rate``, ``module_groups``, ``layers`` of the target.
    """
    mask, summary = done.ticket.mask, done.summary.to_dict()
    summary["module_groups"] = summary.pop("groups")
    return {
        "kind": source.kind,
        "source": {
            "file": source.label,
            "sha256": source.sha256,
            "convention": source.named.convention,
            "prefix": source.named.prefix,
            "values": source.values,
            "notes": list(source.notes),
        },
        "groups": list(done.matching.groups),
        "weights": done.weights,
        "target_initialisation": target.weights_label,
        "seed": target.seed,
        "matched": [
            {
                "source": match.source,
                "target": match.target,
                "shape": list(match.shape),
                "group": match.group,
                "masked": match.target in mask,
            }
            for match in done.matching.matched
        ],
        "unmatched_source": dict(done.matching.source_left),
        "unmatched_target": dict(done.matching.target_left),
        "preprocessing": {
            "note": done.inputs.note,
            "required_options": [list(pair) for pair in done.inputs.required],
            "accepted_mismatch": [list(pair) for pair in done.inputs.accepted],
        },
        "mask": {
            "weights": mask.numel,
            "pruned": mask.numel - mask.kept,
            "prune_rate": mask.prune_rate,
        },
        "zero_parameters": _zero_parameters(done, target),
        "frozen_in_mask": [e.name for e in target.table if e.frozen and e.name in mask],
        **summary,
    }


def _zero_parameters(done: Transfer, target: Target) -> int | None:
    weights, mask = done.ticket.weights, done.ticket.mask
    if weights is None:
        return None
    zeros = 0
    for entry in target.table:
        value = weights[entry.name] == 0
        if entry.name in mask:
            value |= ~mask[entry.name]
        zeros += int(value.sum())
    return zeros


def transfer_text(report: dict[str, Any], done: Transfer) -> str:
    """Return the report for people: what moved, what did not and why, the input, and the sparsity of the target."""
    source, mask = report["source"], report["mask"]
    lines = [
        f"{report['kind']} of {source['file']} ({source['convention']} names, sha256 {source['sha256'][:16]})",
        f"moved: {', '.join(report['groups'])}: {len(report['matched'])} tensors, of which "
        f"{sum(row['masked'] for row in report['matched'])} are masked",
        f"mask: {mask['pruned']:,} of {mask['weights']:,} weights pruned ({100 * mask['prune_rate']:.2f} %)",
        f"start weights: {_start(report)}",
        f"input: {report['preprocessing']['note']}",
    ]
    required = done.inputs.required
    if required:
        lines.append(f"options of its runs: {options_text(required)}")
    lines += [f"note: {note}" for note in source["notes"]]
    frozen = report["frozen_in_mask"]
    if frozen:
        lines.append(
            f"note: {len(frozen)} masked weights are frozen in this configuration and keep the source's values "
            f"({frozen[0]}, ...)"
            if report["weights"] == "source"
            else f"note: {len(frozen)} masked weights are frozen in this configuration and cannot adapt to their zeros "
            f"({frozen[0]}, ...)"
        )
    lines += _left("not moved from the source", report["unmatched_source"])
    lines += _left("not set in the target", report["unmatched_target"])
    return "\n".join([*lines, "", sparsity_table(done.summary)]) + "\n"


def _start(report: dict[str, Any]) -> str:
    if report["weights"] == "target":
        return "none in the ticket; each run starts from its own MODEL.WEIGHTS and SEED"
    if report["weights"] == "source":
        return f"{report['source']['values']}; the rest: {report['target_initialisation']}"
    return str(report["weights"])


def _left(title: str, reasons: dict[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return [
        f"{title}: {len(names)} tensors: {reason} ({', '.join(names[:2])}{', ...' * (len(names) > 2)})"
        for reason, names in by_reason.items()
    ]
