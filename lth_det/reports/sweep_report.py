"""The report of a sweep: ``report/`` with a page, its figures, and the matrix as JSON, CSV, LaTeX and Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lth_det.io import to_json
from lth_det.reports import html, matrix_tables, modules_parts, sweep_summary
from lth_det.reports.early_bird_part import early_bird_part
from lth_det.reports.figure_files import add_figure
from lth_det.reports.folder import replace_folder
from lth_det.reports.html import Html, Section
from lth_det.reports.matrix_heatmap import transfer_matrix
from lth_det.reports.overlap_part import overlap_part
from lth_det.reports.published_part import published_part
from lth_det.reports.sweep_curves import curves
from lth_det.reports.sweep_data import Matrix, metric_title, read_matrix
from lth_det.reports.sweep_differences import differences
from lth_det.reports.tables import to_csv, to_latex, to_markdown

MATRIX: Final = (
    "Mean \u00b1 seed standard deviation, in brackets the difference to dense, which is also the colour. Bold: highest mean "
    "of its column among the sources of like network sparsity; a star: it leads the second by more than seed noise. Tickets "
    "of a backbone leave the other modules dense: equal prune rates are not equal network sparsities. Hatched: no result "
    "yet; a dash: the plan has no such cell."
)
CURVES: Final = (
    "Mean over seeds against network sparsity: zeros among all parameters. The small number at a point is its prune rate in "
    "percent: zeros among the prunable weights, so a ticket of the backbone alone stands further left at the same prune "
    "rate. Bands: one seed standard deviation; short bars: single seeds. Open symbols: controls. Dashed: dense."
)
DIFFERENCES: Final = (
    "Differences paired by seed, with 95 % intervals by the pooled seed noise, each for itself. Short bars: single seeds. "
    "Open symbols: no interval, because no cell has two seeds. A dash: the plan has no such cell."
)


def write_comparison(
    matrix: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    early_bird: Mapping[str, Any] | None = None,
    overlap: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of a sweep to ``folder/report`` and return the path of its page, ``report/index.html``.

    The page needs no other file and no network. Beside it stand every figure as PNG and SVG, and the matrix as
    ``matrix.json``, ``matrix.csv`` (means and differences), ``values.csv`` (every seed), ``matrix.tex`` and ``matrix.md``.
    An older report is replaced as a whole, or kept when this one fails. Equal input gives equal bytes. An unfinished
    sweep gives a page that says what is missing.

    Args:
        matrix: what :func:`lth_det.sweeps.summary.summarise` returns.
        folder: the output folder of the sweep.
        early_bird: content of an ``early_bird.json``, or name -> such contents.
        overlap: what ``overlap_matrix`` returns.

    Raises:
        RunError: ``matrix`` has no summary, or the report cannot be written.
    """
    view = read_matrix(matrix)
    target = Path(folder) / "report"
    with replace_folder(target) as work:
        sections = [Section("verdict", "Verdict", _verdict(view))]
        sections += _modules(view, work) if view.is_modules else _transfer(view, work)
        if view.raw.get("published"):
            published = published_part(view, work)
            sections.append(Section("published", "Published values beside ours", published))
        sections.append(Section("table", "All numbers", _numbers(view)))
        if early_bird:
            sections.append(
                Section("early-bird", "Early-bird tickets", _early_birds(early_bird, work))
            )
        if overlap:
            sections.append(Section("overlap", "Overlap of tickets", overlap_part(overlap, work)))
        sections.append(Section("missing", "What is missing", sweep_summary.missing_part(view)))
        sections.append(Section("method", "How noise is measured", sweep_summary.method()))
        sections.append(Section("reproduce", "Reproduce", sweep_summary.commands_part(view)))
        _write_tables(view, work)
        page = html.page(_title(view), _subtitle(view), sections, footer=_footer(view))
        (work / "index.html").write_text(page, encoding="utf-8")
    return target / "index.html"


def _title(view: Matrix) -> str:
    kind = "Module-wise pruning" if view.is_modules else "Ticket comparison"
    return f"{kind}: {view.raw.get('name') or 'sweep'}"


def _subtitle(view: Matrix) -> str:
    counts = (
        (len(view.sources), "module subset" if view.is_modules else "source"),
        (len(view.targets), "target"),
        (len(view.raw.get("prune_rates") or view.rates()), "prune rate"),
        (len(view.raw.get("seeds") or []), "seed"),
    )
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)


