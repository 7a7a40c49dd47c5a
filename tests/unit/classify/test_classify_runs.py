import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import CLASSES, TINY, image_folder, tiny_config, tiny_data

from lth_det.classify import training
from lth_det.classify.run import run_classifier
from lth_det.classify.stages import ClassifierStages
from lth_det.errors import ConfigError, RunError
from lth_det.experiments.protocols import Stage
from lth_det.tickets.checkpoint_file import load_checkpoint_weights
from lth_det.tickets.serialization import load_ticket

DRIVER = Path(__file__).with_name("kill_driver.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def no_report(request, monkeypatch):
    """Reports take most of a small run's time; one test looks at one."""
    if request.node.name != "test_a_run_of_two_rounds":
        monkeypatch.setattr("lth_det.classify.run.write_run_report", lambda folder: folder)


@pytest.fixture
def config(tmp_path, root):
    def make(*options):
        output = str(tmp_path / "run")
        return tiny_config(tmp_path, "data.root", str(root), "output", output, *options)

    return make


def files(folder):
    """Content of what a run leaves that must be equal, by name."""
    kinds = ("*.safetensors", "results.json", "curve.json")
    found = {
        p.relative_to(folder): p.read_bytes() for kind in kinds for p in sorted(folder.rglob(kind))
    }
    for path in sorted(folder.rglob("model_final.pth")):
        found[path.relative_to(folder)] = [
            (name, value.numpy().tobytes()) for name, value in load_checkpoint_weights(path).items()
        ]
    return found


def test_a_run_of_two_rounds(config, tmp_path):
    results = run_classifier(config(), resume=False)
    run = tmp_path / "run"
    assert results["complete"]
    assert [r["stage"] for r in results["rounds"]] == ["round_00", "round_01", "round_02"]
    assert [round(r["prune_rate"], 2) for r in results["rounds"]] == [0.0, 0.5, 0.8]
    assert results == json.loads((run / "results.json").read_text())
    for record in results["rounds"]:
        assert set(record["metrics"]) == {"top1", "top5"}
        assert record["groups"]["stem"]["pruned_parameters"] == 0
        assert record["groups"]["head"]["pruned_parameters"] == 0
    assert results["dataset"]["classes"] == list(CLASSES)
    assert (run / "report" / "index.html").exists()
    assert not list(run.rglob("checkpoint.pth"))
    extra = load_ticket(run / "round_01" / "ticket.safetensors").provenance.extra
    assert extra["architecture"] == "narrow_resnet"
    assert json.loads(extra["architecture_options"])["widths"] == [4, 6]
    assert json.loads(extra["preprocessing"]) == {
        "format": "RGB", "mean": [116.0] * 3, "std": [58.0] * 3
    }  # fmt: skip
    assert extra["stride_in_1x1"] == "false"


def test_the_mask_follows_the_trained_magnitudes_and_weights_go_back(config, tmp_path):
    # The predecessor's ImageNet script rewound first and computed the mask from the initial weights.
    run_classifier(config(), resume=False)
    run = tmp_path / "run"
    trained = load_checkpoint_weights(run / "round_00" / "model_final.pth")
    early = load_file(run / "round_00" / "rewind.safetensors")
    ticket = load_ticket(run / "round_01" / "ticket.safetensors")
    assert set(ticket.mask) == {
        name for name in trained if name.startswith("layer") and trained[name].ndim == 4
    }

    def kept_by(weights):
        scores = torch.cat([weights[name].abs().flatten() for name in ticket.mask])
        order = scores.argsort(descending=True, stable=True)
        keep = torch.zeros(len(scores), dtype=torch.bool)
        keep[order[: ticket.mask.kept]] = True
        return keep

    mask = torch.cat([ticket.mask[name].flatten() for name in ticket.mask])
    assert torch.equal(mask, kept_by(trained))
    assert not torch.equal(mask, kept_by(early))
    # Training on after the snapshot did not change it: the ticket has the values of iteration 2.
    assert all(torch.equal(ticket.weights[name], early[name]) for name in early)
    assert not torch.equal(early["layer1.0.conv1.weight"], trained["layer1.0.conv1.weight"])
    assert int(early["bn1.num_batches_tracked"]) == 2


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_pruned_weights_stay_zero_through_momentum(config, tmp_path, optimizer):
    # From the final weights, so that the optimizer's state has something to push pruned weights with.
    run_classifier(config("solver.optimizer", optimizer, "rewind.to", "final"), resume=False)
    for number in (1, 2):
        folder = tmp_path / "run" / f"round_{number:02d}"
        weights = load_checkpoint_weights(folder / "model_final.pth")
        mask = load_ticket(folder / "ticket.safetensors").mask
        for name in mask:
            assert bool((weights[name][~mask[name]] == 0).all())
            assert bool((weights[name][mask[name]] != 0).all())


def test_a_run_that_is_killed_and_resumed_equals_an_unbroken_one(config, tmp_path):
    (tmp_path / "file.yaml").write_text(
        TINY.replace("{name:", f"{{root: {config().data.root}, name:", 1)
    )
    broken = tmp_path / "broken"

    def until(step):
        command = [sys.executable, str(DRIVER), str(tmp_path / "file.yaml"), str(broken), str(step)]
        return subprocess.run(command, check=False, capture_output=True).returncode

    # In round 0 behind a checkpoint; then, counted from there, in round 1.
    assert until(3) == -9
    assert (broken / "round_00" / "checkpoint.pth").exists()
    assert not (broken / "round_00" / "stage.json").exists()
    assert until(4 + 5) == -9
    assert (broken / "round_00" / "stage.json").exists()
    assert (broken / "round_01" / "checkpoint.pth").exists()
    run_classifier(config("output", str(broken)), resume=True)
    run_classifier(config(), resume=False)
    whole = files(tmp_path / "run")
    assert len(whole) == 1 + 1 + 2 + 3 + 3
    assert files(broken) == whole


def stop_at_step_five(config, monkeypatch):
    """Start a run and stop it after five steps; return the steps, to which nothing is added from then on."""
    hold, steps = training.MaskKeeper.hold, []

    def failing(self):
        hold(self)
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.MaskKeeper, "hold", failing)
        with pytest.raises(KeyboardInterrupt):
            run_classifier(config(), resume=False)
    return steps


