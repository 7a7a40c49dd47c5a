"""Sources with prune rates of their own, and files and weights that lie in the runs of other sources."""

import copy
from pathlib import Path

import pytest
import yaml

from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import forget_configs
from lth_det.sweeps.plan import expand_plan

ROOT = Path(__file__).resolve().parents[3]

PLAN = """
name: t
kind: transfer
output: out
prune_rates: [0.5, 0.8, 0.9]
seeds: [1]
targets:
  mask: {config: configs/mask_rcnn_imp.yaml}
  points: {config: configs/keypoint_rcnn_imp.yaml}
sources:
  own: {kind: own, controls: []}
  chance: {kind: random, of: own, control: random_layer_ratios}
  reinit: {kind: random, of: own, control: random_reinit, prune_rates: [0.8]}
  rst: {kind: rst, prune_rates: {mask: [0.8, 0.9]}}
  magnitude: {kind: magnitude, files: dense, controls: [], prune_rates: {mask: [0.9], points: [0.5, 0.8]}}
"""


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    forget_configs()


def plan(**sources):
    made = yaml.safe_load(PLAN)
    made["sources"].update(copy.deepcopy(sources))
    return expand_plan(made, where="plan.yaml")


def rates(sweep, source, target):
    return [
        cell.prune_rate for cell in sweep.cells if (cell.source, cell.target) == (source, target)
    ]


def option(command, key):
    return command[command.index(key) + 1]


def test_a_source_has_cells_and_runs_at_its_own_rates_alone():
    sweep = plan()
    assert rates(sweep, "own", "mask") == rates(sweep, "chance", "points") == [0.5, 0.8, 0.9]
    assert rates(sweep, "reinit", "mask") == rates(sweep, "reinit", "points") == [0.8]
    assert rates(sweep, "rst", "mask") == [0.8, 0.9]
    assert rates(sweep, "rst", "points") == []
    assert rates(sweep, "magnitude", "mask") == [0.9]
    assert rates(sweep, "magnitude", "points") == [0.5, 0.8]
    others = sorted(run.name for run in sweep.runs if not run.name.startswith("own"))
    assert others == [
        "magnitude-mask-90-seed1",
        "magnitude-points-50-seed1",
        "magnitude-points-80-seed1",
        "rst-mask-80-seed1",
        "rst-mask-90-seed1",
    ]


def test_controls_at_other_rates_are_added_by_a_second_command():
    run = next(run for run in plan().runs if run.name == "own-mask-seed1")
    first, second = run.commands
    assert option(first, "LTH.CONTROLS") == "('random_layer_ratios',)".replace("'", '"')
    assert option(first, "LTH.CONTROL_ROUNDS") == "(1, 2, 3)"
    assert option(second, "LTH.CONTROLS") == '("random_reinit",)'
    assert option(second, "LTH.CONTROL_ROUNDS") == "(2,)"
    assert first[: first.index("LTH.CONTROLS")] == second[: second.index("LTH.CONTROLS")]
    assert len(run.work) == 1 + 3 + 3 + 1


def test_controls_of_a_ticket_are_trained_at_its_rates_that_they_have():
    sweep = plan(
        ticket={"kind": "magnitude", "files": "dense", "prune_rates": {"mask": [0.8, 0.9]}},
        control={"kind": "random", "of": "ticket", "control": "random_erk", "prune_rates": [0.9]},
    )
    runs = {run.name: run.commands[-1] for run in sweep.runs}
    assert option(runs["ticket-mask-80-seed1"], "LTH.CONTROLS") == '("random_layer_ratios",)'
    both = '("random_layer_ratios", "random_erk")'
    assert option(runs["ticket-mask-90-seed1"], "LTH.CONTROLS") == both
    assert rates(sweep, "control", "mask") == [0.9]
    assert rates(sweep, "ticket_random_layer_ratios", "mask") == [0.8, 0.9]


def test_weights_can_lie_in_the_run_of_another_source():
    late = {
        "kind": "cross_task",
        "files": "{own}/round_01/ticket.safetensors",
        "weights": "{own}/round_00/model_0000049.pth",
        "prune_rates": {"mask": [0.5]},
    }
    run = next(run for run in plan(late=late).runs if run.name == "late-mask-50-seed1")
    folder = "out/runs/own-mask-seed1"
    assert option(run.commands[0], "--weights") == f"{folder}/round_00/model_0000049.pth"
    assert option(run.commands[0], "--source") == f"{folder}/round_01/ticket.safetensors"
    assert run.needs == ("own-mask-seed1",)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "rst", "prune_rates": [0.7]}, "has [0.7], which is not in prune_rates"),
        ({"kind": "rst", "prune_rates": {"mask": []}}, "mask is []"),
        ({"kind": "rst", "prune_rates": {"masks": [0.8]}}, "masks is not known; mask was perhaps"),
        ({"kind": "rst", "prune_rates": {}}, "prune_rates names no target"),
        ({"kind": "own", "prune_rates": [0.8]}, "the key prune_rates is not known"),
        (
            {
                "kind": "random",
                "of": "magnitude",
                "control": "random_erk",
                "prune_rates": {"mask": [0.8, 0.9]},
            },
            "wrong has prune_rates [0.8], at which magnitude has no ticket to control for",
        ),
        (
            {"kind": "magnitude", "files": "dense", "weights": "{nobody}/x"},
            "nobody is no source with a run of its own",
        ),
    ],
)
def test_mistakes_are_told_in_one_sentence(source, words):
    with pytest.raises(ConfigError) as caught:
        plan(wrong=source)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
