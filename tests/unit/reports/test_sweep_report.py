import csv
import io
import json
import re

import numpy as np
import pytest
from made_up_overlap import make_early_bird, make_overlap
from made_up_sweep import SOURCES, TARGETS, make_cells, make_modules, without
from matplotlib.figure import Figure
from page_check import EVIL, Tags

from lth_det.errors import RunError
from lth_det.reports import (
    early_bird_part,
    matrix_heatmap,
    modules_parts,
    overlap_part,
    sweep_curves,
    sweep_differences,
)
from lth_det.reports.plots import Drawing
from lth_det.reports.sweep_report import write_comparison
from lth_det.sweeps.summary import summarise

MODULES = (
    early_bird_part,
    matrix_heatmap,
    modules_parts,
    overlap_part,
    sweep_curves,
    sweep_differences,
)
NAMES = ["own ticket", "classification ticket", "RST"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The report of a whole sweep with every part; tests must not change it."""
    folder = tmp_path_factory.mktemp("sweep")
    matrix = summarise(make_cells())
    page = write_comparison(
        matrix, folder, early_bird=make_early_bird(), overlap=make_overlap(NAMES)
    )
    return page.parent


@pytest.fixture
def empty(monkeypatch):
    """Figures are left out, for tests of everything else."""

    def leave_out(name, draw, *, width, height=3.4):
        return Drawing(name, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"")

    for module in MODULES:
        monkeypatch.setattr(module, "render", leave_out)


@pytest.fixture
def filled(monkeypatch):
    """Figures are filled but not rendered, which takes most of the time; the figures by name."""
    figures = {}

    def fill(name, draw, *, width, height=3.4):
        figures[name] = Figure(figsize=(width, height))
        draw(figures[name])
        return Drawing(name, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"")

    for module in MODULES:
        monkeypatch.setattr(module, "render", fill)
    return figures


def page_of(cells, folder, **parts):
    return write_comparison(summarise(cells), folder, **parts).read_text(encoding="utf-8")


def notes_in(page):
    return " ".join(re.findall(r'role="note">([^<]*)<', page))


def panels_of(figure):
    """The panels of prune rates, without the colour bar and unused places."""
    return [axes for axes in figure.axes if axes.texts]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_a_finished_sweep_has_every_part_and_no_note(finished):
    page = (finished / "index.html").read_text(encoding="utf-8")
    assert notes_in(page) == ""
    names = {path.name for path in finished.iterdir()}
    figures = ("transfer_matrix", "ap_against_sparsity", "differences")
    figures += ("early_bird", "overlap", "overlap_by_group")
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "svg")} <= names
    assert {"matrix.json", "matrix.csv", "values.csv", "matrix.tex", "matrix.md"} <= names
    assert all((finished / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in figures)
    tags = Tags(page)
    assert len(tags.ids) == len(set(tags.ids))
    anchors = ("verdict", "matrix", "curves", "differences", "table", "early-bird", "overlap")
    assert {*anchors, "missing", "method", "reproduce"} <= set(tags.ids)


def test_the_page_needs_nothing_from_outside(finished):
    page = (finished / "index.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r'(?:href|src|action|data)="([^"]*)"', page))
    outside = {a for a in addresses if not a.startswith(("#", "data:"))}
    assert all((finished / a).exists() for a in outside)
    assert {a[1:] for a in addresses if a.startswith("#")} <= set(Tags(page).ids)
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|fetch\(", page)


def test_the_page_says_who_wins_and_whether_it_is_more_than_noise(finished):
    page = (finished / "index.html").read_text(encoding="utf-8")
    matrix = json.loads((finished / "matrix.json").read_text())
    for entry in matrix["verdicts"]:
        if entry["metric"] != "bbox/AP50":
            assert entry["sentence"] in page
    assert "tools/train_net.py --config-file F.yaml SEED 1" in page
    assert "torch 2.14.1" in page
    assert "cd" * 32 in page


def test_equal_input_gives_equal_bytes(finished, empty, tmp_path):
    matrix = summarise(make_cells())
    pages = [write_comparison(matrix, tmp_path / name) for name in ("a", "b")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    for name in ("matrix.csv", "matrix.tex", "matrix.json"):
        assert (pages[0].parent / name).read_bytes() == (finished / name).read_bytes(), name


def test_the_csv_file_holds_every_metric_and_both_intervals(finished):
    matrix = json.loads((finished / "matrix.json").read_text())
    rows = rows_of(finished / "matrix.csv")
    assert len(rows) == len(matrix["summary"])
    assert {row["metric"] for row in rows} == {"bbox/AP", "bbox/AP50", "keypoints/AP"}
    for row, entry in zip(rows, matrix["summary"], strict=True):
        assert float(row["mean"]) == entry["mean"]
        if entry["vs_dense"]:
            assert float(row["low_dense"]) == entry["vs_dense"]["low"]
            assert float(row["low_unpooled_dense"]) == entry["vs_dense"]["low_unpooled"]
    values = rows_of(finished / "values.csv")
    assert len(values) == sum(entry["n"] for entry in matrix["summary"])


def test_the_latex_table_is_balanced_and_bold_is_the_best(finished):
    text = (finished / "matrix.tex").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    assert text.count("$") % 2 == 0
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(line.count("&") - line.count(r"\&") == 4 for line in body[1:])
    assert r"\multicolumn{2}{c}{shapes, boxes: box AP}" in body[0]
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in text
    matrix = json.loads((finished / "matrix.json").read_text())
    named = {source["name"]: source["label"] for source in matrix["sources"]}
    # One winner for each target, prune rate and class of like sparsity, in the target's own metric.
    own = {(target["name"], target["metric"]) for target in matrix["targets"]}
    won = {
        named[v["winner"]]
        for v in matrix["verdicts"]
        if v["runner_up"] and (v["target"], v["metric"]) in own
    }
    bold = {line.split("&")[0].strip(): line.count("mathbf") for line in body if "mathbf" in line}
    assert bold["own ticket"] == 4
    assert set(bold) == {label.replace("%", r"\%").replace("_", r"\_") for label in won}
    assert "Bold: highest mean" in text
    assert text.isascii()


def test_the_markdown_file_has_mean_std_and_seeds(finished):
    text = (finished / "matrix.md").read_text(encoding="utf-8")
    matrix = json.loads((finished / "matrix.json").read_text())
    dense = matrix["summary"][0]
    assert f"| dense | {dense['mean']:.2f} \u00b1 {dense['std']:.2f} (2) |" in text
    assert "own ticket leads" in text


def test_the_heatmap_shows_differences_to_dense_and_the_winner(filled, tmp_path):
    matrix = summarise(make_cells())
    write_comparison(matrix, tmp_path)
    panels = panels_of(filled["transfer_matrix"])
    assert len(panels) == 2
    image = panels[0].images[0]
    row = next(r for r in matrix["summary"] if (r["source"], r["prune_rate"]) == ("own", 0.8))
    assert image.get_array()[1, 0] == pytest.approx(row["vs_dense"]["mean"])
    assert image.norm.vmin == -image.norm.vmax
    bold = [text.get_text() for text in panels[0].texts if text.get_weight() == "bold"]
    won = [
        v
        for target in matrix["targets"]
        for v in matrix["verdicts"]
        if (v["target"], v["metric"], v["prune_rate"]) == (target["name"], target["metric"], 0.8)
        and v["runner_up"]
    ]
    assert len(bold) == len(won) >= 2
    assert sum(text.endswith("*") for text in bold) == sum(v["larger_than_seed_noise"] for v in won)
    assert any(text.startswith(f"{row['mean']:.1f} \u00b1 {row['std']:.1f}") for text in bold)


def test_the_colours_have_one_end_for_all_panels(filled, tmp_path):
    write_comparison(summarise(make_cells(rates=(0.5, 0.7, 0.8, 0.9, 0.95))), tmp_path)
    panels = panels_of(filled["transfer_matrix"])
    assert len(panels) == 5
    assert len({axes.images[0].norm.vmax for axes in panels}) == 1


def test_the_curves_stand_at_network_sparsity_and_name_the_prune_rate(filled, tmp_path):
    matrix = summarise(make_cells(seeds=(1, 2, 3)))
    write_comparison(matrix, tmp_path)
    axes = filled["ap_against_sparsity"].subfigs[0].axes[0]
    (line,) = [found for found in axes.lines if found.get_label() == "classification ticket"]
    rows = [r for r in matrix["summary"] if (r["source"], r["metric"]) == ("cls", "bbox/AP")]
    # Halvings of the remaining weights: a ticket of the backbone at prune rate 0.8 has a network sparsity of 0.37.
    assert rows[0]["sparsity_mean"] < 0.4
    assert [1 - 2.0**-x for x in line.get_xdata()] == pytest.approx(
        [r["sparsity_mean"] for r in rows]
    )
    assert {"80", "90"} <= set(texts_of(axes))
    points = [found for found in axes.lines if found.get_marker() == "_"]
    assert all(len(found.get_ydata()) == 3 for found in points)


def test_what_is_missing_is_said_and_hatched(filled, tmp_path):
    cells = without(without(make_cells(), source="cls", prune_rate=0.9), source="rst", seed=2)
    page = page_of(cells, tmp_path)
    assert "The sweep is not finished" in notes_in(page)
    assert "8 cells of the matrix have no result." in notes_in(page)
    assert "the run is not finished" in page
    panels = panels_of(filled["transfer_matrix"])
    assert texts_of(panels[0]).count("no result") == 0
    assert texts_of(panels[1]).count("no result") == 2


def test_one_seed_has_open_symbols_and_no_interval(filled, tmp_path):
    page = page_of(make_cells(seeds=(1,)), tmp_path)
    assert "no cell has two seeds" in notes_in(page)
    assert "not compared with noise" in page
    assert "larger than seed noise." not in page
    axes = filled["differences"].axes[0]
    assert not axes.collections
    marks = [found for found in axes.lines if found.get_marker() in ("o", "s")]
    assert marks
    assert all(found.get_markerfacecolor() == "white" for found in marks)
    table = (tmp_path / "report" / "matrix.tex").read_text()
    assert r"\pm" not in re.sub(r"\\caption.*", "", table)


def test_without_dense_the_heatmap_has_no_colour_and_the_page_says_so(filled, tmp_path):
    page = page_of(without(make_cells(), source="dense"), tmp_path)
    assert "has no dense result in box AP" in notes_in(page)
    panels = panels_of(filled["transfer_matrix"])
    assert np.isnan(np.ma.filled(panels[0].images[0].get_array(), np.nan)).all()


def test_a_sweep_without_any_result_still_has_a_page(filled, tmp_path):
    page = page_of(without(make_cells(), seed=1) | {"cells": []}, tmp_path)
    assert "there is no verdict" in notes_in(page)
    assert not filled


def test_a_metric_that_is_no_number_is_named(empty, tmp_path):
    cells = make_cells()
    cells["cells"][3]["metrics"]["bbox/AP"] = None
    assert "their metric is not a number" in notes_in(page_of(cells, tmp_path))


def test_names_from_files_never_reach_the_page_as_markup(filled, tmp_path):
    cells = make_cells()
    cells["name"] = EVIL
    cells["sources"] = [dict(source, label=f"{EVIL} {source['name']}") for source in SOURCES]
    cells["targets"] = [dict(target, label=f"{EVIL} {target['name']}") for target in TARGETS]
    cells["commands"] = {EVIL: [["tool", EVIL]]}
    cells["versions"] = {EVIL: EVIL}
    cells["missing"] = [
        {"source": EVIL, "target": EVIL, "prune_rate": 0.8, "seed": 1, "reason": EVIL}
    ]
    page = page_of(
        cells,
        tmp_path,
        early_bird={EVIL: make_early_bird(groups=(EVIL,))},
        overlap=make_overlap([EVIL, "b"]),
    )
    assert "<script>alert" not in page
    Tags(page)
    text = (tmp_path / "report" / "matrix.tex").read_text()
    assert "&$x^$" not in text
    assert r"\&\$x\textasciicircum{}\$" in text


def test_many_sources_with_long_names_are_split_over_panels(filled, tmp_path):
    sources = [dict(SOURCES[0], name=f"s{k}", label=f"source number {k} " * 4) for k in range(14)]
    write_comparison(summarise(make_cells(sources=sources)), tmp_path)
    assert len(filled["ap_against_sparsity"].subfigs) == 3
    labels = [text.get_text() for text in filled["transfer_matrix"].axes[0].get_yticklabels()]
    assert len(labels) == 15
    assert all(label.count("\n") <= 1 and len(label) < 60 for label in labels)


def test_the_module_table_names_groups_share_and_sparsity(filled, tmp_path):
    matrix = summarise(make_modules())
    page = write_comparison(matrix, tmp_path).read_text(encoding="utf-8")
    rows = rows_of(tmp_path / "report" / "modules.csv")
    assert rows[0]["minus_dense"] == ""
    assert [float(row["parameter_share"]) for row in rows] == sorted(
        float(row["parameter_share"]) for row in rows
    )
    both = next(row for row in rows if row["backbone"] == row["fpn"] == "x" and row["rpn"] == "-")
    assert both["box_head"] == "-"
    assert float(both["sparsity"]) == pytest.approx(0.8 * float(both["parameter_share"]), rel=1e-4)
    assert "Pruning backbone+fpn (55.5 % of the parameters) at 80 %" in page
    assert 'id="modules"' in page
    assert 'id="matrix"' not in page
    assert "modules" in filled
    assert r"\toprule" in (tmp_path / "report" / "modules.tex").read_text()


def test_the_early_bird_curve_has_chance_and_the_stable_point(filled, tmp_path):
    page = page_of(make_cells(), tmp_path, early_bird=make_early_bird(stable_at=300))
    assert "is stable from iteration 300 on, 50 % of the way to the final mask." in page
    axes = filled["early_bird"].axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert set(drawn["pruned, chance"]) == {0.67}
    assert drawn["pruned weights"][0] == pytest.approx(0.875)
    assert "stable at 300" in drawn
    kappas = {line.get_label(): line.get_ydata() for line in filled["early_bird"].axes[1].lines}
    assert kappas["beyond equal layer densities"][0] == pytest.approx(0.3 + 0.7 / 6)
    page = page_of(make_cells(), tmp_path, early_bird=make_early_bird(stable_at=None))
    assert "did not become stable in the 600 iterations" in page


@pytest.mark.parametrize("points", [[], None, "x", [1, {"iteration": None}]])
def test_an_early_bird_record_without_points_is_a_note(empty, tmp_path, points):
    page = page_of(make_cells(), tmp_path, early_bird={"format_version": 1, "points": points})
    assert "The early-bird record has no point." in notes_in(page)


def test_the_overlap_is_symmetric_with_chance_beside_it(filled, tmp_path):
    page_of(make_cells(), tmp_path, overlap=make_overlap(NAMES))
    axes = filled["overlap"].axes[0]
    values = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert (values == values.T).all()
    assert values[0, 1] == pytest.approx(0.75)
    assert texts_of(axes)[0] == "0.75\n0.81 (0.11)\nlayers 0.55"
    assert "overlap_by_group" in filled
    page = page_of(make_cells(), tmp_path, overlap=make_overlap(NAMES[:1]))
    assert "The overlap needs two tickets or more." in notes_in(page)


def test_many_tickets_stand_below_the_panels_as_numbers(filled, tmp_path):
    """Thirty names of a study ran into each other there."""
    names = [f"ticket {letter}" for letter in "abcdefghijklmnopqrst"]
    page_of(make_cells(), tmp_path, overlap=make_overlap(names))
    axes = filled["overlap"].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(i) for i in range(1, 21)]
    assert axes.get_yticklabels()[2].get_text() == "ticket c [3]"


def test_a_report_that_fails_leaves_the_old_one(empty, tmp_path, monkeypatch):
    page_of(make_cells(), tmp_path)
    before = (tmp_path / "report" / "matrix.md").read_bytes()

    def fail(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(sweep_curves, "render", fail)
    with pytest.raises(ValueError, match="no"):
        page_of(make_cells(seeds=(1,)), tmp_path)
    assert (tmp_path / "report" / "matrix.md").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_matrix_without_a_summary_is_refused(tmp_path):
    with pytest.raises(RunError, match="rebuild it with tools/report_comparison"):
        write_comparison(make_cells(), tmp_path)
