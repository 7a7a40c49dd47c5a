"""Plans become runs: which commands, which needs, which cells; and every mistake in a plan is one sentence."""

import copy
from pathlib import Path

import pytest
import yaml

from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import config_value, forget_configs
from lth_det.sweeps.plan import expand_plan, load_plan

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    forget_configs()


TRANSFER = """
name: t
kind: transfer
output: out
prune_rates: [0.8, 0.9]
seeds: [1, 2]
targets:
  mask: {config: configs/mask_rcnn_imp.yaml}
sources:
  own: {kind: own, controls: []}
  chance: {kind: random, of: own, control: random_erk}
  keypoint: {kind: cross_task, config: configs/keypoint_rcnn_imp.yaml, controls: []}
  classifier: {kind: classifier, config: configs/classify/quick/shapes_cls_imp.yaml}
  dense_magnitude: {kind: magnitude, files: dense, controls: []}
  rst: {kind: rst, opts: {LTH.RST.CYCLES: 2}}
"""
MODULES = """
name: m
kind: modules
output: out
prune_rates: [0.8]
seeds: [1]
targets: {mask: {config: configs/mask_rcnn_imp.yaml}}
groups: [backbone, fpn, rpn]
subsets: each
"""


def transfer(**changes):
    plan = yaml.safe_load(TRANSFER)
    plan.update(copy.deepcopy(changes))
    return expand_plan(plan, where="plan.yaml")


def run_of(sweep, name):
    return next(run for run in sweep.runs if run.name == name)


def option(command, key):
    return command[command.index(key) + 1]


def test_the_matrix_has_a_cell_for_every_source_rate_and_seed():
    sweep = transfer()
    keys = {(c.source, c.target, c.prune_rate, c.seed) for c in sweep.cells}
    assert len(keys) == len(sweep.cells)
    sources = ["own", "chance", "keypoint", "classifier", "classifier_random_layer_ratios",
               "dense_magnitude", "rst"]  # fmt: skip
    want = {(s, "mask", r, k) for s in sources for r in (0.8, 0.9) for k in (1, 2)}
    assert keys == want | {("dense", "mask", 0.0, k) for k in (1, 2)}
    assert [source["name"] for source in sweep.facts["sources"]] == sources


def test_one_own_run_has_the_dense_round_all_rates_and_the_controls_of_each():
    sweep = transfer()
    run = run_of(sweep, "own-mask-seed2")
    (command,) = run.commands
    assert command[:4] == (
        "tools/train_net.py", "--config-file", "configs/mask_rcnn_imp.yaml", "--resume",
    )  # fmt: skip
    assert option(command, "LTH.TARGETS") == "(0.8, 0.9)"
    assert option(command, "LTH.CONTROLS") == '("random_erk",)'
    assert option(command, "LTH.CONTROL_ROUNDS") == "(1, 2)"
    assert option(command, "SEED") == "2"
    assert option(command, "OUTPUT_DIR") == "out/runs/own-mask-seed2"
    # 600 dense, then four trainings that start at the rewind point, 60.
    assert [work.iterations for work in run.work] == [600, 540, 540, 540, 540]
    cells = {
        (c.source, c.prune_rate): (c.round, c.control) for c in sweep.cells if c.run == run.name
    }
    assert cells == {
        ("dense", 0.0): (0, None),
        ("own", 0.8): (1, None),
        ("chance", 0.8): (1, "random_erk"),
        ("own", 0.9): (2, None),
        ("chance", 0.9): (2, "random_erk"),
    }


def test_a_cross_task_mask_is_put_on_the_rewind_weights_of_the_target_and_seed():
    run = run_of(transfer(), "keypoint-mask-90-seed2")
    make, train = run.commands
    assert option(make, "--kind") == "mask"
    # Round 2 of the source is the one at 0.9.
    assert option(make, "--source") == "out/runs/keypoint-source-seed2/round_02/ticket.safetensors"
    assert option(make, "--weights") == "out/runs/own-mask-seed2/round_00/rewind.safetensors"
    assert option(make, "--output") == option(train, "LTH.TICKET")
    assert set(run.needs) == {"keypoint-source-seed2", "own-mask-seed2"}
    # As many iterations as an own ticket: both continue from the rewind point.
    assert "LTH.REWIND.TO" not in train
    assert [work.iterations for work in run.work] == [540]


def test_a_classification_ticket_brings_trained_weights_and_has_the_whole_schedule():
    run = run_of(transfer(), "classifier-mask-80-seed1")
    make, train = run.commands
    assert option(make, "--kind") == "ticket"
    assert option(make, "--source") == "out/runs/classifier-source-seed1/round_01"
    assert option(make, "--weights") == "source"
    assert option(make, "SEED") == option(train, "SEED") == "1"
    assert option(train, "LTH.REWIND.TO") == "init"
    assert [work.iterations for work in run.work] == [600, 600]
    source = run_of(transfer(), "classifier-source-seed1").commands[0]
    assert option(source, "pruning.targets") == "(0.8, 0.9)"
    assert option(source, "output") == "out/runs/classifier-source-seed1"


