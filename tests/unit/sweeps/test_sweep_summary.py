"""Numbers of the summary against calculations by hand."""

import copy
import math

import pytest
from summary_makers import cell, row_of, sweep, two_seeds

from lth_det.io import to_json
from lth_det.sweeps.summary import summarise

T_DF4, T_DF1, T_DF2 = 2.7764451, 12.7062047, 4.3026527
Q_3_DF4 = 5.0402  # studentized range of three means, df 4, 95 % (Harter 1960: 5.040)


def test_means_and_the_pooled_noise_by_hand():
    matrix = summarise(two_seeds())
    row = row_of(matrix, "own")
    assert (row["n"], row["mean"], row["values"]) == (2, 52.5, {"1": 52.0, "2": 53.0})
    assert row["std"] == pytest.approx(math.sqrt(0.5))
    assert row["sparsity_mean"] == 0.8
    noise = matrix["noise"]["det"]["bbox/AP"]
    assert noise == {"std": pytest.approx(math.sqrt(0.75)), "df": 4, "cells": 4}
    assert row["high"] - row["mean"] == pytest.approx(T_DF4 * math.sqrt(0.75 / 2), rel=1e-6)


def test_the_difference_to_dense_is_paired_and_has_both_intervals():
    against = row_of(summarise(two_seeds()), "own")["vs_dense"]
    # Pairs 2 and 3: mean 2.5, std sqrt(0.5). Pooled: sqrt(0.75 * (1/2 + 1/2)); alone: sqrt(0.5 / 2) with df 1.
    assert (against["mean"], against["n"], against["df"]) == (2.5, 2, 4)
    assert against["values"] == {"1": 2.0, "2": 3.0}
    assert against["std"] == pytest.approx(math.sqrt(0.5))
    assert against["low"] == pytest.approx(2.5 - T_DF4 * math.sqrt(0.75), rel=1e-6)
    assert against["high"] == pytest.approx(2.5 + T_DF4 * math.sqrt(0.75), rel=1e-6)
    assert against["low_unpooled"] == pytest.approx(2.5 - T_DF1 * 0.5, rel=1e-6)
    assert against["df_unpooled"] == 1


def test_pairs_go_by_seed_and_not_by_order():
    cells = two_seeds()
    # The dense runs depend on the seed, and are listed the other way round.
    cells["cells"] = [c for c in cells["cells"] if c["source"] != "dense"]
    cells["cells"] += [cell("dense", 0.0, 2, 51.0), cell("dense", 0.0, 1, 50.0)]
    against = row_of(summarise(cells), "own")["vs_dense"]
    assert against["values"] == {"1": 2.0, "2": 2.0}
    assert against["std"] == 0.0


def test_only_common_seeds_make_pairs_and_without_any_the_means_differ():
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if c["source"] != "dense"]
    cells["cells"] += [cell("dense", 0.0, 2, 50.0), cell("dense", 0.0, 3, 60.0)]
    against = row_of(summarise(cells), "own")["vs_dense"]
    assert (against["mean"], against["n"], against["paired"]) == (3.0, 1, True)
    assert against["low_unpooled"] is None
    cells["cells"] = [c for c in cells["cells"] if (c["source"], c["seed"]) != ("dense", 2)]
    matrix = summarise(cells)
    against = row_of(matrix, "own")["vs_dense"]
    assert (against["mean"], against["n"], against["paired"]) == (52.5 - 60.0, 0, False)
    # Means of two seeds and of one: the noise counts sqrt(1/2 + 1). s^2 = 3 / 3 and df 3 without the dense pair.
    assert against["high"] - against["mean"] == pytest.approx(3.1824463 * math.sqrt(1.5), rel=1e-6)


def test_the_verdict_is_corrected_for_picking_the_best():
    (found,) = summarise(two_seeds())["verdicts"]
    assert (found["winner"], found["runner_up"], found["compared"]) == ("own", "cls", 3)
    assert found["difference"] == 2.5
    half = Q_3_DF4 / math.sqrt(2) * math.sqrt(0.75)
    assert found["high"] == pytest.approx(2.5 + half, rel=1e-4)
    assert found["low"] == pytest.approx(2.5 - half, rel=1e-4)
    # The plain interval of the same pair, 2.5 +- 2.40, leaves zero out; the one for a picked pair does not.
    assert found["single"]["low"] > 0 > found["low"]
    assert found["larger_than_seed_noise"] is False
    assert "own ticket leads cls ticket by 2.5 AP" in found["sentence"]
    assert found["sentence"].endswith("within seed noise, not decidable with 2 seeds.")


