"""The report of an analysis: a page, its figures and its tables, from the analysis's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lth_det.io import to_json
from lth_det.reports import (
    analysis_curves,
    analysis_lists,
    analysis_parts,
    analysis_tables,
    html,
)
from lth_det.reports.analysis_data import MAIN_AXES, Analysis, Axis, part, read_analysis, task_name
from lth_det.reports.analysis_method import method, provenance
from lth_det.reports.analysis_parts import Job, figure
from lth_det.reports.folder import replace_folder
from lth_det.reports.html import Html, Section
from lth_det.reports.tables import to_csv, to_latex, to_markdown

FEW = 4
"""Warnings and verdicts past which their sentences are folded."""


def write_analysis_report(
    analysis: Mapping[str, Any] | Path | str,
    output_dir: Path | str,
    *,
    image_root: Path | str | None = None,
) -> Path:
    """Write the report of an analysis to ``output_dir/report`` and return the path of its page, ``index.html``.

    Beside the page stand every figure as PNG and SVG, every table as CSV, all numbers in long form (``long.csv``), the
    analysis as JSON, ``report.md`` and ``tables.tex``. The page needs no other file and no network. An older report is
    replaced as a whole, or kept when this one fails. Equal input gives equal bytes.

    Args:
        analysis: the JSON of ``lth_det.analysis`` (schema version 1), as a value or a file.
        output_dir: made if needed; only its folder ``report`` is touched.
        image_root: folder of the images, for pictures of lost objects; without it there are none.

    Raises:
        InputError: ``analysis`` is missing, damaged, or of another schema version.
        RunError: the report cannot be written.
    """
    read = read_analysis(analysis)
    target = Path(output_dir) / "report"
    with replace_folder(target) as work:
        job = Job(read, work, None if image_root is None else Path(image_root))
        sections = [
            Section("verdict", "Verdict", _verdict(job)),
            Section(
                "curves",
                "AP against sparsity" if read.has_sparsity else "AP by model",
                _curves(job),
            ),
            Section("attributes", "Attributes", _each(job, analysis_parts.attributes)),
            Section("classes", "Classes", _each(job, analysis_parts.classes)),
            Section("errors", "Errors", _each(job, analysis_parts.errors)),
            Section("precision", "Precision and recall", _each(job, analysis_parts.precision)),
            Section("objects", "Lost objects", _each(job, analysis_parts.objects)),
            Section("method", "Rules", method(read)),
            Section("provenance", "Provenance", provenance(read)),
        ]
        _write_files(job)
        title = "Which objects does a ticket lose?" if read.has_sparsity else "AP by attribute"
        footer = f"Made by lth_det {read.raw.get('version', '')} from analysis.json."
        page = html.page(title, _subtitle(read), sections, footer=footer)
        (work / "index.html").write_text(page, encoding="utf-8")
    return target / "index.html"


def _subtitle(analysis: Analysis) -> str:
    facts = part(analysis.raw, "dataset")
    against = f" compared with {analysis.reference}" if analysis.others else ""
    return (
        f"{', '.join(analysis.others or analysis.models)}{against}; {facts.get('images')} images, "
        f"{facts.get('objects')} objects, {len(facts.get('categories') or [])} classes"
    )


def _each(job: Job, make: Callable[[Job, str], Html]) -> Html:
    """Return ``make`` of every IoU type, under its own heading when there are several."""
    types = job.analysis.iou_types
    if len(types) == 1:
        return make(job, types[0])
    parts = (Html(f"<h3>{html.escape(task_name(name))}</h3>{make(job, name)}") for name in types)
    return html.join(parts)


def _verdict(job: Job) -> Html:
    analysis = job.analysis
    parts = []
    for iou_type in analysis.iou_types:
        table = analysis_tables.verdict_table(analysis, iou_type)
        emphasised = (0,) if analysis.reference else ()
        caption = analysis_tables.table_title(iou_type)
        parts.append(html.table(table, emphasised=emphasised, caption=caption, compact=True))
        sentences = html.definitions(_sentences(analysis, iou_type))
        few = len(analysis.others) <= FEW
        parts.append(sentences if few else html.details("Verdicts in words", sentences))
    drawing = analysis_curves.verdicts(analysis)
    if drawing is None:
        parts.append(html.note("A verdict needs a reference and another model."))
    else:
        caption = "Change of AP with its interval. Grey: the non-inferiority margin. Open symbols: controls."
        parts.append(figure(job, drawing, caption))
    note = str(part(analysis.raw, "statistics").get("note") or "")
    parts.append(html.paragraph(note, css="quiet"))
    warnings = [html.note(str(sentence)) for sentence in analysis.raw.get("warnings") or []]
    if len(warnings) > FEW:
        return html.join([*parts, html.details(f"{len(warnings)} warnings", html.join(warnings))])
    return html.join([*parts, *warnings])


def _sentences(analysis: Analysis, iou_type: str) -> list[tuple[str, str]]:
    found = []
    for model in (*analysis.compared, *analysis.controls):
        text = analysis.comparison(model, iou_type).get("verdict_text")
        if text:
            found.append((analysis.title(model), str(text)))
    return found


def _curves(job: Job) -> Html:
    analysis = job.analysis
    caption = "AP of the models; band: interval. Dashed: the reference. Open symbols: controls."
    parts = [figure(job, analysis_curves.overall(analysis), caption)]
    for iou_type in analysis.iou_types:
        plain = analysis.plain_axes(iou_type)
        main = [axis for axis in plain if axis.name in MAIN_AXES]
        rest = [axis for axis in plain if axis.name not in MAIN_AXES]
        caption = (
            "Change of AP to the reference by attribute, with intervals; n: objects in the bin."
        )
        parts.append(_changes(job, iou_type, main, name=f"{iou_type}_changes", caption=caption))
        if rest:
            drawn = _changes(job, iou_type, rest, name=f"{iou_type}_changes_more", caption=caption)
            parts.append(html.details(f"{task_name(iou_type)} AP by more attributes", drawn))
    return html.join(parts)


def _changes(job: Job, iou_type: str, axes: list[Axis], *, name: str, caption: str) -> Html:
    drawing = analysis_curves.changes(job.analysis, iou_type, axes, name=name)
    if drawing is None:
        return html.note("Changes by attribute need a reference and another model.")
    return figure(job, drawing, caption)


def _write_files(job: Job) -> None:
    analysis = job.analysis

    def write(name: str, text: str) -> None:
        (job.folder / name).write_text(text, encoding="utf-8")

    write("analysis.json", to_json(dict(analysis.raw)))
    write("long.csv", to_csv(analysis_tables.long_table(analysis)))
    markdown, latex = [f"# AP by attribute\n\n{_subtitle(analysis)}\n"], []
    for iou_type in analysis.iou_types:
        tables = {
            "verdict": analysis_tables.verdict_table(analysis, iou_type),
            "bins": analysis_tables.bins_table(analysis, iou_type, crosses=False),
            "crosses": analysis_tables.bins_table(analysis, iou_type, crosses=True),
            "classes": analysis_tables.classes_table(analysis, iou_type),
            "errors": analysis_lists.errors_table(analysis, iou_type),
            "objects": analysis_lists.objects_table(analysis, iou_type),
            "lost": analysis_lists.lost_table(analysis, iou_type),
        }
        for name, table in tables.items():
            write(f"{iou_type}_{name}.csv", to_csv(table))
        title = analysis_tables.table_title(iou_type)
        for name in ("verdict", "bins"):
            markdown.append(f"## {title}: {name}\n\n{to_markdown(tables[name])}")
            latex.append(
                to_latex(tables[name], caption=f"{title}: {name}.", label=f"tab:{iou_type}-{name}")
            )
    write("report.md", "\n".join(markdown))
    write("tables.tex", "\n".join(latex))
