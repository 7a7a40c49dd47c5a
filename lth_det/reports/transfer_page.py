"""The page of a transfer between classification tasks: accuracy on the target against the prune rate of the source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_det.reports import html
from lth_det.reports.figure_files import add_figure
from lth_det.reports.folder import replace_folder
from lth_det.reports.html import Html, Section
from lth_det.reports.plots import Drawing, render, sparsity_axis, sparsity_position
from lth_det.reports.style import INK, SERIES
from lth_det.reports.sweep_legend import shared_legend
from lth_det.reports.tables import Column, Table, make_table, to_csv, to_latex, to_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH = 4.6
COLUMNS = (
    Column("finetune", "fine-tuning"),
    Column("head_layers", "head layers", "d"),
    Column("source_round", "source round", "d"),
    Column("source_prune_rate", "source prune rate", ".1%"),
    Column("source_top1", "source top-1", ".2f"),
    Column("start", "start"),
    Column("prune_rate", "prune rate", ".1%"),
    Column("sparsity", "sparsity", ".1%"),
    Column("top1", "top-1", ".2f"),
    Column("top5", "top-5", ".2f"),
    Column("stage", "stage"),
)
STARTS = {
    "source_final": "weights that the source round ended with",
    "source_init": "initialisation of the source",
    "random": "another random initialisation",
    "random_mask": "control: random mask with the ticket's layer counts, dense source weights",
}
"""What each start means, for the legend of the page."""
CONTROL = "random_mask"

Panel = tuple[str, int]
"""Fine-tuning and number of linear layers of the head."""
Row = Mapping[str, Any]


def write_transfer_page(transfer: Mapping[str, Any], folder: Path) -> Path:
    """Write ``folder/report`` from the content of ``transfer.json`` and return its page, ``report/index.html``.

    Beside the page stand the figure as PNG and SVG, the tables as CSV and LaTeX, and ``report.md``. An older report is
    replaced as a whole. Equal content gives equal bytes.

    Raises:
        RunError: the report cannot be written.
    """
    target = Path(folder) / "report"
    title = f"Ticket transfer to {transfer['task']}"
    with replace_folder(target) as work:
        wide = [(panel, accuracy_table(transfer, panel)) for panel in _panels(transfer)]
        sections = [
            Section("summary", "Summary", _summary(transfer)),
            Section("curves", "Accuracy against source prune rate", _curves(transfer, work)),
            Section("tables", "Accuracy", html.join(_shown(panel, data) for panel, data in wide)),
            Section("cells", "All trainings", html.table(rows_table(transfer))),
            Section("provenance", "Provenance", _provenance(transfer)),
        ]
        (work / "transfer.csv").write_text(to_csv(rows_table(transfer)), encoding="utf-8")
        text = [
            f"## {_panel_title(panel)}: top-1 accuracy\n\n{to_markdown(data)}"
            for panel, data in wide
        ]
        (work / "report.md").write_text("\n".join([f"# {title}\n", *text]), encoding="utf-8")
        latex = [
            to_latex(
                data,
                caption=f"Top-1 accuracy on {transfer['task']}, {_panel_title(panel)}.",
                label=f"tab:transfer-{panel[0]}-{panel[1]}",
            )
            for panel, data in wide
        ]
        (work / "transfer.tex").write_text("\n".join(latex), encoding="utf-8")
        page = html.page(title, _subtitle(transfer), sections, footer="Made from transfer.json.")
        (work / "index.html").write_text(page, encoding="utf-8")
    return target / "index.html"


def rows_table(transfer: Mapping[str, Any]) -> Table:
    """Return one row per training: rates in 0-1, accuracies in 0-100."""
    return make_table(
        COLUMNS, [[row[column.key] for column in COLUMNS] for row in transfer["rows"]]
    )


def accuracy_table(transfer: Mapping[str, Any], panel: Panel) -> Table:
    """Return one row per source round with the top-1 accuracy (0-100) of every start; NaN where there is no training."""
    starts = _starts(transfer)
    columns = (
        Column("source_prune_rate", "source prune rate", ".1%"),
        Column("source_top1", "source top-1", ".2f"),
        *(Column(start, start, ".2f") for start in starts),
    )
    found: dict[int, dict[str, float]] = {}
    about: dict[int, tuple[float, float]] = {}
    for row in _rows(transfer, panel):
        about[row["source_round"]] = row["source_prune_rate"], row["source_top1"]
        found.setdefault(row["source_round"], {})[row["start"]] = row["top1"]
    rows = [
        (*about[number], *(values.get(start, math.nan) for start in starts))
        for number, values in sorted(found.items())
    ]
    return make_table(columns, rows)


def transfer_curves(transfer: Mapping[str, Any]) -> Drawing:
    """Draw top-1 accuracy on the target against the source's prune rate: a panel per fine-tuning and head, a line per start."""
    panels = _panels(transfer)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, panel in zip(grid, panels, strict=True):
            _draw_panel(axes, transfer, panel)
        grid[0].set_ylabel("top-1 accuracy on the target (%)")
        shared_legend(figure, grid, columns=4)

    width = max(7.2, PANEL_WIDTH * len(panels))
    return render("accuracy_against_prune_rate", draw, width=width, height=4.3)