def test_only_sources_of_like_sparsity_are_ranked_together():
    # A whole-network ticket at prune rate 0.8 (79 %), and two backbone tickets of the same prune rate (31 and 33 %).
    cells = sweep(
        [
            *(cell("dense", 0.0, seed, 50.0 + seed) for seed in (1, 2)),
            *(cell("own", 0.8, seed, 40.0 + seed, sparsity=0.79) for seed in (1, 2)),
            *(cell("random", 0.8, seed, 30.0 + seed, sparsity=0.79) for seed in (1, 2)),
            *(cell("cls", 0.8, seed, 60.0 + 2 * seed, sparsity=0.31) for seed in (1, 2)),
            *(cell("mag", 0.8, seed, 55.0 + seed, sparsity=0.33) for seed in (1, 2)),
        ],
        sources=("own", "cls", "random", "mag"),
    )
    low, high = summarise(cells)["verdicts"]
    assert (low["winner"], low["runner_up"], low["sources"]) == ("cls", "mag", ["cls", "mag"])
    assert low["sparsity"] == pytest.approx(0.32)
    assert (high["winner"], high["runner_up"], high["compared"]) == ("own", "random", 2)
    assert low["sentence"].startswith("of the tickets near 32 % network sparsity, cls ticket leads")
    for entry in cells["cells"]:
        entry["sparsity"] = 0.79 if entry["prune_rate"] else 0.0
    (one,) = summarise(cells)["verdicts"]
    assert (one["sparsity"], one["compared"]) == (None, 4)
    assert one["sentence"].startswith("cls ticket leads")


def test_a_clear_lead_is_called_larger_than_seed_noise():
    cells = two_seeds()
    for entry in cells["cells"]:
        entry["metrics"]["bbox/AP"] += 3.0 if entry["source"] == "own" else 0.0
    (found,) = summarise(cells)["verdicts"]
    assert found["larger_than_seed_noise"] is True
    assert found["p"] < 0.05
    assert (
        "leads cls ticket by 5.5 AP (95 % interval over 3 sources 2.4 to 8.6, 2 seeds"
        in found["sentence"]
    )
    assert "pooled seed std 0.9): larger than seed noise." in found["sentence"]


def test_two_sources_are_compared_by_plain_t():
    cells = two_seeds()
    cells["sources"] = cells["sources"][:2]
    cells["cells"] = [c for c in cells["cells"] if c["source"] in ("dense", "own", "cls")]
    (found,) = summarise(cells)["verdicts"]
    # s^2 = 2.5 / 3, df 3.
    assert found["high"] - 2.5 == pytest.approx(3.1824463 * math.sqrt(2.5 / 3), rel=1e-6)
    assert found["p"] == pytest.approx(found["single"]["p"])


def test_nobody_leads_by_less_than_nothing():
    # The second has run seed 1 alone, in which it is ahead.
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if (c["source"], c["seed"]) != ("cls", 2)]
    for entry in cells["cells"]:
        entry["metrics"]["bbox/AP"] = {("cls", 1): 52.4}.get(
            (entry["source"], entry["seed"]), entry["metrics"]["bbox/AP"]
        )
    (found,) = summarise(cells)["verdicts"]
    assert (found["winner"], found["runner_up"]) == ("own", "cls")
    assert found["difference"] == pytest.approx(-0.4)
    words = "own ticket has the highest mean, but is 0.4 AP behind cls ticket in the seeds of both (95 %"
    assert found["sentence"].startswith(words)
    assert found["larger_than_seed_noise"] is False


def test_p_of_several_verdicts_is_corrected():
    cells = two_seeds()
    cells["cells"] += [
        cell(c["source"], 0.9, c["seed"], c["metrics"]["bbox/AP"])
        for c in cells["cells"]
        if c["prune_rate"]
    ]
    first, second = summarise(cells)["verdicts"]
    assert (first["prune_rate"], second["prune_rate"]) == (0.8, 0.9)
    assert first["p_holm"] == pytest.approx(min(1.0, 2 * first["p"]))