def test_magnitude_of_dense_takes_the_trained_weights_of_its_own_seed_and_names_the_rate():
    make = run_of(transfer(), "dense_magnitude-mask-90-seed2").commands[0]
    assert option(make, "--source") == "out/runs/own-mask-seed2/round_00/model_final.pth"
    assert option(make, "--prune-rate") == "0.9"


def test_rst_trains_twice_as_long_in_one_stage():
    run = run_of(transfer(), "rst-mask-80-seed1")
    assert option(run.commands[0], "LTH.METHOD") == "rst"
    assert option(run.commands[0], "LTH.RST.CYCLES") == "2"
    assert [work.iterations for work in run.work] == [600 + 540]
    assert run.needs == ()


def test_a_listed_random_source_stands_in_for_sources_without_a_control():
    facts = {source["name"]: source for source in transfer().facts["sources"]}
    assert facts["chance"]["control"]
    assert facts["chance"]["control_of"] is None
    assert facts["classifier_random_layer_ratios"]["control_of"] == "classifier"
    assert not facts["own"]["control"]


def test_two_targets_can_be_the_source_of_each_other_without_further_runs():
    sweep = transfer(
        targets={
            "mask": {"config": "configs/mask_rcnn_imp.yaml"},
            "points": {"config": "configs/keypoint_rcnn_imp.yaml"},
        },
        sources={
            "own": {"kind": "own"},
            "to_mask": {"kind": "cross_task", "target": "points"},
            "to_points": {"kind": "cross_task", "target": "mask"},
        },
        seeds=[1],
    )
    assert not [run.name for run in sweep.runs if "source" in run.name]
    assert run_of(sweep, "to_mask-mask-80-seed1").needs == ("own-points-seed1", "own-mask-seed1")
    assert {c.target for c in sweep.cells if c.source == "to_mask"} == {"mask"}


def test_a_plan_without_an_own_source_still_trains_dense():
    sweep = transfer(sources={"rst": {"kind": "rst"}})
    assert {c.run for c in sweep.cells if c.source == "dense"} == {
        "own-mask-seed1",
        "own-mask-seed2",
    }


def test_a_fixed_source_seed_trains_one_source():
    plan = yaml.safe_load(TRANSFER)
    plan["sources"]["classifier"]["seed"] = 7
    sweep = expand_plan(plan, where="p")
    assert [r.name for r in sweep.runs if r.name.startswith("classifier-source")] == [
        "classifier-source-seed7"
    ]


def test_equal_plans_give_equal_runs_and_the_output_moves_everything():
    plan = yaml.safe_load(TRANSFER)
    assert expand_plan(plan, where="a") == expand_plan(copy.deepcopy(plan), where="a")
    moved = expand_plan(plan, where="a", output="elsewhere")
    assert all(run.folder.startswith("elsewhere/runs/") for run in moved.runs)


def test_each_module_group_is_one_row_and_all_share_one_dense_round():
    sweep = expand_plan(yaml.safe_load(MODULES), where="p")
    assert [run.name for run in sweep.runs] == [
        "dense-mask-seed1",
        "fpn-mask-80-seed1",
        "rpn-mask-80-seed1",
    ]
    cells = {c.source: (c.run, c.round) for c in sweep.cells}
    assert cells["dense"] == ("dense-mask-seed1", 0)
    assert cells["backbone"] == ("dense-mask-seed1", 1)
    assert cells["fpn"] == ("fpn-mask-80-seed1", None)
    make, train = run_of(sweep, "fpn-mask-80-seed1").commands
    assert option(make, "--source") == "out/runs/dense-mask-seed1/round_00/model_final.pth"
    assert option(make, "--weights") == "out/runs/dense-mask-seed1/round_00/rewind.safetensors"
    assert option(make, "--groups") == "fpn"
    assert option(train, "LTH.PRUNE_ONLY") == option(make, "LTH.PRUNE_ONLY") == '("fpn",)'
    (dense,) = run_of(sweep, "dense-mask-seed1").commands
    assert option(dense, "LTH.PRUNE_ONLY") == '("backbone",)'


@pytest.mark.parametrize(
    ("subsets", "count"), [("leave_one_out", 3), ("all_subsets", 7), ([["rpn", "fpn"]], 1)]
)
def test_subsets(subsets, count):
    plan = yaml.safe_load(MODULES) | {"subsets": subsets}
    sweep = expand_plan(plan, where="p")
    assert len(sweep.facts["sources"]) == count
    if count == 1:  # in the order of groups, so that one subset has one name
        assert sweep.facts["sources"][0]["groups_pruned"] == ["fpn", "rpn"]