def _draw_panel(axes: Axes, transfer: Mapping[str, Any], panel: Panel) -> None:
    rows = _rows(transfer, panel)
    axes.set_title(_panel_title(panel))
    for place, start in enumerate(_starts(transfer)):
        style = SERIES[place % len(SERIES)]
        points = sorted((r["source_prune_rate"], r["top1"]) for r in rows if r["start"] == start)
        axes.plot(
            [sparsity_position(rate) for rate, _ in points],
            [value for _, value in points],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            markerfacecolor="white" if start == CONTROL else style.colour,
            markeredgewidth=1.5,
            label=start,
        )
    axes.axhline(
        _chance(transfer), color=INK, linestyle=(0, (1, 2)), linewidth=1.0, label="guessing"
    )
    axes.margins(y=0.12)
    sparsity_axis(axes, max(row["source_prune_rate"] for row in rows))
    axes.set_xlabel("prune rate of the source: pruned among prunable weights (%)")


def _summary(transfer: Mapping[str, Any]) -> Html:
    parts = []
    for panel in _panels(transfer):
        rows = _rows(transfer, panel)
        dense = [row for row in rows if row["source_prune_rate"] == 0]
        tickets = [r for r in rows if r["source_prune_rate"] > 0 and r["start"] != CONTROL]
        controls = [r for r in rows if r["start"] == CONTROL]
        named = (("best dense", dense), ("best ticket", tickets), ("best random mask", controls))
        cards = [_card(f"{_panel_title(panel)}, {name}", some) for name, some in named if some]
        parts.append(html.cards(cards))
    if not transfer["complete"]:
        parts.append(html.note("The run is not finished; this page shows its finished trainings."))
    words = (
        "Top-1 accuracy on the validation images of the target task, in percent. Masks come from the source task alone. One "
        "run with one seed and no interval, so small differences are no evidence, and the best of several looks too good. "
        "Where the source did not rewind, its sparser rounds have trained longer."
    )
    return html.join([*parts, html.paragraph(words, css="quiet")])


def _card(label: str, rows: Sequence[Row]) -> tuple[str, str, str]:
    best = max(rows, key=lambda row: row["top1"])
    return (
        label,
        f"{best['top1']:.1f}",
        f"{best['start']}, source pruned {best['source_prune_rate']:.1%}",
    )


def _curves(transfer: Mapping[str, Any], folder: Path) -> Html:
    caption = (
        "Top-1 accuracy against the prune rate of the source. Equal steps to the right remove equal shares of the surviving "
        "weights; 0 is dense transfer. Open symbols: control. Dotted: guessing."
    )
    items = [(start, STARTS.get(start, "")) for start in _starts(transfer)]
    return html.join(
        [add_figure(folder, transfer_curves(transfer), caption), html.definitions(items)]
    )


def _shown(panel: Panel, data: Table) -> Html:
    return html.table(data, caption=f"{_panel_title(panel)}: top-1 accuracy")


def _provenance(transfer: Mapping[str, Any]) -> Html:
    dataset = transfer["dataset"]
    versions = ", ".join(f"{name} {value}" for name, value in sorted(transfer["versions"].items()))
    return html.definitions(
        [
            ("Target task", str(transfer["task"])),
            ("Images", f"{dataset['train_images']} to train, {dataset['val_images']} to validate"),
            ("Classes", ", ".join(map(str, dataset["classes"]))),
            ("Architecture", str(transfer["architecture"])),
            ("Source run", str(transfer["source"])),
            ("Seed", str(transfer["seed"])),
            ("Versions", versions),
        ]
    )


def _subtitle(transfer: Mapping[str, Any]) -> str:
    count = len({row["source_round"] for row in transfer["rows"]})
    plural = "" if count == 1 else "s"
    return f"{len(transfer['rows'])} trainings from {count} source round{plural}; seed {transfer['seed']}"


def _panels(transfer: Mapping[str, Any]) -> list[Panel]:
    return list(dict.fromkeys((row["finetune"], row["head_layers"]) for row in transfer["rows"]))


def _panel_title(panel: Panel) -> str:
    name = {"frozen": "frozen convolutions", "full": "full fine-tuning"}.get(panel[0], panel[0])
    return f"{name}, {panel[1]} linear layer{'' if panel[1] == 1 else 's'}"


def _rows(transfer: Mapping[str, Any], panel: Panel) -> list[Row]:
    return [row for row in transfer["rows"] if (row["finetune"], row["head_layers"]) == panel]


def _starts(transfer: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["start"] for row in transfer["rows"]))


def _chance(transfer: Mapping[str, Any]) -> float:
    return 100 / len(transfer["dataset"]["classes"])
