"""Published values: read strictly, so that each is shown, and set beside what was measured in the same unit."""

import json
from pathlib import Path

import pytest
import yaml

from lth_det.errors import ConfigError
from lth_det.reports.published_part import published_part
from lth_det.reports.sweep_data import read_matrix
from lth_det.sweeps.plan import expand_plan
from lth_det.sweeps.published import measured_run_values, run_values_text
from lth_det.sweeps.summary import summarise

ROOT = Path(__file__).resolve().parents[3]
PLAN = """
name: t
kind: transfer
output: out
metrics: [bbox/AP, segm/AP]
prune_rates: [0.8, 0.9]
seeds: [1, 2]
targets:
  a: {config: configs/mask_rcnn_imp.yaml}
  b: {config: configs/mask_rcnn_imp.yaml}
sources:
  own: {kind: own, one_shot: true}
  other: {kind: cross_task, target: b}
  early: {kind: cross_task, files: "{own}/round_00/early.safetensors"}
"""


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def plan(*published, **changes):
    return expand_plan(
        {**yaml.safe_load(PLAN), "published": list(published), **changes}, where="plan.yaml"
    )


def entry(**changes):
    return {
        "source": "own",
        "target": "a",
        "metric": "bbox/AP",
        "where": "Table 1",
        "values": {0.8: 30.0},
        **changes,
    }


def run_of(sweep, name):
    return next(run for run in sweep.runs if run.name == name)


def cell(source, rate, seed, value, target="a"):
    return {
        "source": source, "target": target, "prune_rate": rate, "seed": seed, "metrics": {"bbox/AP": value},
        "sparsity": rate, "prune_rate_achieved": rate, "groups": {}, "ticket": None, "run": "runs/x", "stage": "round_01",
    }  # fmt: skip


def matrix_of(sweep, cells):
    return summarise(
        {"kind": "transfer", "name": "t", "missing": [], **sweep.facts, "cells": cells}
    )


def test_published_values_stand_beside_the_measured_ones():
    sweep = plan(
        entry(target=["a", "b"], values={0.8: [30.0, 0.5], 0.9: 20.0}),
        entry(source="dense", values={0: 40.0}),
        entry(relative=True, values={0.8: -10.0}),
    )
    cells = [cell("dense", 0.0, 1, 50.0), cell("own", 0.8, 1, 31.0), cell("own", 0.8, 2, 33.0)]
    rows = matrix_of(sweep, cells)["published"]
    found = {
        (row["source"], row["target"], row["prune_rate"], row["relative"]): row for row in rows
    }
    assert len(rows) == 6
    own = found["own", "a", 0.8, False]
    assert (own["value"], own["std"], own["measured"], own["n"]) == (30.0, 0.5, 32.0, 2)
    assert own["difference"] == pytest.approx(2.0)
    assert found["dense", "a", 0.0, False]["difference"] == pytest.approx(10.0)
    relative = found["own", "a", 0.8, True]
    assert relative["measured"] == pytest.approx(-36.0)  # 32 instead of 50
    assert relative["difference"] == pytest.approx(-26.0)
    for place in (("own", "b", 0.8, False), ("own", "a", 0.9, False)):
        assert (found[place]["measured"], found[place]["n"], found[place]["difference"]) == (
            None,
            0,
            None,
        )


def test_the_section_and_its_files(tmp_path):
    sweep = plan(entry(note="read from the figure"))
    view = read_matrix(matrix_of(sweep, [cell("own", 0.8, 1, 31.5)]))
    page = published_part(view, tmp_path)
    assert "read from the figure" in page
    assert ",30.0,,31.5,,1,1.5,Table 1," in (tmp_path / "published.csv").read_text()
    assert (
        "| 30.00 | n/a | 31.50 | n/a | 1 | +1.50 | Table 1 |"
        in (tmp_path / "published.md").read_text()
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "nobody"}, "source nobody is not in the plan"),
        ({"target": ["a", "c"]}, "target c is not in the plan"),
        ({"metric": "bbox/AP50"}, "metric bbox/AP50 is not in the plan"),
        ({"values": {0.7: 1.0}}, "0.7 is not a prune rate of own"),
        ({"source": "dense"}, "0.8 is not a prune rate of dense"),
        ({"source": "dense", "relative": True, "values": {0: 1.0}}, "dense has no change to dense"),
        ({"values": {0.8: [1, 2, 3]}}, "must be a number, or"),
        (
            {"source": "other", "target": ["a", "b"]},
            "the plan has no cell of other on b at prune rate 0.8",
        ),
        ({"where": None}, "the key where is missing"),
        ({"page": 3}, "the key page is not known"),
    ],
)
def test_a_value_that_could_never_be_shown_is_refused(change, sentence):
    with pytest.raises(ConfigError, match=r"plan\.yaml: published\[0\]") as caught:
        plan(entry(**change))
    assert sentence in str(caught.value)


