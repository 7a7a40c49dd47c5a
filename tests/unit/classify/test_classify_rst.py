"""RST of a classifier: the update, the stages, and that a stopped run ends as an unbroken one."""

import json

import pytest
import torch
from test_classify_runs import files
from tiny_data import RST, image_folder, tiny_config, tiny_data

from lth_det.classify import training
from lth_det.classify.run import run_classifier
from lth_det.classify.solver import learning_rate
from lth_det.classify.stages import ClassifierStages
from lth_det.errors import RunError
from lth_det.experiments.method_specs import Transform
from lth_det.experiments.protocols import Stage
from lth_det.pruning.rst import RstSchedule
from lth_det.tickets.checkpoint_file import load_checkpoint_weights
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def no_report(request, monkeypatch):
    """Reports take most of a small run's time; one test looks at one."""
    if request.node.name != "test_a_run_of_two_cycles":
        monkeypatch.setattr("lth_det.classify.run.write_run_report", lambda folder: folder)


@pytest.fixture
def config(tmp_path, root):
    def make(*options):
        own = ("data.root", str(root), "output", str(tmp_path / "run"))
        return tiny_config(tmp_path, *own, *options, text=RST)

    return make


def test_a_run_of_two_cycles(config, tmp_path):
    results = run_classifier(config(), resume=False)
    run = tmp_path / "run"
    (record,) = results["rounds"]
    assert (record["stage"], results["method"], results["complete"]) == ("rst", "rst", True)
    assert record["prune_rate"] == pytest.approx(0.75, abs=0.01)
    first, second = record["transform"]["cycles_done"]
    assert [first["prune_rate"], second["prune_rate"]] == pytest.approx([0.5, 0.75], abs=0.01)
    assert [first["iterations"], second["iterations"]] == [6, 6]
    assert [point[0] for point in first["residuals"]] == [0, 2, 4, 6]
    masks = [
        load_ticket(run / stage / "ticket.safetensors").mask
        for stage in ("rst/transform_01", "rst/transform_02", "rst")
    ]
    assert masks[1].is_nested_in(masks[0])
    assert masks[2] == masks[1]
    # What the fine-tuning starts from: the weights that the transformation ended with, and not the initialisation.
    start = load_ticket(run / "rst" / "ticket.safetensors").weights
    trained = load_checkpoint_weights(run / "rst/transform_02/model_final.pth")
    assert all(torch.equal(start[name], trained[name]) for name in trained)
    weights = load_checkpoint_weights(run / "rst" / "model_final.pth")
    for name in masks[2]:
        assert bool((weights[name][~masks[2][name]] == 0).all())
    assert record["groups"]["stem"]["pruned_parameters"] == 0
    assert not list(run.rglob("checkpoint.pth"))
    page = (run / "report" / "index.html").read_text()
    assert "Transformation" in page
    assert "top-1" in page


def stage_of(folder, mask, *, decoupled, ramp=5, hold=1, ceiling=0.5, stop=0.0):
    schedule = RstSchedule(ramp=ramp, hold=hold, ceiling=ceiling)
    spec = Transform(mask, schedule, decoupled=decoupled, stop_residual=stop, check_period=2)
    return Stage(name="t", folder=folder, ticket=None, seed=1, transform=spec)


def mask_of(trainer):
    generator = torch.Generator().manual_seed(5)
    shapes = {entry.name: entry.shape for entry in trainer.table if entry.prunable}
    return Mask(
        {name: torch.rand(shape, generator=generator) < 0.4 for name, shape in shapes.items()}
    )


