"""The printed form of the reports of ``lth_det.tickets.inspection``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NOT_COUNTED = "-"


def ticket_text(report: Mapping[str, Any]) -> str:
    """Return the report of one ticket as text: provenance, module groups, layers, sizes."""
    provenance = report["provenance"]
    weights = report["rewind_weights"]
    facts = {
        "file": f"{report['file']} ({_megabytes(report['file_bytes'])})",
        "sha256": report["sha256"],
        "mask sha256": report["mask_sha256"],
        "parent": provenance["parent_sha256"] or "none",
        "round": provenance["round"],
        "criterion, scope": f"{provenance['criterion']}, {provenance['scope']}",
        "source task": provenance["source_task"],
        "source weights": provenance["source_weights"] or "none",
        "rewind weights": f"{weights['tensors']} tensors, {provenance['rewind']}"
        if weights
        else "none",
        "seed": provenance["seed"],
        "versions": ", ".join(f"{k} {v}" for k, v in sorted(provenance["versions"].items()))
        or "not given",
        **dict(sorted(provenance["extra"].items())),
    }
    parts = [_facts(facts), _groups(report), _layers(report), _warnings(report)]
    if not report["complete"]:
        parts.append(
            "The ticket does not say to which network it belongs: add --config-file F for its module groups."
        )
    return _join(parts)


def overlap_text(report: Mapping[str, Any]) -> str:
    """Return the report of two tickets as text: sparsities, then overlap against chance by group and layer."""
    overlap = report["overlap"]
    parts = []
    for letter, ticket in zip("AB", report["tickets"], strict=True):
        parts.append(
            f"{letter}: {ticket['file']}\n   prune rate {_percent(ticket['prune_rate'])}, sparsity "
            f"{_percent(ticket['sparsity'])}, {ticket['provenance']['source_task']}, round "
            f"{ticket['provenance']['round']}, sha256 {ticket['sha256'][:16]}"
        )
    rows = [*overlap["groups"].items(), ("all shared", overlap)]
    header = (
        "group",
        "density A",
        "density B",
        "IoU",
        "chance",
        "kappa",
        "chance (layers)",
        "kappa (layers)",
    )
    parts.append(_table(header, [(name, *_overlap_cells(row)) for name, row in rows]))
    parts.append(
        _table(
            ("layer", *header[1:6]),
            [(r["name"], *_overlap_cells(r)[:5]) for r in overlap["layers"]],
        )
    )
    parts.append(
        "IoU is of the kept weights; kappa is 0 at chance and 1 for equal masks. 'layers': chance of masks with the same "
        "density in each layer."
    )
    for first, second in (("first", "second"), ("second", "first")):
        if overlap[f"{first}_nested_in_{second}"]:
            parts.append(f"All that the {first} ticket keeps, the {second} keeps too.")
        if overlap[f"only_in_{first}"]:
            parts.append(f"Only in the {first} ticket: {', '.join(overlap[f'only_in_{first}'])}.")
    return _join(parts)


def dry_run_text(report: Mapping[str, Any]) -> str:
    """Return the report of a dry run as text: module groups, layers, sizes, warnings."""
    facts = {
        "config": report["config_file"],
        "preset, scope": f"{report['preset']}, {report['scope']} ({report['criterion']})",
        "prune rate": f"{_percent(report['requested_prune_rate'])} asked, {_percent(report['prune_rate'])} met",
        "weights": report["weights"],
    }
    parts = [_facts(facts), _groups(report), _layers(report), _macs(report), _warnings(report)]
    if report["scope"] == "sensitivity":
        parts.append(
            "Totals are exact. How they split over groups is decided by losses of the trained dense network, which a dry "
            "run does not measure: the split above is that of the global scope."
        )
    elif report["split_depends_on_weights"] and "random initialisation" in report["weights"]:
        parts.append(
            "Totals are exact. How they split over groups and layers depends on the weights: give trained ones with "
            "MODEL.WEIGHTS FILE."
        )
    return _join(parts)


def _groups(report: Mapping[str, Any]) -> str:
    header = ("group", "parameters", "prunable", "pruned", "sparsity", "prune rate")
    rows = [(name, *_count_cells(row)) for name, row in report["groups"].items()]
    return _table(header, [*rows, ("network", *_count_cells(report))])


def _count_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _number(row["total_parameters"]),
        _number(row["prunable_parameters"]),
        _number(row["pruned_parameters"]),
        _percent(row["sparsity"]),
        _percent(row["prune_rate"]) if row["prunable_parameters"] else _NOT_COUNTED,
    )


def _layers(report: Mapping[str, Any]) -> str:
    rows = [
        (
            layer["name"],
            layer["group"],
            " x ".join(map(str, layer["shape"])),
            _number(layer["total_parameters"] - layer["pruned_parameters"]),
            _percent(layer["pruned_parameters"] / layer["total_parameters"]),
        )
        for layer in report["layers"]
        if layer["prunable"] and layer["total_parameters"]
    ]
    return _table(("prunable layer", "group", "shape", "kept", "prune rate"), rows, left=3)


def _macs(report: Mapping[str, Any]) -> str:
    macs = report.get("macs")
    if macs is None:
        return ""
    rows = [
        (name, f"{row['dense'] / 1e9:.3f}", f"{row['ticket'] / 1e9:.3f}")
        for name, row in [*macs["groups"].items(), ("network", macs)]
    ]
    height, width = macs["image"]
    return (
        _table(("giga MACs", "dense", "without zeros"), rows)
        + f"\nFor a {height} x {width} image and the largest number of regions; dense kernels save nothing of it."
    )


def _warnings(report: Mapping[str, Any]) -> str:
    lines = []
    size = report["bytes"]
    if size is not None:
        lines.append(
            f"parameters on disk: {_megabytes(size['dense'])} dense, {_megabytes(size['packed_mask'])} as mask bits "
            f"and kept values, {_megabytes(size['index_and_value'])} as index and value (float32)"
        )
    if report["frozen_in_scope"]:
        names = report["frozen_in_scope"]
        lines.append(
            f"frozen but prunable, so they cannot adapt to their zeros: {len(names)} layers: {', '.join(names)}"
        )
    thin = [
        f"{row['name']} ({row['kept']} of {row['parameters']})" for row in report["near_collapse"]
    ]
    if thin:
        lines.append(f"near collapse, less than 1 % kept: {', '.join(thin)}")
    return "\n".join(lines)


def _overlap_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    rates = [_percent(value) for value in row["densities"]]
    values = (row[key] for key in ("iou", "chance", "kappa", "chance_of_layers", "kappa_of_layers"))
    return (*rates, *(f"{value:.4f}" for value in values))


def _facts(facts: Mapping[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in facts.items())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return aligned columns; the first ``left`` to the left, the others to the right."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def _number(value: int | None) -> str:
    return _NOT_COUNTED if value is None else f"{value:,}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
