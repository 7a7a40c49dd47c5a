"""Every configuration file loads, is consistent and builds; mistakes in files and options are one sentence."""

from pathlib import Path

import pytest
import yaml
from detectron2.solver import build_lr_scheduler
from meta_models import build_meta
from torch import nn, optim

from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.setup_cfg import load_config
from lth_det.errors import ConfigError

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2] / "configs"
ALL = {
    path.relative_to(ROOT).as_posix(): tuple(yaml.safe_load(path.read_text()))
    for path in sorted(ROOT.rglob("*.yaml"))
}
# Detectron2 writes its keys in capitals; plans of sweeps have a name; what is left configures classifiers.
FILES = [name for name, keys in ALL.items() if all(key == key.upper() for key in keys)]
# A base file lacks the depth, the dataset or the like; those that define a run name their own output folder.
RUNS = [name for name in FILES if not Path(name).name.startswith("Base")]
PAPER = [name for name in RUNS if name.startswith(("coco/", "voc/")) and "shapes" not in name]


def load(name, *opts):
    return load_config(str(ROOT / name), opts)


def values(node, *keys):
    return tuple(node[key] for key in keys)


def test_the_configurations_of_the_paper_are_there():
    wanted = {
        f"coco/{task}_rcnn_R_{depth}_FPN_imp.yaml"
        for task in ("faster", "mask", "keypoint")
        for depth in (18, 50)
    }
    wanted |= {f"voc/faster_rcnn_R_{depth}_C4_imp.yaml" for depth in (18, 50)}
    assert wanted <= set(RUNS)


def test_the_other_files_are_plans_or_configure_classifiers():
    others = [name for name, keys in ALL.items() if name not in FILES and "name" not in keys]
    assert others
    folders = ("classify/", "reproduce/mehta/configs/", "reproduce/dual/configs/")
    assert all(name.startswith(folders) for name in others)


@pytest.mark.parametrize("name", FILES)
def test_loads_and_builds_with_something_to_prune(name):
    cfg = load(name)
    table = parameter_table_from_cfg(cfg, build_meta(cfg))
    assert table.prunable_parameters > 0.5 * table.total_parameters
    assert "other" not in table.groups


@pytest.mark.parametrize("name", RUNS)
def test_runs_have_a_seed_and_a_rewind_point_inside_the_schedule(name):
    cfg = load(name)
    assert cfg.LTH.ENABLED
    assert cfg.SEED >= 0
    assert cfg.LTH.REWIND.ITERATION < cfg.SOLVER.MAX_ITER
    assert cfg.SOLVER.WARMUP_ITERS < cfg.SOLVER.MAX_ITER
    pruned = cfg.clone()
    pruned.merge_from_list(list(cfg.LTH.RETRAIN_OPTS))
    assert pruned.SOLVER.MAX_ITER == cfg.SOLVER.MAX_ITER


def test_no_two_runs_write_into_the_same_folder():
    folders = {name: load(name).OUTPUT_DIR for name in PAPER}
    assert len(set(folders.values())) == len(folders)