def test_values_of_single_runs_are_read_from_their_tables(tmp_path):
    described = {
        "label": "best", "value": 80.0, "where": "text", "run": "x", "file": "t.json", "rows": {"start": "final"},
        "column": "top1", "pick": "max",
    }  # fmt: skip
    raw = {
        "name": "t", "kind": "runs", "output": str(tmp_path), "published": [described],
        "runs": {"x": {"commands": ["tools/train_classifier.py --help"]}},
    }  # fmt: skip
    sweep = expand_plan(raw, where="plan.yaml")
    assert run_values_text(measured_run_values(sweep.facts["published"], tmp_path)).endswith(
        "| best | 80.00 | - | text |\n"
    )
    folder = tmp_path / "runs/x"
    folder.mkdir(parents=True)
    rows = [
        {"start": "final", "top1": 70.0},
        {"start": "final", "top1": 75.0},
        {"start": "init", "top1": 90.0},
    ]
    (folder / "t.json").write_text(json.dumps({"rows": rows}))
    assert [one["measured"] for one in measured_run_values(sweep.facts["published"], tmp_path)] == [
        75.0
    ]
    deeper = {**described, "table": "rounds", "rows": {"round": 1}, "column": "metrics.top1"}
    rounds = [{"round": number, "metrics": {"top1": 60.0 + number}} for number in (0, 1)]
    (folder / "t.json").write_text(json.dumps({"rounds": [*rounds, {"round": 1, "metrics": None}]}))
    sweep = expand_plan({**raw, "published": [deeper]}, where="plan.yaml")
    (one,) = measured_run_values(sweep.facts["published"], tmp_path)
    assert one["measured"] == 61.0
    with pytest.raises(ConfigError, match=r"published\[0\]: run y is not in the plan \(x\)"):
        expand_plan({**raw, "published": [{**described, "run": "y"}]}, where="plan.yaml")


def test_a_one_shot_source_prunes_every_rate_from_the_dense_weights():
    sweep = plan()
    own = run_of(sweep, "own-a-seed2")
    assert own.commands[0][own.commands[0].index("LTH.TARGETS") + 1] == "(0.8,)"
    assert own.commands[0][own.commands[0].index("LTH.CONTROL_ROUNDS") + 1] == "(1,)"
    later = run_of(sweep, "own-a-90-seed2")
    assert later.needs == ("own-a-seed2",)
    make = later.commands[0]
    assert make[make.index("--source") + 1] == f"{own.folder}/round_00/model_final.pth"
    assert make[make.index("--weights") + 1] == f"{own.folder}/round_00/rewind.safetensors"
    assert make[make.index("--groups") + 1] == "all"
    places = {
        (c.source, c.prune_rate): (c.run, c.round)
        for c in sweep.cells
        if (c.target, c.seed) == ("a", 2)
    }
    assert places["own", 0.8] == ("own-a-seed2", 1)
    assert places["own", 0.9] == ("own-a-90-seed2", None)
    # A mask of the other target's own run is in the file that its one-shot run has made.
    other = run_of(sweep, "other-a-90-seed2")
    source = other.commands[0][other.commands[0].index("--source") + 1]
    assert source == "out/runs/own-b-90-seed2/transferred.safetensors"
    assert "own-b-90-seed2" in other.needs


def test_early_bird_masks_are_recorded_in_the_run_with_the_dense_round_only():
    sources = {"own": {"kind": "own", "one_shot": True, "opts": {"LTH.EARLY_BIRD.ENABLED": True}}}
    sweep = plan(sources=sources)
    on, later = (run_of(sweep, name).commands[-1] for name in ("own-a-seed1", "own-a-90-seed1"))
    values = [
        [c[i + 1] for i, word in enumerate(c) if word == "LTH.EARLY_BIRD.ENABLED"]
        for c in (on, later)
    ]
    assert [found[-1] for found in values] == ["True", "False"]


def test_a_file_can_lie_in_the_run_of_another_source():
    sweep = plan()
    run = run_of(sweep, "early-b-80-seed1")
    assert (
        run.commands[0][run.commands[0].index("--source") + 1]
        == "out/runs/own-b-seed1/round_00/early.safetensors"
    )
    assert run.needs == ("own-b-seed1",)
    sources = {"own": {"kind": "own"}, "x": {"kind": "magnitude", "files": "{nobody}/y.pth"}}
    with pytest.raises(ConfigError, match="nobody is no source with a run of its own"):
        plan(sources=sources)
