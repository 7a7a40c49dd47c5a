"""The study: all parts are planned before one is run, and its dry run says what it costs."""

from pathlib import Path

import pytest

from lth_det.cli import run_study
from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import forget_configs
from lth_det.sweeps.study import load_parts, load_study

ROOT = Path(__file__).resolve().parents[3]
STUDY = "configs/study/study.yaml"


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    forget_configs()


def tool(*words):
    return run_study.run(run_study.build_parser().parse_args(list(words)))


def test_the_dry_run_lists_every_part_and_its_cost(capsys, tmp_path):
    assert tool("--config-file", STUDY, "--dry-run", "--output", str(tmp_path / "s")) == 0
    text = capsys.readouterr().out
    for part in ("tasks", "modules", "reset_points", "early_bird"):
        assert f"\n{part}: " in text
    assert "without an estimate" not in text
    assert not (tmp_path / "s").exists()
    assert text.count("LTH.METHOD rst") == 30  # 2 targets, 5 prune rates, 3 seeds


def test_the_study_has_what_the_papers_ask():
    parts = load_parts(load_study(STUDY))
    tasks = parts["tasks"]
    sources = {source["name"] for source in tasks.facts["sources"]}
    assert sources == {
        "own", "random", "reinit", "one_shot", "layer_wise", "rst", "from_keypoints", "from_detection", "classifier",
        "mask_transfer", "own_backbone",
    }  # fmt: skip
    assert tasks.facts["prune_rates"] == [0.5, 0.8, 0.9, 0.95, 0.98]
    # Each mask of the other task on its target only, so all but two cells of every seed and rate are there.
    assert len(tasks.cells) == 3 * (2 + 5 * (2 * len(sources) - 2))
    for sweep in parts.values():
        assert {cell.seed for cell in sweep.cells} == {1, 2, 3}


def test_only_one_part_and_a_part_that_is_not_there(capsys):
    assert tool("--config-file", STUDY, "--dry-run", "--only", "modules") == 0
    text = capsys.readouterr().out
    assert "\nmodules: 33 of 33 runs left" in text
    assert "\ntasks: " not in text
    with pytest.raises(ConfigError, match="--only other is no part; choose from tasks"):
        tool("--config-file", STUDY, "--dry-run", "--only", "other")


def test_a_mistake_in_the_last_plan_is_told_before_anything_runs(tmp_path):
    plan = tmp_path / "bad.yaml"
    plan.write_text("name: x\nkind: transfer\n")
    study = tmp_path / "study.yaml"
    study.write_text(
        f"name: s\noutput: {tmp_path}/out\nparts:\n  a: configs/study/modules.yaml\n  b: {plan}\n"
    )
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        tool("--config-file", str(study))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("parts", ["{}", "{a: [x]}", "{../a: x.yaml}"])
def test_parts_that_cannot_be_run_are_refused(tmp_path, parts):
    study = tmp_path / "study.yaml"
    study.write_text(f"name: s\nparts: {parts}\n")
    with pytest.raises(ConfigError, match=r"study\.yaml: parts"):
        load_study(str(study))