def test_without_resume_an_unfinished_stage_starts_again(config, tmp_path, monkeypatch):
    hold, steps = training.MaskKeeper.hold, stop_at_step_five(config, monkeypatch)
    assert (tmp_path / "run" / "round_00" / "checkpoint.pth").exists()
    with monkeypatch.context() as patch:
        patch.setattr(training.MaskKeeper, "hold", lambda self: (hold(self), steps.append(1)))
        run_classifier(config(), resume=False)
    assert len(steps) == 5 + 3 * 6
    first = files(tmp_path / "run")
    run_classifier(config("output", str(tmp_path / "other")), resume=False)
    assert files(tmp_path / "other") == first


def test_a_finished_run_trains_nothing(config, monkeypatch):
    first = run_classifier(config(), resume=False)
    monkeypatch.setattr(ClassifierStages, "train", None)
    assert run_classifier(config(), resume=False) == first


def test_controls_can_be_added_to_a_finished_run(config):
    run_classifier(config(), resume=False)
    names = ["random_layer_ratios", "random_reinit", "dense_rewound", "dense_same_budget"]
    results = run_classifier(config("controls", f"[{', '.join(names)}]"), resume=False)
    assert [record["name"] for record in results["controls"]] == names
    by_name = {record["name"]: record for record in results["controls"]}
    last = results["rounds"][-1]
    layers = [row["pruned_parameters"] for row in last["layers"]]
    found = [row["pruned_parameters"] for row in by_name["random_layer_ratios"]["layers"]]
    assert found == layers
    assert by_name["dense_rewound"]["prune_rate"] == 0
    assert by_name["random_reinit"]["weights_sha256"] != last["weights_sha256"]


def test_another_configuration_in_the_same_folder_is_refused(config):
    run_classifier(config(), resume=False)
    with pytest.raises(RunError, match=r"solver\.lr: 0\.05, now 0\.1"):
        run_classifier(config("solver.lr", "0.1"), resume=False)


def test_a_training_that_diverges_says_so(config):
    with pytest.raises(RunError, match="diverged"):
        run_classifier(config("solver.lr", "1e30"), resume=False)


