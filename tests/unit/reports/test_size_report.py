import math

import pytest
from made_up_run import edit_results, make_run
from page_check import Tags

from lth_det.export.sizes import binary_entropy
from lth_det.reports.run_data import LayerResult, RoundResult, RunResults, read_run
from lth_det.reports.size_report import (
    NO_SPEED_UP,
    macs_table,
    sizes_section,
    sizes_table,
    ticket_macs,
    ticket_size,
)


def layer(name, group, total, pruned, *, prunable=True):
    return LayerResult(name, group, total, pruned, prunable)


LAYERS = (
    layer("a", "backbone", 1000, 900),
    layer("b", "box_head", 803, 0),
    layer("c", "predictors", 10, 0, prunable=False),
)


def run_with(layers, **facts):
    ticket = RoundResult(1, "", 0.5, 0.4, {}, layers=layers)
    return RunResults(None, (RoundResult(0, "", 0, 0, {}), ticket), (), {}, facts, {})


def test_sizes_by_hand():
    sizes = ticket_size(run_with(LAYERS).tickets[0])
    kept = 100 + 803 + 10
    entropy = 1000 * -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)) / 8
    assert sizes["dense"] == 4 * 1813
    assert sizes["compact"] == pytest.approx(4 * kept + entropy)
    assert sizes["packed_mask"] == 4 * kept + 125 + 101
    assert sizes["index_and_value"] == 8 * 903 + 4 * 10
    assert entropy == pytest.approx(1000 * binary_entropy(100, 1000) / 8)


def test_macs_by_hand():
    macs = {"image": [64, 80], "layers": {"a": 5000, "b": 100, "c": 7}}
    results = run_with(LAYERS, layer_macs=macs)
    assert ticket_macs(results, results.tickets[0]) == {
        "backbone": {"dense": 5000.0, "ticket": pytest.approx(500.0)},
        "all": {"dense": 5107.0, "ticket": pytest.approx(607.0)},
        "box_head": {"dense": 100.0, "ticket": 100.0},
        "predictors": {"dense": 7.0, "ticket": 7.0},
    }
    assert len(macs_table(results).rows) == 4
    assert sizes_table(results).columns[-1].key == "ticket_gmacs"
    assert "64 x 80" in sizes_section(results)


def test_without_macs_or_layers_the_section_says_so():
    assert ticket_macs(run_with(LAYERS), run_with(LAYERS).tickets[0]) == {}
    assert "inspect_ticket.py" in sizes_section(run_with(LAYERS))
    bare = run_with(())
    assert all(math.isnan(value) for value in ticket_size(bare.tickets[0]).values())
    assert "need the layers" in sizes_section(bare)
    damaged = run_with(LAYERS, layer_macs={"layers": {"a": None}})
    assert ticket_macs(damaged, damaged.tickets[0]) == {}


def test_the_section_of_a_run_says_where_nothing_gets_faster(tmp_path):
    folder = make_run(tmp_path / "run", rounds=3, images=2)
    text = str(sizes_section(read_run(folder)))
    Tags(text)
    assert NO_SPEED_UP.split(":")[0] in text
    assert len(sizes_table(read_run(folder)).rows) == 3
    edit_results(folder, lambda results: results.update(rounds=results["rounds"][1:]))
    assert len(sizes_table(read_run(folder)).rows) == 2  # no dense round


def test_it_is_part_of_the_page_and_of_its_tables(finished_report):
    page = (finished_report / "index.html").read_text(encoding="utf-8")
    assert "What a ticket buys" in page
    header = (finished_report / "sizes.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("model,sparsity,dense_mb,compact_mb,times_smaller")
    assert (finished_report / "macs.csv").exists()