def test_plain_commands():
    plan = {
        "name": "c",
        "kind": "runs",
        "runs": {
            "a": {"commands": ["tools/x.py --o {folder}/y z"], "done_file": "y"},
            "b": {"commands": [["python", "{output}"]], "needs": ["a"]},
        },
    }
    sweep = expand_plan(plan, where="p")
    assert sweep.runs[0].commands == (("tools/x.py", "--o", "output/c/runs/a/y", "z"),)
    assert sweep.runs[1].commands == (("python", "output/c"),)
    assert sweep.runs[1].needs == ("a",)


def test_an_edited_config_changes_the_identity_but_a_comment_does_not(tmp_path):
    base, config = tmp_path / "base.yaml", tmp_path / "c.yaml"
    base.write_text("SOLVER: {MAX_ITER: 5}\n")
    config.write_text("_BASE_: base.yaml\nSEED: 1\n")

    def sha():
        forget_configs()
        return transfer(targets={"m": {"config": str(config)}}).runs[0].sha256

    first = sha()
    base.write_text("# a comment\nSOLVER: {MAX_ITER: 5}\n")
    assert sha() == first
    base.write_text("SOLVER: {MAX_ITER: 6}\n")
    assert sha() != first


def test_config_values_follow_bases_and_options():
    path = "configs/compare/mask_rcnn_shapes.yaml"
    assert config_value(path, "SOLVER.MAX_ITER") == 300
    assert config_value(path, "SOLVER.IMS_PER_BATCH") == 8
    assert config_value(path, "SOLVER.MAX_ITER", ("SOLVER.MAX_ITER", "7")) == 7
    assert config_value(path, "NO.SUCH") is None


MISTAKES = {
    "unknown key": ({"seed": [1]}, "the key seed is not known; seeds was perhaps meant"),
    "no seeds": ({"seeds": []}, "seeds is []"),
    "rate in percent": ({"prune_rates": [80]}, "prune rates ascend and lie between 0 and 1"),
    "rates that fall": ({"prune_rates": [0.9, 0.8]}, "ascend"),
    "unknown kind": ({"kind": "transfers"}, "kind is 'transfers'; choose one of transfer"),
    "missing config": ({"targets": {"m": {"config": "no.yaml"}}}, "no.yaml does not exist"),
    "no targets": ({"targets": {}}, "targets is empty"),
    "unknown metric": (
        {"targets": {"m": {"config": "configs/mask_rcnn_imp.yaml", "metric": "segm/AP"}}}, "not one of metrics"),
    "unknown source kind": ({"sources": {"a": {"kind": "lucky"}}}, "kind is 'lucky'"),
    "unknown source key": ({"sources": {"a": {"kind": "rst", "weights": "source"}}}, "weights is not known"),
    "control of nothing": ({"sources": {"a": {"kind": "random", "of": "b"}}}, "control of 'b'"),
    "two origins": (
        {"sources": {"a": {"kind": "cross_task", "config": "configs/mask_rcnn_imp.yaml", "target": "mask"}}},
        "exactly one of config, target or files"),
    "no origin": ({"sources": {"a": {"kind": "magnitude"}}}, "exactly one of files"),
    "rounds that lack a rate": ({"sources": {"own": {"kind": "own", "rounds": [0.5, 0.9]}}}, "rounds lack [0.8]"),
    "a file for some rates": ({"sources": {"a": {"kind": "checkpoint", "files": {0.8: "x"}}}}, "every prune rate"),
    "source named dense": ({"sources": {"dense": {"kind": "rst"}}}, "name of the dense cells"),
    "no places": ({"execution": {"parallel": 0}}, "parallel is 0"),
    "unknown executor": ({"execution": {"executor": "pbs"}}, "executor is 'pbs'"),
    "bad name": ({"targets": {"a b": {"config": "configs/mask_rcnn_imp.yaml"}}}, "cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_sentence(name):
    changes, words = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        transfer(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "x: !!python/object/apply:os.getcwd []\n"])
def test_a_file_that_is_no_plan(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"p\.yaml"):
        load_plan(str(path))


def test_circles_and_unknown_needs():
    runs = {"a": {"commands": ["x"], "needs": ["b"]}, "b": {"commands": ["x"], "needs": ["a"]}}
    with pytest.raises(ConfigError, match="circle"):
        expand_plan({"name": "c", "kind": "runs", "runs": runs}, where="p")
    runs = {"a": {"commands": ["x"], "needs": ["z"]}}
    with pytest.raises(ConfigError, match="needs z"):
        expand_plan({"name": "c", "kind": "runs", "runs": runs}, where="p")


PLANS = [
    path for path in sorted(ROOT.glob("configs/compare/*.yaml")) if "kind: " in path.read_text()
]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_our_plans_expand(path):
    sweep = load_plan(str(path))
    assert len(sweep.runs) >= 10
    assert {cell.run for cell in sweep.cells} <= {run.name for run in sweep.runs}