def test_a_damaged_checkpoint_of_a_stage_is_one_sentence(config, tmp_path):
    folder = tmp_path / "run" / "round_00"
    folder.mkdir(parents=True)
    for content in (b"text", b""):
        (folder / "checkpoint.pth").write_bytes(content)
        with pytest.raises(RunError, match=r"checkpoint\.pth"):
            run_classifier(config(), resume=True)


def test_a_stage_after_the_rewind_point_needs_its_snapshot(config, tmp_path, monkeypatch):
    stop_at_step_five(config, monkeypatch)
    (tmp_path / "run" / "round_00" / "rewind.safetensors").unlink()
    with pytest.raises(RunError, match="after the rewind point"):
        run_classifier(config(), resume=True)


def test_the_rewind_point_must_lie_in_the_schedule(config):
    with pytest.raises(ConfigError, match="rewind point is iteration 9"):
        run_classifier(config("rewind.epoch", "2"), resume=False)


def test_pretrained_start_and_rewinding(config, tmp_path):
    path = tmp_path / "weights.pth"
    run_classifier(config("output", str(tmp_path / "first")), resume=False)
    weights = load_checkpoint_weights(tmp_path / "first" / "round_00" / "model_final.pth")
    torch.save(weights, path)
    run_classifier(config("model.weights", str(path), "rewind.to", "pretrained"), resume=False)
    ticket = load_ticket(tmp_path / "run" / "round_01" / "ticket.safetensors")
    assert all(torch.equal(ticket.weights[name], weights[name]) for name in weights)
    assert ticket.provenance.source_weights == str(path)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "synflow"])
def test_criteria_with_gradients_know_classifiers(config, criterion):
    options = ("pruning.criterion", criterion, "pruning.targets", "[0.5]")
    results = run_classifier(config(*options, "pruning.mask_from", "start"), resume=False)
    assert results["rounds"][1]["prune_rate"] == pytest.approx(0.5, abs=0.01)


def test_a_longer_schedule_of_a_stage_is_stretched(config, tmp_path):
    trainer = ClassifierStages(config(), tiny_data(), resume=False)
    stage = Stage(name="long", folder=tmp_path / "long", ticket=None, seed=1, iterations=40)
    assert trainer.train(stage).iterations == 40
    rows = [json.loads(line) for line in (tmp_path / "long/curve.json").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [20, 40]
    assert rows[1]["lr"] < rows[0]["lr"]


def test_mixed_precision_keeps_the_zeros_and_the_type(config, tmp_path):
    run_classifier(config("solver.amp", "true", "pruning.targets", "[0.5]"), resume=False)
    run_classifier(
        config("output", str(tmp_path / "full"), "pruning.targets", "[0.5]"), resume=False
    )
    mixed, full = (
        load_checkpoint_weights(tmp_path / name / "round_01" / "model_final.pth")
        for name in ("run", "full")
    )
    assert {value.dtype for value in mixed.values()} == {torch.float32, torch.int64}
    assert not torch.equal(mixed["layer1.0.conv1.weight"], full["layer1.0.conv1.weight"])


def test_a_classifier_learns_the_colours(config):
    # 60 steps on noise with a tint: far above the third of the classes that guessing finds.
    options = ("solver.max_iter", "60", "pruning.targets", "[0.5]", "solver.checkpoint_period", "0")
    results = run_classifier(config(*options), resume=False)
    assert min(record["metrics"]["top1"] for record in results["rounds"]) > 80


def test_scoring_repeats_its_losses_and_leaves_the_statistics(config):
    trainer = ClassifierStages(config(), tiny_data(), resume=False)
    weights = trainer.initial_state(3)
    state = torch.get_rng_state()
    with trainer.scoring(weights, batches=2, seed=1) as scoring:
        losses = [float(scoring.loss().detach()) for _ in range(4)]
        found = scoring.model.state_dict()
        assert all(torch.equal(found[n], weights[n]) for n in weights if "running" in n)
    assert losses[:2] == losses[2:]
    assert losses[0] != losses[1]
    assert torch.equal(torch.get_rng_state(), state)
    with trainer.scoring(weights, batches=2, seed=1) as scoring:
        assert float(scoring.loss().detach()) == losses[0]