# base LR, warm-up of the dense round, warm-up of the pruned rounds, rewind iteration (paper's runs)
SCHEDULES = {
    "coco/mask_rcnn_R_18_FPN_imp.yaml": (0.015, (5000, 2e-4), (5000, 2e-4), 7330),
    "coco/paper/mask_rcnn_R_18_FPN_imp.yaml": (0.015, (5000, 2e-4), (5000, 2e-4), 7330),
    "coco/keypoint_rcnn_R_18_FPN_imp.yaml": (0.015, (1000, 1e-3), (2000, 5e-4), 3535),
    "coco/paper/keypoint_rcnn_R_18_FPN_imp.yaml": (0.015, (1000, 1e-3), (2000, 5e-4), 3535),
    "coco/mask_rcnn_R_50_FPN_imp.yaml": (0.02, (1000, 1e-3), (2000, 5e-4), 7330),
    "coco/keypoint_rcnn_R_50_FPN_imp.yaml": (0.02, (1000, 1e-3), (2000, 5e-4), 3535),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_of_the_coco_runs(name):
    base_lr, dense, pruned, rewind = SCHEDULES[name]
    cfg = load(name)
    keys = ("IMS_PER_BATCH", "MAX_ITER", "STEPS", "MOMENTUM", "WEIGHT_DECAY", "WEIGHT_DECAY_NORM")
    assert values(cfg.SOLVER, *keys) == (16, 90_000, (60_000, 80_000), 0.9, 1e-4, 0.0)
    warm_up = ("WARMUP_ITERS", "WARMUP_FACTOR")
    assert values(cfg.SOLVER, "BASE_LR", *warm_up) == (base_lr, *dense)
    assert values(cfg.LTH.REWIND, "TO", "ITERATION", "SCHEDULE") == ("iteration", rewind, "full")
    method = values(cfg.LTH, "PRESET", "SCOPE", "CRITERION", "ROUNDS", "PRUNE_RATE")
    assert method == ("paper", "global", "magnitude", 1, 0.8)
    cfg.merge_from_list(list(cfg.LTH.RETRAIN_OPTS))
    assert values(cfg.SOLVER, *warm_up) == pruned


@pytest.mark.parametrize("name", PAPER)
def test_pre_processing_fits_the_source_of_the_weights(name):
    cfg = load(name)
    statistics = (cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    torchvision = ("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    caffe = ("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
    from_caffe = "MSRA" in cfg.MODEL.WEIGHTS or name.startswith("coco/paper/")
    assert statistics == (caffe if from_caffe else torchvision)


def test_voc_learning_rate_follows_the_authors_schedule():
    cfg = load("voc/faster_rcnn_R_18_C4_imp.yaml")
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.01 / 600)
    assert rates[600] == rates[8349] == pytest.approx(0.01)
    assert rates[8350] == rates[-1] == pytest.approx(0.001)
    assert cfg.DATASETS.TEST == ("voc_2007_test",)


def test_coco_trial_needs_no_weights():
    assert load("coco/mask_rcnn_R_18_FPN_imp.yaml").MODEL.WEIGHTS == ""


def test_options_win_over_the_file_and_bases_over_the_defaults(tmp_path):
    (tmp_path / "base.yaml").write_text("VERSION: 2\nSOLVER: {MAX_ITER: 500, BASE_LR: 0.5}\n")
    (tmp_path / "run.yaml").write_text("_BASE_: base.yaml\nSOLVER: {MAX_ITER: 400}\nVERSION: 2\n")
    cfg = load_config(str(tmp_path / "run.yaml"), ["LTH.PRUNE_RATE", "0.3", "MODEL.WEIGHTS", ""])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.LTH.PRUNE_RATE) == (400, 0.5, 0.3)
    assert not cfg.is_frozen()


def test_device_is_the_present_one_unless_set(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert load_config("").MODEL.DEVICE == "cpu"
    assert load_config("", ["MODEL.DEVICE", "cuda"]).MODEL.DEVICE == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert load_config("").MODEL.DEVICE == "cuda"


def test_frozen_layers_without_weights_are_worth_a_warning(caplog):
    load_config("", ["MODEL.BACKBONE.FREEZE_AT", "0"])
    assert not caplog.records
    load_config("", ["MODEL.BACKBONE.FREEZE_AT", "2"])
    assert "random weights" in caplog.text


BAD_FILES = {
    "VERSION: 2\nMODEL: {MASKON: True}": r"bad\.yaml: there is no config key MODEL\.MASKON \(did you mean MODEL\.MASK_ON\?\)\.",
    "VERSION: 2\nLTH: {PRUNERATE: 0.5}": r"no config key LTH\.PRUNERATE \(did you mean LTH\.PRUNE_RATE\?\)",
    "VERSION: 2\nSOLVER: {MAX_ITER: abc}": r"bad\.yaml: SOLVER\.MAX_ITER must be of type int, but .* type str\.",
    "VERSION: 2\nSOLVER: {BASE_LR: 1}": r"SOLVER\.BASE_LR must be of type float.*decimal point",
    "VERSION: 2\nSOLVER: 3": r"SOLVER must be of type node",
    "VERSION: 2\nSOLVER: {MAX_ITER: !!python/object/apply:eval ['3']}": r"bad\.yaml, line 2: .*only plain YAML",
    "VERSION: 2\nSOLVER: [3\nA: b: c": r"bad\.yaml, line 3: not valid YAML",
    "": r"bad\.yaml or a _BASE_ of it is empty",
    "- a\n- b": r"bad\.yaml holds no keys",
    "_BASE_: nowhere.yaml": r"nowhere\.yaml cannot be read \(No such file",
    "_BASE_: bad.yaml": r"_BASE_ entries of .*bad\.yaml go round in a circle",
    "VERSION: 9": r"Cannot merge a v9 config",
    "VERSION: 2\nLTH: {PRUNE_RATE: 1.0}": r"LTH\.PRUNE_RATE is 1\.0, but a prune rate lies in \[0, 1\)",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_mistakes_in_a_file_are_one_sentence(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=BAD_FILES[text]) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "bad.yaml"
    command = f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    path.write_text(f"VERSION: 2\nOUTPUT_DIR: {command}\n")
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(path.read_text())
    with pytest.raises(ConfigError):
        load_config(str(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.MAX_ITER"], r"pairs KEY VALUE, but 'SOLVER\.MAX_ITER' has no value"),
        (["FOO.BAR", "3"], r"no config key FOO\.BAR\."),
        (
            ["LTH.PRUN_RATE", "0.5"],
            r"no config key LTH\.PRUN_RATE \(did you mean LTH\.PRUNE_RATE\?\)",
        ),
        (["SOLVER.MAX_ITER.X", "3"], r"no config key SOLVER\.MAX_ITER\.X"),
        (["SOLVER.MAX_ITER", "x"], r"option SOLVER\.MAX_ITER x: .* must be of type int"),
        (["LTH.PRUNE_RATE", "1.5"], r"LTH\.PRUNE_RATE is 1\.5"),
        (["LTH", "3"], r"LTH must be of type node"),
    ],
)
def test_mistakes_in_options_are_one_sentence(opts, message):
    with pytest.raises(ConfigError, match=message):
        load_config("", opts)


def test_missing_or_binary_files_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml does not exist"):
        load_config(str(tmp_path / "nothing.yaml"))
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(str(tmp_path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="not a text file"):
        load_config(str(tmp_path / "binary.yaml"))


def test_prune_rates_that_targets_make_useless_are_named(caplog):
    file = str(ROOT / "faster_rcnn_imp.yaml")
    load_config(file, ["LTH.PRUNE_RATE", "0.9"])
    assert "LTH.PRUNE_RATE has no effect" in caplog.text
    caplog.clear()
    load_config(file, ["LTH.PRUNE_RATE", "0.9", "LTH.TARGETS", "()"])
    load_config(file)
    assert "no effect" not in caplog.text
