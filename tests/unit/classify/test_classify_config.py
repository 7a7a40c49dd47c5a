import dataclasses
from pathlib import Path

import pytest
from tiny_data import tiny_config

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.config_file import flatten, load_config
from lth_det.classify.dry_run import dry_run, dry_run_text
from lth_det.classify.key_names import own_key_names, translated
from lth_det.errors import ConfigError, RunError

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "classify"


def test_options_have_the_last_word_and_lists_may_have_round_brackets(tmp_path):
    config = tiny_config(
        tmp_path, "pruning.targets", "(0.3, 0.6,)", "solver.lr", "1e-3", "seed", "7"
    )
    assert config.pruning.targets == (0.3, 0.6)
    assert config.solver.lr == 0.001  # YAML reads 1e-3 as text
    assert config.seed == 7
    assert config.model.widths == (4, 6)


def test_a_base_file_is_changed_key_by_key_and_lists_are_replaced(tmp_path):
    (tmp_path / "base.yaml").write_text("pruning: {targets: [0.1, 0.2], scope: layer}\nseed: 3\n")
    (tmp_path / "top.yaml").write_text("_BASE_: base.yaml\npruning: {targets: [0.5]}\n")
    config = load_config(str(tmp_path / "top.yaml"))
    assert (config.pruning.targets, config.pruning.scope, config.seed) == ((0.5,), "layer", 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["solver.max_iters", "3"],
            "no config key solver.max_iters (did you mean solver.max_iter?)",
        ),
        (["solver", "3"], "solver is 3, but is a section"),
        (["solver.lr", "fast"], "solver.lr is 'fast', but must be a number"),
        (["solver.max_iter", "2.5"], "solver.max_iter is 2.5, but must be a whole number"),
        (["seed", "true"], "seed is True, but must be a whole number"),
        (["solver.lr"], "pairs KEY VALUE"),
        (["pruning.targets", "0.5"], "must be a list"),
        (["pruning.targets", "[0.5, 0.2]"], "that ascend"),
        (["pruning.targets", "[1.0]"], "in [0, 1)"),
        (["pruning.groups.neck", "0.5"], "pruning.groups is 'neck'; choose one of stem"),
        (["pruning.groups.stem", "1.5"], "pruning.groups.stem is 1.5"),
        (["pruning.criterion", "size"], "pruning.criterion is 'size'"),
        (["data.name", "mnist"], "data.name is 'mnist'; choose one of"),
        (["data.mean", "[1.0]"], "three values"),
        (["data.std", "[1, 0, 1]"], "above 0"),
        (["model.widths", "[4, 6, 8]"], "model.widths has 3 stages"),
        (["solver.max_iter", "0", "solver.epochs", "0"], "both 0"),
        (["rewind.to", "pretrained"], "neither rewind.weights nor model.weights"),
        (["device", "tpu"], "device is 'tpu'"),
        (["control_rounds", "[3]"], "control_rounds has 3"),
        (["seed", "!!python/object:os.system x"], "not plain YAML"),
        (["transfer.head_layers", "[3]"], "1 or 2 only"),
        (["transfer.rounds", "[1, 1]"], "transfer.rounds names 1 twice"),
        (["controls", "[perturbed, perturbed]"], "controls names 'perturbed' twice"),
        (["transfer.source", "a.yaml", "transfer.ticket", "b"], "both given"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(tmp_path, options, words):
    with pytest.raises(ConfigError) as error:
        tiny_config(tmp_path, *options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("solver: {lr: 0.1, momentun: 0.9}\n", "did you mean solver.momentum?"),
        ("a: [1\n", "not plain YAML"),
        ("- 1\n", "holds no keys"),
        ("x: !!python/name:os.system\n", "not plain YAML"),
        ("_BASE_: nowhere.yaml\n", "nowhere.yaml does not exist"),
        ("_BASE_: tiny.yaml\n", "in a circle"),
    ],
)
def test_files_with_mistakes(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        tiny_config(tmp_path, text=text)
    assert words in str(error.value)


def test_flat_settings_hold_every_field(tmp_path):
    flat = flatten(tiny_config(tmp_path))
    for section in dataclasses.fields(ClassifyConfig):
        assert any(key == section.name or key.startswith(f"{section.name}.") for key in flat)


PRUNABLE = {
    "imagenet_resnet18_imp.yaml": (11_166_912, 11_689_512),
    # Convolutions of torchvision's ResNet-50: all parameters less batch norm (53,120) and classifier (2,049,000).
    "imagenet_resnet50_imp.yaml": (25_557_032 - 53_120 - 2_049_000, 25_557_032),
    "cifar10_resnet18_imp.yaml": (11_159_232, 11_173_962),
    "shapes_cls_rst.yaml": (305_664, 310_359 + 26 * 129),
    "shapes_cls_imp.yaml": (305_664, 310_359 + 26 * 129),
    "mehta_shapes.yaml": (308_016, 310_359 + 13 * 129),
    "mehta_shapes_source.yaml": (308_016, 310_359 + 28 * 129),
    "quick/shapes_cls_imp.yaml": None,
    "quick/shapes_cls_rst.yaml": None,
    "quick/mehta_shapes.yaml": None,
    "quick/mehta_shapes_source.yaml": None,
}


@pytest.mark.parametrize("name", sorted(PRUNABLE))
def test_dry_run_of_our_configurations_needs_no_data(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["pruning.rounds", "2"] if name.startswith("cifar10") else []  # saves time
    report = dry_run(load_config(str(CONFIGS / name), options))
    if PRUNABLE[name] is not None:
        assert (report["prunable_parameters"], report["total_parameters"]) == PRUNABLE[name]
    rates = [row["prune_rate"] for row in report["rounds"]]
    assert rates == sorted(rates)
    text = dry_run_text(report)
    assert report["data"]["expected"] in text
    assert report["data"]["found"] is (report["data"]["name"] == "shapes_cls")


def test_every_configuration_is_in_the_list_above():
    files = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert files - {"mehta_base.yaml"} == set(PRUNABLE)


def test_mehta_rounds_remove_a_fifth_of_what_is_left():
    report = dry_run(load_config(str(CONFIGS / "quick" / "mehta_shapes_source.yaml")))
    assert [round(row["prune_rate"], 2) for row in report["rounds"]] == [0.20, 0.36]
    for row in report["rounds"]:
        assert row["groups"]["head"]["pruned_parameters"] == 0
        assert row["groups"]["stem"]["pruned_parameters"] > 0


def test_dry_run_refuses_a_plan_that_prunes_nothing(tmp_path):
    config = tiny_config(tmp_path, "pruning.groups", "{backbone: 0.0}")
    with pytest.raises(ConfigError, match=r"No weight is prunable: pruning\.groups leaves"):
        dry_run(config)


def test_unknown_model_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="resnet18"):
        dry_run(tiny_config(tmp_path, "model.name", "resnet19"))


def test_errors_of_shared_parts_name_our_keys():
    text = "LTH.CONTROLS has 'x'; LTH.CONTROL_ROUNDS; LTH.CRITERION_BATCHES; LTH.GROUP_PRUNE_RATE.HEAD is 0.5; OUTPUT_DIR."
    assert translated(text) == (
        "controls has 'x'; control_rounds; pruning.criterion_batches; pruning.groups.head is 0.5; output."
    )
    text = (
        "cannot be pruned within LTH.SENSITIVITY.RATES; leave these groups dense (LTH.PRUNE_ONLY)."
    )
    assert "LTH" not in translated(text)
    with pytest.raises(RunError, match="choose another output"), own_key_names():
        raise RunError("choose another OUTPUT_DIR")
