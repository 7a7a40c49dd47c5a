"""Every plan of configs/reproduce, configs/compare and configs/study is whole: it expands, and what it names is there."""

import itertools
from pathlib import Path

import pytest
import yaml

from lth_det.sweeps.config_file import forget_configs
from lth_det.sweeps.estimate import Costs
from lth_det.sweeps.listing import dry_run_text
from lth_det.sweeps.plan import load_plan
from lth_det.sweeps.state import SweepState

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("reproduce/girish", "reproduce/mehta", "reproduce/dual", "compare", "study")
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))
]
PLANS = [path for path in FILES if "kind" in yaml.safe_load((ROOT / path).read_text())]
REPRODUCE = [path for path in PLANS if "reproduce" in path]


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    forget_configs()


@pytest.mark.parametrize("path", PLANS)
def test_the_dry_run_of_every_plan(path, tmp_path):
    sweep = load_plan(path, str(tmp_path / "out"))
    text = dry_run_text(sweep, SweepState.load(sweep.output), Costs({}, {}, sweep.estimate), 2)
    assert f"Left: {len(sweep.runs)} of {len(sweep.runs)} runs" in text
    assert "Without an estimate" not in text
    for run in sweep.runs:
        for command in run.commands:
            assert (ROOT / command[0]).exists()
            for flag, value in itertools.pairwise(command):
                assert flag != "--config-file" or (ROOT / value).exists()
    assert f"--config-file {path} --dry-run" in (ROOT / path).read_text() or "compare" in path


@pytest.mark.parametrize("path", REPRODUCE)
def test_plans_of_the_papers_are_listed_and_have_outputs_of_their_own(path):
    plan = yaml.safe_load((ROOT / path).read_text())
    assert plan["output"] == f"outputs/reproduce/{plan['name']}"
    assert plan["name"] == "_".join((Path(path).parent.name, Path(path).stem))
    listed = (ROOT / "docs/reproduce.md").read_text()
    assert f"`{Path(path).parent.name}/{Path(path).name}`" in listed


def test_headline_numbers_of_the_paper_are_in_the_plans():
    """From the published tables, by hand: one number of each."""
    wanted = {
        ("girish/tables1_2_coco_r50_paper", "imagenet_mask", "mask", "bbox/AP", 0.9): 35.46,
        ("girish/tables1_2_coco_r50_paper", "imagenet", "mask", "bbox/AP", 0.9): 30.66,
        ("girish/tables1_2_coco_r18", "imagenet", "keypoint", "keypoints/AP", 0.8): 56.70,
        ("girish/tables1_2_voc_r50", "imagenet_mask", "voc", "bbox/AP50", 0.9): 61.75,
        ("girish/table3_voc_r18", "backbone+res5", "voc", "bbox/AP50", 0.8): 68.45,
        ("girish/table4_coco_r18_paper", "from_detection", "keypoint", "keypoints/AP", 0.8): 58.31,
        ("girish/direct_coco_r50", "own", "mask", "segm/AP", 0.8): 34.88,
        ("girish/fig2ae_voc_r18_rates", "layer_wise", "voc", "bbox/AP50", 0.9): 62.76,
        ("girish/fig2b_voc_r18_reset", "reset_9600", "voc", "bbox/AP50", 0.8): 65.93,
        ("girish/fig2d_voc_r18_rounds", "rounds_6", "voc", "bbox/AP50", 0.8): 65.70,
        ("girish/fig2f_voc_r18_early_bird", "early_5600", "voc", "bbox/AP50", 0.8): 68.31,
    }
    for (name, *place), value in wanted.items():
        facts = load_plan(f"configs/reproduce/{name}.yaml").facts
        found = {
            (one["source"], one["target"], one["metric"], one["prune_rate"]): one["value"]
            for one in facts["published"]
            if not one["relative"]
        }
        assert found[tuple(place)] == value


def test_values_of_the_dual_paper_name_the_run_and_the_row_that_they_belong_to():
    sweep = load_plan("configs/reproduce/dual/cifar10_resnet56.yaml")
    found = {one["label"]: one for one in sweep.facts["published"]}
    assert len(found) == 1 + 5 * 5
    wanted = {
        "dense": (93.50, "random", {"round": 0}),
        "RST, 90 %": (90.41, "rst_90", {"stage": "rst"}),
        "RST Iter-5, 95 %": (88.40, "rst_iter5_95", {"stage": "rst"}),
        "LTH, 98 %": (83.85, "lth_98", {"round": 1}),
        "LTH Iter-5, 50 %": (92.68, "lth_iter5_50", {"round": 5}),
        "scratch, 98 %": (82.71, "random", {"round": 5}),
    }
    for label, place in wanted.items():
        one = found[label]
        assert (one["value"], one["run"], one["rows"]) == place
        assert (one["file"], one["table"], one["column"]) == (
            "results.json",
            "rounds",
            "metrics.top1",
        )
    for run in sweep.runs:  # the name of a run, and what its command asks for
        words = run.commands[0]
        rate = words[words.index("pruning.prune_rate") + 1] if "prune_rate" in str(words) else None
        assert rate is None or run.name.endswith(f"_{round(100 * float(rate))}")
        assert ("rst.cycles" in words) is run.name.startswith("rst_iter5")
        assert ("pruning.rounds" in words) is run.name.startswith("lth_iter5")


def cost_of(path):
    """Return the cells of a plan's row in docs/reproduce.md: trainings, GPU hours, disk."""
    sweep = load_plan(path)
    costs = Costs({}, {}, sweep.estimate)
    found = [costs.of(run) for run in sweep.runs]
    gpus = sweep.execution["slurm"]["gpus"]
    hours = sum(one.seconds for one in found) / 3600 * gpus
    size = sum(one.megabytes for one in found) / 1000
    trainings = sum(len(run.work) for run in sweep.runs)
    shown = "-" if sweep.kind == "runs" else str(trainings)
    return f"| {shown} | {float(f'{hours:.2g}'):,.0f} | {size:.0f} GB |"


@pytest.mark.parametrize("path", REPRODUCE)
def test_the_documented_cost_is_that_of_the_dry_run(path):
    name = f"`{Path(path).parent.name}/{Path(path).name}`"
    lines = (ROOT / "docs/reproduce.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {name} |")]
    assert row.endswith(cost_of(path)), f"{name} should end with {cost_of(path)}"
