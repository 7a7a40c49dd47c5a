"""The report of an analysis: a page, its figures and its tables, from the analysis's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_det.io import to_json
from lth_det.reports import (
    analysis_classes,
    analysis_curves,
    analysis_errors,
    analysis_pr,
    analysis_strata,
    analysis_tables,
    html,
)
from lth_det.reports.analysis_data import MAIN_AXES, Analysis, Axis, part, read_analysis, task_name
from lth_det.reports.analysis_method import method, provenance
from lth_det.reports.analysis_objects import lost_objects
from lth_det.reports.folder import replace_folder
from lth_det.reports.html import Html, Section
from lth_det.reports.plots import Drawing
from lth_det.reports.tables import Table, to_csv, to_latex, to_markdown


@dataclass(frozen=True)
class _Job:
    """What every part of the report works with: the analysis, the folder to write to, the folder of the images."""

    analysis: Analysis
    folder: Path
    image_root: Path | None


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
        job = _Job(read, work, None if image_root is None else Path(image_root))
        sections = [
            Section("verdict", "Verdict", _verdict(job)),
            Section(
                "curves",
                "AP against sparsity" if read.has_sparsity else "AP by model",
                _curves(job),
            ),
            Section("attributes", "Attributes", _each(job, _attributes)),
            Section("classes", "Classes", _each(job, _classes)),
            Section("errors", "Errors", _each(job, _errors)),
            Section("precision", "Precision and recall", _each(job, _precision)),
            Section("objects", "Lost objects", _each(job, _objects)),
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
    against = f" compared with {analysis.reference}" if analysis.reference else ""
    return (
        f"{', '.join(analysis.others or analysis.models)}{against}; {facts.get('images')} images, "
        f"{facts.get('objects')} objects, {len(facts.get('categories') or [])} classes"
    )


def _each(job: _Job, make: Callable[[_Job, str], Html]) -> Html:
    """Return ``make`` of every IoU type, under its own heading when there are several."""
    types = job.analysis.iou_types
    if len(types) == 1:
        return make(job, types[0])
    parts = (Html(f"<h3>{html.escape(task_name(name))}</h3>{make(job, name)}") for name in types)
    return html.join(parts)


def _verdict(job: _Job) -> Html:
    analysis = job.analysis
    parts = [html.note(str(sentence)) for sentence in analysis.raw.get("warnings") or []]
    for iou_type in analysis.iou_types:
        table = analysis_tables.verdict_table(analysis, iou_type)
        emphasised = (0,) if analysis.reference else ()
        caption = analysis_tables.table_title(iou_type)
        parts.append(html.table(table, emphasised=emphasised, caption=caption))
        parts.append(html.definitions(_sentences(analysis, iou_type)))
    drawing = analysis_curves.verdicts(analysis)
    if drawing is None:
        parts.append(html.note("A verdict needs a reference and another model."))
    else:
        caption = "Change of AP with its interval. Grey: the non-inferiority margin. Open symbols: controls."
        parts.append(_figure(job, drawing, caption))
    note = str(part(analysis.raw, "statistics").get("note") or "")
    return html.join([*parts, html.paragraph(note, css="quiet")])


def _sentences(analysis: Analysis, iou_type: str) -> list[tuple[str, str]]:
    found = []
    for model in (*analysis.compared, *analysis.controls):
        text = analysis.comparison(model, iou_type).get("verdict_text")
        if text:
            found.append((analysis.title(model), str(text)))
    return found


def _curves(job: _Job) -> Html:
    analysis = job.analysis
    caption = "AP of the models; band: interval. Dashed: the reference. Open symbols: controls."
    parts = [_figure(job, analysis_curves.overall(analysis), caption)]
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


def _changes(job: _Job, iou_type: str, axes: list[Axis], *, name: str, caption: str) -> Html:
    drawing = analysis_curves.changes(job.analysis, iou_type, axes, name=name)
    if drawing is None:
        return html.note("Changes by attribute need a reference and another model.")
    return _figure(job, drawing, caption)


def _attributes(job: _Job, iou_type: str) -> Html:
    analysis = job.analysis
    plain = analysis.plain_axes(iou_type)
    main = [axis for axis in plain if axis.name in MAIN_AXES] or plain
    parts = []
    caption = "AP by bin with intervals; open symbols: few objects."
    bins = analysis_strata.by_bin(analysis, iou_type, main)
    if bins is not None:
        parts.append(_figure(job, bins, caption))
    for axis in main:
        fine = analysis_strata.fine_sizes(analysis, iou_type, axis)
        if fine is not None:
            parts.append(_figure(job, fine, "AP by finer bins."))
    caption = (
        "AP and its change; n: objects, K: classes. Hatched: few objects. Bold: the interval leaves out zero after "
        "correction."
    )
    maps = (
        analysis_strata.heatmap(analysis, iou_type, a) for a in analysis.axes(iou_type).values()
    )
    parts += [_figure(job, drawing, caption) for drawing in maps if drawing is not None]
    for crosses, words in ((False, "Table of bins"), (True, "Table of crosses")):
        table = analysis_tables.bins_table(analysis, iou_type, crosses=crosses)
        if table.rows:
            parts.append(html.details(words, html.table(table)))
    return html.join(parts)


def _classes(job: _Job, iou_type: str) -> Html:
    analysis = job.analysis
    parts = []
    for model in analysis.focus(iou_type):
        drawing = analysis_classes.bars(analysis, model, iou_type)
        if drawing is not None:
            caption = (
                f"Change of AP per class, {analysis.title(model)}, with intervals. Solid: significant after correction "
                "over classes; pale: not. Whiskers may run off the axes."
            )
            parts.append(_figure(job, drawing, caption))
            test = part(analysis.comparison(model, iou_type), "sign_test")
            parts.append(html.paragraph(_sign_test(test), css="quiet"))
    if not parts:
        parts.append(html.note("Changes by class need a reference and another model."))
    table = analysis_tables.classes_table(analysis, iou_type)
    return html.join([*parts, html.details("Table of classes", html.table(table))])


def _sign_test(test: Mapping[str, Any]) -> str:
    if not test:
        return ""
    return (
        f"Classes better: {test.get('better')}, worse: {test.get('worse')}, equal: {test.get('equal')}; sign test "
        f"p = {test.get('p') if test.get('p') is None else format(test['p'], '.3g')}. {test.get('note') or ''}"
    )


def _errors(job: _Job, iou_type: str) -> Html:
    analysis = job.analysis
    parts = []
    types = analysis_errors.error_types(analysis, iou_type)
    if types is None:
        parts.append(html.note("The analysis holds no error types."))
    else:
        first = next(iter(analysis.models))
        definition = part(analysis.scores(first, iou_type), "errors").get("definition") or ""
        parts.append(
            _figure(job, types, f"Error types, with intervals where computed. {definition}")
        )
    ranges = analysis_errors.sensitivity(analysis, iou_type)
    if ranges is not None:
        caption = "How much each attribute matters: normalised AP of its hardest and easiest bin (Hoiem et al. 2012)."
        parts.append(_figure(job, ranges, caption))
    return html.join(parts)


def _precision(job: _Job, iou_type: str) -> Html:
    drawing = analysis_pr.precision_recall(job.analysis, iou_type)
    if drawing is None:
        return html.note("The analysis holds no precision-recall curves.")
    parts = [
        _figure(job, drawing, "Precision against recall over all classes, and AP by threshold.")
    ]
    strata = analysis_pr.strata_curves(job.analysis, iou_type)
    if strata is not None:
        caption = "Precision, mean over the thresholds, against recall inside each bin."
        parts.append(html.details("By attribute", _figure(job, strata, caption)))
    return html.join(parts)


def _objects(job: _Job, iou_type: str) -> Html:
    analysis = job.analysis
    table = analysis_tables.objects_table(analysis, iou_type)
    if not table.rows:
        return html.note("The analysis holds no list of lost objects.")
    total = Table(
        table.columns, tuple(row for row in table.rows if row[1] == analysis_tables.NO_BIN)
    )
    parts = [html.table(total)]
    for model in analysis.focus(iou_type)[-1:]:
        parts.append(Html(f"<h3>{html.escape(analysis.title(model))}</h3>"))
        parts.append(
            lost_objects(analysis, model, iou_type, root=job.image_root, folder=job.folder)
        )
    parts.append(html.details("Table of objects by bin", html.table(table)))
    return html.join(parts)


def _figure(job: _Job, drawing: Drawing, caption: str) -> Html:
    (job.folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    (job.folder / f"{drawing.name}.png").write_bytes(drawing.png)
    return html.figure(drawing.svg, name=drawing.name, caption=caption)


def _write_files(job: _Job) -> None:
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
            "objects": analysis_tables.objects_table(analysis, iou_type),
            "lost": analysis_tables.lost_table(analysis, iou_type),
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
