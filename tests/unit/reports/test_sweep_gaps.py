"""Pages of sweeps whose sources have cells at some prune rates only: a cell that is not planned is not missing."""

import pytest
from made_up_sweep import SOURCES, TARGETS, make_cells, make_modules, without

from lth_det.reports.matrix_heatmap import transfer_matrix
from lth_det.reports.matrix_tables import to_latex_matrix, wide_table
from lth_det.reports.modules_parts import modules_figure
from lth_det.reports.sweep_curves import curves
from lth_det.reports.sweep_data import NO_CELL, NO_RESULT, read_matrix
from lth_det.reports.sweep_differences import differences
from lth_det.reports.sweep_summary import headline
from lth_det.sweeps.summary import summarise

DET = TARGETS[0]


def not_planned(cells, **match):
    """Take the cells that match out as if the plan had never had them."""
    listed = list(cells["missing"])
    return without(cells, **match) | {"missing": listed, "complete": True}


@pytest.fixture
def gaps():
    """The kp ticket has cells of the first target at 80 % alone; those of RST at 90 % have not been run."""
    cells = not_planned(make_cells(rates=(0.8, 0.9)), source="kp", target="kp")
    cells = not_planned(cells, source="kp", prune_rate=0.9)
    return read_matrix(summarise(without(cells, source="rst", target="kp", prune_rate=0.9)))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_cell_that_is_not_planned_is_a_dash_and_one_that_waits_is_no_result(gaps):
    det, kp = gaps.targets
    assert gaps.empty_word("kp", det, 0.9) == gaps.empty_word("kp", kp, 0.8) == NO_CELL
    assert gaps.empty_word("rst", kp, 0.9) == NO_RESULT
    rows = {row[0]: row[1:] for row in wide_table(gaps).rows}
    assert rows["cross-task ticket (keypoints)"][1:] == (NO_CELL,) * 3
    assert rows["RST"][3] == NO_RESULT
    lines = to_latex_matrix(gaps).splitlines()
    assert next(line for line in lines if "cross-task" in line).count(" -- ") == 3
    assert next(line for line in lines if line.startswith("RST")).count(NO_RESULT) == 1


def test_a_metric_that_is_no_number_is_no_result():
    cells = make_cells(seeds=(1,))
    place = ("rst", "det", 0.9)
    for cell in cells["cells"]:
        if (cell["source"], cell["target"], cell["prune_rate"]) == place:
            cell["metrics"]["bbox/AP"] = None
    view = read_matrix(summarise(cells))
    assert view.empty_word("rst", view.targets[0], 0.9) == NO_RESULT


def test_the_heatmap_hatches_what_waits_only(gaps, quick_figures):
    transfer_matrix(gaps)
    first, second = (axes for axes in quick_figures["transfer_matrix"].axes if axes.texts)
    assert (texts(first).count(NO_CELL), texts(first).count(NO_RESULT)) == (1, 0)
    assert (texts(second).count(NO_CELL), texts(second).count(NO_RESULT)) == (2, 1)
    assert sum(bool(patch.get_hatch()) for patch in second.patches) == 1


def test_a_row_of_panels_has_the_sources_with_cells_at_its_rates(quick_figures):
    cells = make_cells(rates=(0.5, 0.7, 0.8, 0.9, 0.95))
    for rate in (0.9, 0.95):
        cells = not_planned(cells, source="cls", prune_rate=rate)
        cells = not_planned(cells, source="kp", prune_rate=rate)
    transfer_matrix(read_matrix(summarise(cells)))
    panels = [axes for axes in quick_figures["transfer_matrix"].axes if axes.texts]
    labels = [[text.get_text() for text in axes.get_yticklabels()] for axes in panels]
    assert len(labels[0]) == 1 + len(SOURCES)
    assert labels[3] == ["dense", "own ticket", "RST", "random, own ticket's layer\nratios"]


def test_an_empty_row_of_the_differences_says_why(gaps, quick_figures):
    differences(gaps)
    left, right = quick_figures["differences"].axes
    assert texts(left) == []
    assert sorted(texts(right)) == [NO_CELL, NO_RESULT]


def test_names_that_differ_at_their_end_stay_apart_in_the_differences(quick_figures):
    stem = "reset to 25, mask at the end"
    names = (stem, f"{stem}: random layer ratios", f"{stem}: dense rewound")
    sources = [dict(SOURCES[0], name=f"s{i}", label=name) for i, name in enumerate(names)]
    differences(read_matrix(summarise(make_cells(sources=sources, rates=(0.8,)))))
    axes = quick_figures["differences"].axes[0]
    shown = [" ".join(text.get_text().split()) for text in axes.get_yticklabels()]
    assert shown == [f"{name} 80 %" for name in names]


def test_all_groups_of_a_subset_are_named(quick_figures):
    cells = make_modules()
    whole = "backbone + FPN + RPN + box head + mask head"
    cells["sources"][-1]["label"] = whole
    view = read_matrix(summarise(cells))
    modules_figure(view, view.targets[0], name="modules")
    labels = quick_figures["modules"].axes[0].get_yticklabels()
    assert whole in [" ".join(text.get_text().split()) for text in labels]


def test_a_control_that_is_not_pruned_has_no_prune_rate_and_no_verdict(quick_figures):
    cells = make_cells(rates=(0.8,), targets=[DET])
    for cell in cells["cells"]:
        if cell["source"] == "rst":
            cell["sparsity"] = 0.0
    matrix = summarise(cells)
    assert all("rst" not in found["sources"] for found in matrix["verdicts"])
    curves(read_matrix(matrix))
    axes = quick_figures["ap_against_sparsity"].subfigs[0].axes[0]
    assert texts(axes) == ["80"] * (len(SOURCES) - 1)


def test_every_contest_has_a_card_and_a_lone_source_has_none():
    rates = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    cells = make_cells(rates=rates, targets=[DET])
    for rate in rates[1:]:
        # Two backbone tickets at 30 %, one alone elsewhere.
        cells = not_planned(cells, source="kp", prune_rate=rate)
    view = read_matrix(summarise(cells))
    contests = view.verdicts_of(view.targets[0])
    assert len(contests) > len([found for found in contests if found["runner_up"]]) >= len(rates)
    page = headline(view)
    for rate in rates:
        assert f"Best at prune rate {100 * rate:g} %" in page
    assert page.count("Best at prune rate") == sum(bool(v["runner_up"]) for v in contests)
