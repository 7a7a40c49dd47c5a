"""The study: all parts are planned before one is run, and its dry run says what it costs."""

from collections import Counter
from pathlib import Path

import pytest

from lth_det.cli import run_study
from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import forget_configs
from lth_det.sweeps.plan import load_plan
from lth_det.sweeps.study import left_of, load_parts, load_study
from lth_det.sweeps.study_answers import AS_GOOD, OPEN, WORSE, answers, answers_text, judge

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
    for part in ("modules", "schedule", "tasks"):
        assert f"\n{part}: " in text
    assert "without an estimate" not in text
    assert not (tmp_path / "s").exists()
    assert (
        text.count("LTH.METHOD rst") == 9
    )  # two prune rates of one target, one of the other, 3 seeds


def test_the_study_has_what_the_papers_ask():
    parts = load_parts(load_study(STUDY))
    tasks = parts["tasks"]
    sources = {source["name"] for source in tasks.facts["sources"]}
    assert sources == {
        "own", "random", "reinit", "one_shot", "layer_wise", "rst", "from_keypoints", "from_detection", "classifier",
        "mask_transfer", "own_backbone",
    }  # fmt: skip
    assert tasks.facts["prune_rates"] == [0.5, 0.8, 0.9, 0.95, 0.98]
    # What the papers' questions are about is there at every rate, the rest where published values or controls are.
    cells = Counter((cell.source, cell.target, cell.prune_rate) for cell in tasks.cells)
    assert set(cells.values()) == {3}
    for source, target in (("own", "mask_rcnn"), ("own", "keypoint_rcnn"), ("random", "mask_rcnn")):
        rates = [rate for name, place, rate in cells if (name, place) == (source, target)]
        assert rates == tasks.facts["prune_rates"]
    assert {name for name, _, rate in cells if rate == 0.8} == sources
    for sweep in parts.values():
        assert {cell.seed for cell in sweep.cells} == {1, 2, 3}


def test_the_plan_at_size_has_two_networks_two_rates_and_random_controls():
    sweep = load_plan("configs/study/large/tickets.yaml")
    assert {cell.target for cell in sweep.cells} == {"mask_rcnn_r18", "mask_rcnn_r50"}
    # Per network and seed: dense, and a ticket and a random mask at either rate.
    assert len(sweep.cells) == 2 * 3 * (1 + 2 * 2)
    assert sum(len(run.work) for run in sweep.runs) == len(sweep.cells)
    left = left_of("large", sweep, 1)
    assert left.unknown == 0
    assert 30 * 18_750 * 0.2 < left.seconds < 30 * 20_000 * 0.4


def test_only_one_part_and_a_part_that_is_not_there(capsys, tmp_path):
    nowhere = ("--output", str(tmp_path / "s"))
    assert tool("--config-file", STUDY, "--dry-run", "--only", "modules", *nowhere) == 0
    text = capsys.readouterr().out
    assert "\nmodules: 27 of 27 runs left" in text
    assert "\ntasks: " not in text
    with pytest.raises(ConfigError, match="--only other is no part; choose from modules"):
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


# Standard error sqrt(2 / 3) for 3 pairs and a seed deviation of 1; t(10) is 1.812 one-sided: limits 1.48 away.
@pytest.mark.parametrize(
    ("mean", "want"), [(0.6, AS_GOOD), (0.4, OPEN), (-2.4, OPEN), (-2.5, WORSE)]
)
def test_as_good_worse_or_open_by_the_margin(mean, want):
    half = 2.228 * (2 / 3) ** 0.5
    row = {"n": 3, "vs_dense": {"mean": mean, "low": mean - half, "high": mean + half, "n": 3}}
    assert judge(row, {"std": 1.0, "df": 10}, 1.0) == want
    assert judge(row, {"std": None, "df": 0}, 1.0) == OPEN
    assert judge({"n": 1, "vs_dense": None}, {"std": 1.0, "df": 10}, 1.0) == OPEN


def test_answers_have_a_column_for_every_prune_rate():
    against = {"mean": -0.1, "low": -0.4, "high": 0.2, "n": 3}
    rows = [
        {
            "source": name,
            "target": "t",
            "prune_rate": rate,
            "metric": "bbox/AP",
            "n": 3,
            "vs_dense": against,
        }
        for name, rate in (("own", 0.8), ("own", 0.9), ("rst", 0.9))
    ]
    matrix = {
        "targets": [{"name": "t", "label": "boxes", "metric": "bbox/AP"}],
        "sources": [{"name": "own", "label": "IMP ticket"}, {"name": "rst", "label": "RST"}],
        "noise": {"t": {"bbox/AP": {"std": 0.2, "df": 8}}},
        "summary": [
            {**rows[0], "metric": "segm/AP"},
            {**rows[0], "source": "dense", "vs_dense": None},
            *rows,
        ],
    }
    text = answers_text(answers(matrix, 1.0), 1.0)
    assert "| target | ticket | 80 % | 90 % |" in text
    good = f"-0.1 (-0.4 to +0.2), {AS_GOOD}"
    assert f"| boxes (bbox/AP) | IMP ticket | {good} | {good} |" in text
    assert f"| boxes (bbox/AP) | RST | - | {good} |" in text
    assert answers_text([], 1.0) == "No ticket has a result yet.\n"
