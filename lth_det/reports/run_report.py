"""The report of one run: ``OUTPUT_DIR/report/`` with a page, its figures and its tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lth_det.errors import LthDetError
from lth_det.reports import (
    html,
    run_attributes,
    run_plots,
    run_summary,
    run_tables,
    size_report,
    sparsity_plots,
)
from lth_det.reports.figure_files import add_figure
from lth_det.reports.folder import replace_folder
from lth_det.reports.gallery import read_model, write_gallery
from lth_det.reports.html import Html, Section
from lth_det.reports.method_parts import method_sections
from lth_det.reports.run_data import RoundResult, RunResults, read_run, sparsest_matching
from lth_det.reports.run_scores import score_of
from lth_det.reports.run_summary import TOLERANCE
from lth_det.reports.scenes import read_scenes
from lth_det.reports.tables import Table, to_csv, to_latex, to_markdown

ANALYSIS_HINT = "AP by size, class frequency and difficulty with intervals: tools/analyze_coco.py --run with this folder."

LONG = 50
"""Layers past which the picture of layers is folded."""


def write_run_report(output_dir: Path) -> Path:
    """Write the report of the run in ``output_dir`` and return the path of its page, ``report/index.html``.

    The page needs no other file and no network. Beside it stand every figure as PNG and SVG, every table as CSV, the
    tables of rounds as LaTeX, and ``report.md``. An older report is replaced as a whole, or kept when this one fails.
    Equal results give equal bytes. What the run does not have (detections, images, metrics, tickets) is named on the
    page and left out.

    Raises:
        RunError: ``results.json`` is missing or damaged, or the report cannot be written.
    """
    folder = Path(output_dir)
    results = read_run(folder)
    target = folder / "report"
    with replace_folder(target) as work:
        sections = [
            Section("summary", "Summary", run_summary.summary(results)),
            Section("curves", f"{_unit(results)} against sparsity", _curves(results, work)),
            Section("rounds", "Rounds", _rounds(results)),
            *method_sections(folder, work),
            Section("sparsity", "Where weights were pruned", _sparsity(results, work)),
            Section("sizes", "What a ticket buys", size_report.sizes_section(results)),
            *(() if results.is_classifier else _detection_sections(results, work)),
            Section("provenance", "Provenance", _provenance(results)),
        ]
        _write_tables(results, work)
        page = html.page(_title(results), _subtitle(results), sections, footer=_footer(results))
        (work / "index.html").write_text(page, encoding="utf-8")
    return target / "index.html"


def _detection_sections(results: RunResults, folder: Path) -> tuple[Section, Section]:
    return (
        Section("classes", "Classes", _classes(results, folder)),
        Section("images", "Images", _images(results, folder)),
    )


def _unit(results: RunResults) -> str:
    return "Accuracy" if results.is_classifier else "AP"


def _title(results: RunResults) -> str:
    return f"Lottery tickets: {results.facts.get('task') or 'run'}"


def _subtitle(results: RunResults) -> str:
    count = len(results.tickets)
    plural = "" if count == 1 else "s"
    name = results.dataset.get("name") or "an unnamed dataset"
    models = (
        f"{count} ticket{plural}"
        if results.dense is None
        else f"dense model and {count} ticket{plural}"
    )
    return f"{models}, evaluated on {name}; seed {results.facts.get('seed', 'unknown')}"


def _footer(results: RunResults) -> str:
    version = results.facts.get("versions") or {}
    number = version.get("lth_det", "") if isinstance(version, dict) else ""
    return f"Made by lth_det {number} from results.json.".replace("  ", " ")


def _curves(results: RunResults, folder: Path) -> Html:
    if not results.tasks:
        return html.note("No round has an AP or an accuracy.")
    parts = [
        add_figure(
            folder,
            run_plots.score_against_sparsity(results),
            f"{_unit(results)} against sparsity. Equal steps to the right remove equal shares of the surviving weights. Dashed: dense. "
            "Open symbols: controls.",
        )
    ]
    if results.is_classifier:
        return html.join(parts)
    by_size = run_plots.ap_by_size(results)
    if by_size is None:
        parts.append(
            html.note("AP by object size needs a dense round and a ticket with APs, APm and APl.")
        )
    else:
        caption = "Change of AP to dense by object size (COCO: area below 32\u00b2 px: small, above 96\u00b2 px: large)."
        parts.append(add_figure(folder, by_size, caption))
    for task in results.tasks:
        drawing = run_attributes.attribute_changes(results, task)
        if drawing is not None:
            parts.append(add_figure(folder, drawing, "Change of AP to dense by attribute."))
    table = run_attributes.attributes_table(results)
    if table.rows:
        parts.append(html.details("Table of AP by attribute", html.table(table)))
    elif results.dataset.get("json_file"):
        parts.append(html.paragraph(ANALYSIS_HINT, css="quiet"))
    return html.join(parts)


def _rounds(results: RunResults) -> Html:
    parts = []
    for task in results.tasks:
        table = run_tables.rounds_table(results, task)
        parts.append(
            html.table(
                table, emphasised=(0,) if results.dense else (), caption=score_of(task).title
            )
        )
    timings = run_tables.timings_table(results)
    if timings.rows:
        total = results.timings.get("total_seconds")
        caption = "Time" if not isinstance(total, int | float) else f"Time; {total:,.0f} s in all"
        parts.append(
            html.details("Training and evaluation time", html.table(timings, caption=caption))
        )
    return html.join(parts) if parts else html.note("No round has an AP or an accuracy.")


def _sparsity(results: RunResults, folder: Path) -> Html:
    tickets = results.tickets
    parts = []
    groups = sparsity_plots.groups(tickets)
    if groups is None:
        parts.append(html.note("No ticket lists its module groups."))
    else:
        parts.append(
            add_figure(
                folder, groups, "Sparsity by module group, and parameters of the last ticket."
            )
        )
    layers = sparsity_plots.layers(tickets)
    if layers is None:
        parts.append(html.note("No ticket lists its layers."))
    else:
        caption = "Sparsity of every prunable layer: percent of its weights that are zero; its number of weights in brackets."
        drawn = add_figure(folder, layers, caption)
        long = len(results.tickets[-1].layers) > LONG
        parts.append(html.details("Layer by layer", drawn) if long else drawn)
    table = run_tables.groups_table(results)
    if table.rows:
        parts.append(html.details("Table of module groups", html.table(table)))
    return html.join(parts)


def _classes(results: RunResults, folder: Path) -> Html:
    parts = []
    for ticket in _shown_tickets(results):
        changes = run_tables.class_changes(results, ticket)
        if changes:
            name = f"classes_round_{ticket.round:02d}"
            drawing = run_plots.classes(changes, name=name, title=ticket.title)
            caption = (
                f"Change of AP by class, {ticket.title} ({100 * ticket.sparsity:.1f} % sparsity)."
            )
            parts.append(add_figure(folder, drawing, caption))
    if not parts:
        return html.note("Changes by class need a dense round and a ticket with an AP per class.")
    table = html.table(run_tables.classes_table(results))
    return html.join([*parts, html.details("Table of all rounds and classes", table)])


def _shown_tickets(results: RunResults) -> list[RoundResult]:
    """Return the sparsest ticket that matches dense in the first task, and the sparsest ticket; none twice."""
    if not results.tickets:
        return []
    last = max(results.tickets, key=lambda ticket: ticket.sparsity)
    matching = (
        sparsest_matching(results, results.tasks[0], tolerance=TOLERANCE) if results.tasks else None
    )
    return [last] if matching is None or matching == last else [matching, last]


def _images(results: RunResults, folder: Path) -> Html:
    shown = [results.dense, *_shown_tickets(results)] if results.dense else []
    if len(shown) < 2:
        return html.note("Pictures need a dense round and a ticket.")
    ground_truth = results.dataset.get("json_file")
    if not ground_truth:
        return html.note(
            "Pictures need a ground truth in COCO's format; this data set has another one."
        )
    try:
        scenes = read_scenes(Path(str(ground_truth)))
        models = []
        for result in shown:
            if result.predictions is None:
                return html.note(f"Pictures need the detections of {result.title}.")
            title = (
                result.title
                if result.round == 0
                else f"{result.title} ({100 * result.sparsity:.1f} %)"
            )
            models.append(read_model(scenes, result.predictions, title=title))
        root = Path(str(results.dataset.get("image_root") or ""))
        return write_gallery(scenes, models, root, folder)
    except LthDetError as error:
        return html.note(f"No pictures: {error}")


def _provenance(results: RunResults) -> Html:
    facts = results.facts
    versions = facts.get("versions")
    known = versions.items() if isinstance(versions, dict) else ()
    items = [
        ("Rewinding to", str(facts.get("rewind", "unknown"))),
        ("Seed", str(facts.get("seed", "unknown"))),
        ("Configuration, SHA-256", str(facts.get("config_sha256", "unknown"))),
        ("Dataset", str(results.dataset.get("name", "unknown"))),
        (
            ("Images", str(results.dataset.get("folder", "unknown")))
            if results.is_classifier
            else ("Ground truth", str(results.dataset.get("json_file") or "not in COCO's format"))
        ),
        ("Versions", ", ".join(f"{name} {value}" for name, value in sorted(known)) or "unknown"),
    ]
    items += [
        (f"Ticket of {model.title}, SHA-256", model.ticket_sha256)
        for model in (*results.tickets, *results.controls)
        if model.ticket_sha256
    ]
    files = "Beside this page: every figure as PNG and SVG, tables as CSV, report.md, rounds.tex."
    return html.join([html.definitions(items), html.paragraph(files, css="quiet")])


def _write_tables(results: RunResults, folder: Path) -> None:
    makers: dict[str, Callable[[RunResults], Table]] = {
        "attributes": run_attributes.attributes_table,
        "metrics": run_tables.all_rounds_table,
        "groups": run_tables.groups_table,
        "layers": run_tables.layers_table,
        "sizes": size_report.sizes_table,
        "macs": size_report.macs_table,
        "classes": run_tables.classes_table,
        "timings": run_tables.timings_table,
    }
    for name, make in makers.items():
        (folder / f"{name}.csv").write_text(to_csv(make(results)), encoding="utf-8")
    markdown, latex = [f"# {_title(results)}\n", _subtitle(results) + "\n"], []
    if results.tasks:
        unit = _unit(results)
        markdown.append(f"![{unit} against sparsity]({unit.lower()}_against_sparsity.png)\n")
    for task in results.tasks:
        table = run_tables.rounds_table(results, task)
        (folder / f"rounds_{task}.csv").write_text(to_csv(table), encoding="utf-8")
        title = score_of(task).title
        markdown.append(f"## {title}\n\n{to_markdown(table)}")
        caption = f"{title} by round."
        latex.append(to_latex(table, caption=caption, label=f"tab:rounds-{task}"))
    markdown.append(f"## Module groups\n\n{to_markdown(run_tables.groups_table(results))}")
    (folder / "report.md").write_text("\n".join(markdown), encoding="utf-8")
    (folder / "rounds.tex").write_text("\n".join(latex), encoding="utf-8")
