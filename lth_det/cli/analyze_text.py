"""The result of an analysis as a table for the terminal; AP and AR in 0-100."""

from collections.abc import Mapping, Sequence
from typing import Any

_AXES = (("by_size", ("small", "medium", "large")), ("by_frequency", None), ("by_difficulty", None))


def analysis_text(value: Mapping[str, Any]) -> str:
    """Return one table per IoU type and, below, verdicts and warnings.

    Args:
        value: the JSON object of an analysis.
    """
    parts = []
    for iou_type in value["iou_types"]:
        parts.append(f"{iou_type}\n{_table(value, iou_type)}\n")
        parts += [
            f"{c['model']}: {c['verdict'] or 'no verdict'}. {c['verdict_text']}\n"
            for c in value["comparisons"]
            if c["iou_type"] == iou_type
        ]
    parts += [f"note: {sentence}\n" for sentence in value["warnings"]]
    return "\n".join(parts)


def _table(value: Mapping[str, Any], iou_type: str) -> str:
    deltas = {
        c["model"]: c["metrics"]["AP"] for c in value["comparisons"] if c["iou_type"] == iou_type
    }
    bins = _bins(value, iou_type)
    header = ["model", "AP", "AP50", "AP75", "AR", *(name for _, name in bins)]
    if deltas:
        header += ["change of AP"]
    rows = [header]
    for name in value["model_order"]:
        model = value["models"][name][iou_type]
        row = [name, *(_points(model[m]) for m in ("AP", "AP50", "AP75", "AR"))]
        row += [_points(model[axis][bin_]["AP"]) for axis, bin_ in bins]
        if deltas:
            row.append(_change(deltas.get(name)))
        rows.append(row)
    return _align(rows)


def _bins(value: Mapping[str, Any], iou_type: str) -> list[tuple[str, str]]:
    first = value["models"][value["model_order"][0]][iou_type]
    found = []
    for axis, wanted in _AXES:
        names = [b["name"] for b in value["axes"][iou_type][axis.removeprefix("by_")]["bins"]]
        found += [
            (axis, name)
            for name in names
            if (wanted is None or name in wanted) and first[axis][name]["objects"]
        ]
    return found


def _change(delta: Mapping[str, Any] | None) -> str:
    if delta is None:
        return ""
    text = "n/a" if delta["delta"] is None else f"{100 * delta['delta']:+.2f}"
    if delta["interval"] is not None:
        text += " [{:+.2f}, {:+.2f}]".format(*(100 * v for v in delta["interval"]))
    return text


def _points(number: float | None) -> str:
    return "n/a" if number is None else f"{100 * number:.2f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