def reference(config, mask, *, decoupled):
    """The published update on the real model and batches: gradient + lambda * w on what is to be pruned, then SGD."""
    from lth_det.classify.loader import train_loader
    from lth_det.classify.models import build_model
    from lth_det.classify.transforms import Normalize

    data = tiny_data()
    model = build_model(config.model, 3, seed=1).train()
    weights = dict(model.named_parameters())
    moved = {name: torch.zeros_like(value) for name, value in weights.items()}
    batches = train_loader(data.train, config.data, batch_size=4, seed=1, span=(0, 6))
    normalize = Normalize(config.data, torch.device("cpu"))
    for step, (images, labels) in enumerate(batches):
        strength = 0.5 * min((step + 1) / 5, 1.0)
        loss = torch.nn.functional.cross_entropy(model(normalize(images)), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                pruned = ~mask[name] if name in mask else torch.zeros_like(weight, dtype=torch.bool)
                if not decoupled:
                    gradient = gradient + strength * weight * pruned
                gradient = gradient + config.solver.weight_decay * weight
                moved[name] = config.solver.momentum * moved[name] + gradient
                weight -= learning_rate(config.solver, step, 6) * moved[name]
                if decoupled:
                    weight *= 1 - strength * pruned
    return model.state_dict()


@pytest.mark.parametrize("decoupled", [False, True])
def test_the_update_is_that_of_the_paper(config, tmp_path, decoupled):
    settings = config("rst.learning_rate", "0")
    trainer = ClassifierStages(settings, tiny_data(), resume=False)
    mask = mask_of(trainer)
    result = trainer.train(stage_of(tmp_path / "t", mask, decoupled=decoupled))
    found = load_checkpoint_weights(result.weights)
    wanted = reference(settings, mask, decoupled=decoupled)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    residuals = [point[2] for point in result.details["residuals"]]
    start = trainer.initial_state(1)
    pruned = sum(start[name][~mask[name]].square().sum() for name in mask)
    whole = sum(start[name].square().sum() for name in mask)
    assert residuals[0] == pytest.approx(float((pruned / whole).sqrt()), rel=1e-5)
    assert residuals[-1] < residuals[0]


def test_the_stop_rule_ends_a_transformation_in_its_hold(config, tmp_path):
    trainer = ClassifierStages(config(), tiny_data(), resume=False)
    mask = mask_of(trainer)
    spec = {"decoupled": True, "ramp": 3, "hold": 7, "ceiling": 0.9}
    result = trainer.train(stage_of(tmp_path / "a", mask, stop=0.2, **spec))
    assert (result.iterations, result.details["stopped_early"]) == (
        4,
        True,
    )  # looked at after 2, 4, ...
    never = trainer.train(stage_of(tmp_path / "b", mask, stop=1e-30, **spec))
    assert (never.iterations, never.details["stopped_early"]) == (10, False)


def test_a_stop_at_a_checkpoint_is_not_passed_by_a_resume(config, tmp_path, monkeypatch):
    settings = config("solver.checkpoint_period", "4")
    whole = ClassifierStages(settings, tiny_data(), resume=True)
    mask = mask_of(whole)
    spec = {"decoupled": True, "ramp": 3, "hold": 7, "ceiling": 0.9, "stop": 0.2}
    save = training._save

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            whole.train(stage_of(tmp_path / "a", mask, **spec))
    resumed = whole.train(stage_of(tmp_path / "a", mask, **spec))
    unbroken = whole.train(stage_of(tmp_path / "b", mask, **spec))
    assert (resumed.iterations, resumed.details) == (unbroken.iterations, unbroken.details)
    assert resumed.iterations == 4
    assert files(tmp_path / "a") == files(tmp_path / "b")


def run_until(step, config, patch):
    """Run, and stop from outside after so many steps; a whole run if they are not reached."""
    hold, steps = training.MaskKeeper.hold, []

    def failing(self):
        hold(self)
        steps.append(1)
        if len(steps) == step:
            raise KeyboardInterrupt

    with patch.context() as inside:
        inside.setattr(training.MaskKeeper, "hold", failing)
        with pytest.raises(KeyboardInterrupt):
            run_classifier(config, resume=True)


@pytest.mark.parametrize("penalty", ["coupled", "decoupled"])
def test_a_run_that_is_stopped_and_resumed_equals_an_unbroken_one(
    config, tmp_path, monkeypatch, penalty
):
    broken = tmp_path / "broken"
    settings = config("rst.penalty", penalty, "output", str(broken))
    # In the second transformation behind a checkpoint; then, counted from there, in the fine-tuning.
    run_until(6 + 3, settings, monkeypatch)
    assert (broken / "rst/transform_01/stage.json").exists()
    assert (broken / "rst/transform_02/checkpoint.pth").exists()
    masks = {path: path.read_bytes() for path in broken.rglob("ticket.safetensors")}
    assert len(masks) == 2
    run_until(4 + 3, settings, monkeypatch)
    assert (broken / "rst/checkpoint.pth").exists()
    run_classifier(settings, resume=True)
    assert all(path.read_bytes() == content for path, content in masks.items())
    run_classifier(config("rst.penalty", penalty), resume=False)
    whole = files(tmp_path / "run")
    assert len(whole) == 3 + 1 + 3 + 3
    assert files(broken) == whole


def test_the_transformation_is_trained_as_the_preset_says_and_the_rest_as_the_solver(
    config, tmp_path, monkeypatch
):
    seen, loader = [], training.train_loader

    def noted(*arguments, **options):
        seen.append((options["batch_size"], options["span"]))
        return loader(*arguments, **options)

    monkeypatch.setattr(training, "train_loader", noted)
    options = ("rst.preset", "paper", "rst.cycles", "1", "rst.transform_iter", "4")
    run_classifier(config(*options), resume=False)
    assert seen == [(64, (0, 4)), (4, (0, 6))]
    rates = [
        json.loads((tmp_path / "run" / stage / "curve.json").read_text().splitlines()[-1])["lr"]
        for stage in ("rst/transform_01", "rst")
    ]
    assert rates[0] == 1e-3
    assert rates[1] != 1e-3


def test_a_mask_on_disk_is_never_drawn_again(config, tmp_path, monkeypatch):
    def stopped(self, stage):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierStages, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_classifier(config(), resume=False)
    path = tmp_path / "run/rst/transform_01/ticket.safetensors"
    content = path.read_bytes()  # there before the first step
    with monkeypatch.context() as patch:
        patch.setattr("lth_det.experiments.rst_run.rst_mask", None)
        patch.setattr(ClassifierStages, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_classifier(config(), resume=False)
    assert path.read_bytes() == content


def test_a_finished_run_trains_nothing_and_other_settings_are_refused(config, monkeypatch):
    first = run_classifier(config(), resume=False)
    monkeypatch.setattr(ClassifierStages, "train", None)
    assert run_classifier(config(), resume=False) == first
    with pytest.raises(RunError, match=r"rst\.power: 1\.0, now 2\.0"):
        run_classifier(config("rst.power", "2"), resume=False)
    with pytest.raises(RunError, match="method"):
        run_classifier(config("method", "imp"), resume=False)
