"""Random controls of tickets, the table of module groups, and files that are damaged, in the summary."""

import pytest
from summary_makers import cell, row_of, source, sweep, two_seeds

from lth_det.errors import RunError
from lth_det.sweeps.summary import summarise


@pytest.mark.parametrize(
    ("sources", "control"),
    [
        ([source("own_reinit", control_of="own", kind="random_reinit")], None),
        (
            [
                source("own_erk", control_of="own", kind="random_erk"),
                source("own_r", control_of="own", kind="random_layer_ratios"),
            ],
            "own_r",
        ),
        ([source("cls_r", control_of="cls", kind="random_layer_ratios")], None),
        ([source("random", kind="random")], "random"),
        (
            [
                source("random", kind="random"),
                source("own_erk", control_of="own", kind="random_erk"),
            ],
            "own_erk",
        ),
    ],
)
def test_the_random_control_is_the_ticket_s_own(sources, control):
    cells = [cell("own", 0.8, 1, 50.0)]
    cells += [cell(s["name"], 0.8, 1, 40.0 + place) for place, s in enumerate(sources)]
    matrix = summarise(sweep(cells, sources=["own", *sources]))
    against = row_of(matrix, "own")["vs_random"]
    assert (against and against["control"]) == control
    if sources[0]["control"]:
        assert row_of(matrix, sources[0]["name"])["vs_random"] is None


def test_a_random_control_is_compared_at_the_same_prune_rate():
    cells = two_seeds()
    cells["cells"] += [cell("own", 0.9, seed, 30.0) for seed in (1, 2)]
    matrix = summarise(cells)
    assert row_of(matrix, "own")["vs_random"]["mean"] == 12.0
    assert row_of(matrix, "own", 0.9)["vs_random"] is None


def test_a_random_mask_of_the_whole_network_is_no_control_of_a_backbone_ticket():
    cells = [
        cell(name, 0.8, seed, value, sparsity=sparsity)
        for name, value, sparsity in (
            ("own", 50.0, 0.79),
            ("cls", 48.0, 0.31),
            ("random", 40.0, 0.78),
        )
        for seed in (1, 2)
    ]
    matrix = summarise(sweep(cells))
    assert row_of(matrix, "own")["vs_random"]["mean"] == 10.0
    assert row_of(matrix, "cls")["vs_random"] is None


def modules():
    groups = {
        "backbone": {"total_parameters": 60, "prunable_parameters": 50, "pruned_parameters": 40},
        "box_head": {"total_parameters": 40, "prunable_parameters": 40, "pruned_parameters": 0},
    }
    cells = two_seeds()
    cells["kind"] = "modules"
    cells["sources"] = [
        source("own", groups_pruned=["backbone"]),
        source("cls", groups_pruned=["backbone", "box_head"]),
    ]
    cells["cells"] = [c | {"groups": groups} for c in cells["cells"] if c["source"] != "random"]
    return cells


def test_the_module_table_has_the_share_of_the_parameters():
    matrix = summarise(modules())
    dense, own, both = matrix["modules"]
    assert (dense["source"], dense["parameter_share"], dense["groups_pruned"]) == ("dense", 0.0, [])
    assert (own["parameter_share"], both["parameter_share"]) == (0.5, 0.9)
    assert (own["mean"], own["n"]) == (52.5, 2)
    assert own["p_holm"] == pytest.approx(2 * own["vs_dense"]["p"])
    assert "50.0 % of the parameters" in own["sentence"]
    assert own["larger_than_seed_noise"] is (own["p_holm"] < 0.05)
    assert matrix["verdicts"] == []
    stated = modules()
    stated["sources"][0]["parameter_share"] = 0.31
    assert summarise(stated)["modules"][1]["parameter_share"] == 0.31


def _without(key):
    return lambda cells: cells.pop(key)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (_without("cells"), 'no list "cells"'),
        (_without("sources"), 'no list "sources"'),
        (lambda c: c.update(targets="det"), 'no list "targets"'),
        (lambda c: c["cells"][0].pop("seed"), "lacks one of"),
        (lambda c: c["cells"].append(c["cells"][1]), "two cells of source dense"),
        (lambda c: c["cells"][2].update(source="nobody"), "names source 'nobody'"),
        (lambda c: c["cells"][2].update(target="nowhere"), "names target 'nowhere'"),
        (lambda c: c["cells"][2].update(source=["own"]), "names source"),
        (lambda c: c["cells"][2].update(prune_rate=80), "must be in 0 to 1"),
        (lambda c: c["cells"][2].update(prune_rate="x"), "must be in 0 to 1"),
        (lambda c: c["cells"][2].update(seed="1"), "must be a whole number"),
        (lambda c: c["cells"][2].update(metrics=[1]), "no object of metrics"),
        (lambda c: c["cells"][0].update(prune_rate=0.5), "is dense but"),
        (lambda c: c["sources"].append("own"), "has no name"),
        (lambda c: (c.pop("metric"), c["targets"][0].pop("metric")), "has no metric"),
    ],
)
def test_a_damaged_file_gives_a_sentence(break_it, words):
    cells = two_seeds()
    break_it(cells)
    with pytest.raises(RunError, match=words):
        summarise(cells)