def _footer(view: Matrix) -> str:
    versions = view.raw.get("versions")
    number = versions.get("lth_det", "") if isinstance(versions, Mapping) else ""
    return f"Made by lth_det {number} from matrix.json.".replace("  ", " ")


def _verdict(view: Matrix) -> Html:
    return html.join([sweep_summary.headline(view), sweep_summary.verdicts_part(view)])


def _transfer(view: Matrix, work: Path) -> list[Section]:
    made = (
        ("matrix", "Matrix", transfer_matrix(view), MATRIX),
        ("curves", "AP against sparsity", curves(view), CURVES),
        ("differences", "Differences", differences(view), DIFFERENCES),
    )
    empty = html.note("Nothing to draw yet: no ticket has a result.")
    return [
        Section(anchor, title, empty if drawing is None else add_figure(work, drawing, caption))
        for anchor, title, drawing, caption in made
    ]


def _modules(view: Matrix, work: Path) -> list[Section]:
    parts = []
    for place, target in enumerate(view.targets):
        table = modules_parts.modules_table(view, target)
        name = "modules" if place == 0 else f"modules_{place + 1}"
        drawing = modules_parts.modules_figure(view, target, name=name)
        title = f"{target.label}: {metric_title(target.metric)}"
        if drawing is not None:
            caption = f"{title}. Left: what is pruned; right: paired differences to dense, 95 % intervals, each for itself."
            parts.append(add_figure(work, drawing, caption))
        caption = (
            f"{title}. x: pruned. Parameters: prunable weights of the pruned groups among all; sparsity: zeros among "
            "all parameters; p: difference to dense, corrected for the rows (Holm)."
        )
        parts.append(
            html.table(table, emphasised=(0,) if view.dense(target) else (), caption=caption)
        )
        (work / f"{name}.csv").write_text(to_csv(table), encoding="utf-8")
        (work / f"{name}.tex").write_text(
            to_latex(table, caption=title, label=f"tab:{name}"), encoding="utf-8"
        )
    return [Section("modules", "Module groups", html.join(parts))]


def _numbers(view: Matrix) -> Html:
    table = matrix_tables.shown_rows(view)
    dense = [index for index, row in enumerate(table.rows) if row[0] == "dense"]
    every = matrix_tables.all_rows(view)
    return html.join(
        [
            html.table(table, emphasised=dense, compact=True),
            html.details("All metrics, with unpooled intervals", html.table(every, compact=True)),
            html.paragraph(
                "Beside this page: matrix.csv, values.csv (every seed), matrix.tex, matrix.md, matrix.json, and every "
                "figure as PNG and SVG.",
                css="quiet",
            ),
        ]
    )


def _early_birds(found: Mapping[str, Any], work: Path) -> Html:
    if "points" in found:
        return early_bird_part(found, work)
    parts: list[Html] = []
    for place, (name, record) in enumerate(found.items()):
        parts.append(Html(f"<h3>{html.escape(name)}</h3>"))
        file_name = "early_bird" if place == 0 else f"early_bird_{place + 1}"
        parts.append(early_bird_part(record, work, name=file_name))
    return html.join(parts)


def _write_tables(view: Matrix, work: Path) -> None:
    every = matrix_tables.all_rows(view)
    texts = {
        "matrix.json": to_json(view.raw),
        "matrix.csv": to_csv(every),
        "values.csv": to_csv(matrix_tables.values_table(view)),
        "matrix.tex": matrix_tables.to_latex_matrix(view),
        "matrix.md": _markdown(view),
    }
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")


def _markdown(view: Matrix) -> str:
    parts = [f"# {_title(view)}\n", f"{_subtitle(view)}\n"]
    sentences = [
        f"- {target.label}, {metric_title(target.metric)}, prune rate {100 * entry['prune_rate']:.4g} %: "
        f"{entry['sentence']}"
        for target in view.targets
        for entry in view.verdicts_of(target)
    ]
    for target in view.targets if view.is_modules else ():
        table = to_markdown(modules_parts.modules_table(view, target))
        parts.append(f"## {target.label}: {metric_title(target.metric)}\n\n{table}")
    if sentences:
        parts.append("## Verdict\n\n" + "\n".join(sentences) + "\n")
    parts.append(
        f"## Matrix: mean \u00b1 seed std (seeds); -: not in the plan\n\n{to_markdown(matrix_tables.wide_table(view))}"
    )
    parts.append(f"## All numbers\n\n{to_markdown(matrix_tables.shown_rows(view))}")
    return "\n".join(parts)