def test_one_seed_gives_no_interval_and_says_so():
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if c["seed"] == 1]
    matrix = summarise(cells)
    row = row_of(matrix, "own")
    assert row["std"] is row["low"] is row["vs_dense"]["low"] is row["vs_dense"]["p"] is None
    assert row["vs_dense"]["mean"] == 2.0
    assert matrix["noise"]["det"]["bbox/AP"] == {"std": None, "df": 0, "cells": 0}
    (found,) = matrix["verdicts"]
    assert found["larger_than_seed_noise"] is None
    assert "not known" in found["sentence"]


def test_one_seed_here_borrows_the_noise_of_the_other_cells():
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if (c["source"], c["seed"]) != ("own", 2)]
    matrix = summarise(cells)
    assert (
        matrix["noise"]["det"]["bbox/AP"]["df"],
        matrix["noise"]["det"]["bbox/AP"]["cells"],
    ) == (3, 3)
    row = row_of(matrix, "own")
    # s^2 = 2.5 / 3 from the other three cells; one pair.
    assert row["vs_dense"]["high"] - 2.0 == pytest.approx(
        3.1824463 * math.sqrt(2 * 2.5 / 3), rel=1e-6
    )
    assert row["vs_dense"]["low_unpooled"] is None


def test_without_dense_there_is_no_difference_to_it():
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if c["source"] != "dense"]
    matrix = summarise(cells)
    assert row_of(matrix, "own")["vs_dense"] is None
    assert matrix["verdicts"][0]["winner"] == "own"


@pytest.mark.parametrize("value", [math.nan, None, math.inf, "n/a", True])
def test_a_metric_that_is_no_number_leaves_its_seed_out(value):
    cells = two_seeds()
    cells["cells"][2]["metrics"]["bbox/AP"] = value
    matrix = summarise(cells)
    assert row_of(matrix, "own")["values"] == {"2": 53.0}
    (gap,) = matrix["not_computable"]
    assert (gap["source"], gap["seed"], gap["metric"]) == ("own", 1, "bbox/AP")
    to_json(matrix)


def test_a_metric_that_the_target_cannot_have_is_no_gap():
    cells = two_seeds()
    cells["metrics"].append("keypoints/AP")
    matrix = summarise(cells)
    assert matrix["not_computable"] == []
    assert {r["metric"] for r in matrix["summary"]} == {"bbox/AP"}


def test_equal_values_without_any_noise():
    cells = two_seeds()
    for entry in cells["cells"]:
        entry["metrics"]["bbox/AP"] = 50.0
    (found,) = summarise(cells)["verdicts"]
    assert (found["difference"], found["p"], found["larger_than_seed_noise"]) == (0.0, 1.0, False)
    assert "are equal" in found["sentence"]


def test_a_lone_source_and_an_empty_sweep():
    cells = two_seeds()
    cells["cells"] = [c for c in cells["cells"] if c["source"] in ("dense", "own")]
    (found,) = summarise(cells)["verdicts"]
    assert (found["winner"], found["runner_up"], found["difference"]) == ("own", None, None)
    assert summarise(sweep([]))["summary"] == []


def test_targets_do_not_share_noise_or_pairs():
    cells = two_seeds()
    cells["targets"].append({"name": "kp", "label": "keypoints", "metric": "bbox/AP"})
    cells["cells"] += [cell("own", 0.8, seed, 10.0 * seed, target="kp") for seed in (1, 2)]
    matrix = summarise(cells)
    assert matrix["noise"]["det"]["bbox/AP"]["df"] == 4
    assert matrix["noise"]["kp"]["bbox/AP"]["std"] == pytest.approx(math.sqrt(50.0))
    kp = [r for r in matrix["summary"] if r["target"] == "kp"]
    assert [r["vs_dense"] for r in kp] == [None]


def test_prune_rates_that_differ_by_rounding_are_one():
    cells = two_seeds()
    cells["cells"][2]["prune_rate"] = 1.0 - 0.2 - 1e-12
    matrix = summarise(cells)
    assert row_of(matrix, "own")["n"] == 2
    assert len(matrix["verdicts"]) == 1


def test_the_input_is_left_as_it_is():
    cells = two_seeds()
    before = copy.deepcopy(cells)
    matrix = summarise(cells)
    matrix["cells"][0]["metrics"]["bbox/AP"] = -1.0
    assert cells == before
