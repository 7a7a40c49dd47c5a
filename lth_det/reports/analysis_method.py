"""The rules of an analysis, and what it was made from, as they stand in its JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lth_det.reports import html
from lth_det.reports.analysis_data import Analysis, part, task_name
from lth_det.reports.html import Html
from lth_det.reports.tables import Column, make_table


def method(analysis: Analysis) -> Html:
    """Return the rules: parameters, statistics, difficulty source, every axis with its bins, classes by bin."""
    parameters, statistics = part(analysis.raw, "parameters"), part(analysis.raw, "statistics")
    items = [*_pairs(parameters), *_pairs(statistics)]
    items += [
        (
            f"difficulty, {task_name(iou_type)}",
            _text(part(analysis.raw, "difficulty_source").get(iou_type)),
        )
        for iou_type in analysis.iou_types
    ]
    parts = [html.definitions(items)]
    for iou_type in analysis.iou_types:
        rows = [
            (axis.title, name, axis.definitions.get(name, ""), axis.rule, axis.source)
            for axis in analysis.axes(iou_type).values()
            if not axis.parts
            for name in axis.bins
        ]
        columns = (
            Column("axis", "attribute"),
            Column("bin", "bin"),
            Column("definition", "definition"),
            Column("rule", "rule"),
            Column("source", "source"),
        )
        words = f"Attributes and their bins, {task_name(iou_type)}"
        parts.append(html.details(words, _wrapped(html.table(make_table(columns, rows)))))
        parts.append(
            html.details(f"Classes by bin, {task_name(iou_type)}", _class_lists(analysis, iou_type))
        )
    return html.join(parts)


def provenance(analysis: Analysis) -> Html:
    """Return the files of an analysis with their hashes and counts, and the version that made it."""
    inputs = part(analysis.raw, "inputs")
    columns = (
        Column("role", "role"),
        Column("path", "file"),
        Column("sha256", "SHA-256"),
        Column("bytes", "bytes", ",d"),
        Column("records", "records", ",d"),
    )
    files = [("ground truth", inputs.get("gt")), ("training annotations", inputs.get("train_gt"))]
    for model in analysis.models:
        for iou_type, listed in part(analysis.info(model), "files").items():
            files += [(f"{model}, {task_name(iou_type)}", item) for item in listed or []]
    rows = [
        (
            role,
            str(item.get("path") or "in memory"),
            str(item.get("sha256") or ""),
            *(item.get(key) for key in ("bytes", "records")),
        )
        for role, item in files
        if isinstance(item, dict)
    ]
    dataset = part(analysis.raw, "dataset")
    facts = [
        (key, _text(dataset.get(key)))
        for key in ("images", "annotations", "crowd", "objects", "style")
    ]
    facts += [
        ("version of lth_det", str(analysis.raw.get("version"))),
        ("schema", str(analysis.raw.get("schema_version"))),
    ]
    note = "Beside this page: figures as PNG and SVG, tables as CSV (long.csv: all numbers), analysis.json, report.md, tables.tex."
    return html.join(
        [
            html.definitions(facts),
            _wrapped(html.table(make_table(columns, rows))),
            html.paragraph(note, css="quiet"),
        ]
    )


def _class_lists(analysis: Analysis, iou_type: str) -> Html:
    lists: dict[str, list[str]] = {}
    for entry in part(analysis.raw, "dataset").get("categories") or []:
        name = str(part(entry).get("name"))
        bins = {
            "frequency": part(entry).get("frequency"),
            "difficulty": part(part(entry).get("difficulty")).get(iou_type),
        }
        for axis, value in bins.items():
            lists.setdefault(f"{axis}: {value or 'in no bin'}", []).append(name)
    return html.definitions((key, ", ".join(names)) for key, names in sorted(lists.items()))


def _pairs(values: Any) -> Iterator[tuple[str, str]]:
    for key, value in part(values).items():
        yield key.replace("_", " "), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(table: Html) -> Html:
    return Html(f'<div class="wrapped">{table}</div>')
