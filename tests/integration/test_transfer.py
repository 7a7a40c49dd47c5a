"""Tickets of classifiers and detectors in other detectors: every tensor in its place, nothing passed over."""

import copy
import json

import pytest
import torch
from detectron2.modeling import build_model
from small_cfg import ROOT, small_cfg
from transfer_cases import (
    block_convolutions,
    classifier_extra,
    command,
    narrow_classifier,
    trained_like,
    write_ticket,
)

from lth_det.cli import transfer_ticket
from lth_det.d2.checkpoint import load_ticket_into
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.train_data import seed_everything
from lth_det.d2.transfer import input_extra
from lth_det.errors import ConfigError, MaskMismatchError
from lth_det.experiments.snapshot import save_snapshot
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2

CONFIG = ROOT / "configs/quick/mask_rcnn_imp.yaml"
KEYPOINT = ROOT / "configs/quick/keypoint_rcnn_imp.yaml"
UP = "backbone.bottom_up."


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "ticket.safetensors"
    network = narrow_classifier()
    ticket = write_ticket(path, network, block_convolutions(network), extra=classifier_extra())
    return network, ticket, path


@pytest.fixture(scope="module")
def moved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    command("--config-file", CONFIG, "--source", classifier[2], "--kind", "ticket",
            "--output", folder / "t.safetensors", "--json", folder / "r.json")  # fmt: skip
    return load_ticket(folder / "t.safetensors"), json.loads((folder / "r.json").read_text())


def test_features_of_the_detector_are_those_of_the_classifier(classifier, moved, tmp_path):
    network, source = copy.deepcopy(classifier[0]), classifier[1]
    model = build_model(small_cfg(tmp_path, task="mask")).eval()
    load_ticket_into(model, moved[0])
    with torch.no_grad():
        for name, keep in source.mask.items():
            network.get_parameter(name).mul_(keep)
        images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
        expected = network.features(images)
        found = model.backbone.bottom_up(images)
    for stage, value in zip(("res2", "res3", "res4", "res5"), expected, strict=True):
        torch.testing.assert_close(found[stage], value)


def test_every_tensor_is_in_its_place_and_the_rest_is_listed(classifier, moved):
    network, source, _ = classifier
    ticket, report = moved
    state = network.state_dict()
    places = {row["source"]: row["target"] for row in report["matched"]}
    assert places["conv1.weight"] == f"{UP}stem.conv1.weight"
    assert places["bn1.num_batches_tracked"] == f"{UP}stem.conv1.norm.num_batches_tracked"
    assert places["layer2.0.downsample.0.weight"] == f"{UP}res3.0.shortcut.weight"
    assert places["layer4.0.bn2.running_var"] == f"{UP}res5.0.conv2.norm.running_var"
    assert set(places) == set(state) - {"fc.weight", "fc.bias"}
    assert report["unmatched_source"] == {"fc.weight": "classifier", "fc.bias": "classifier"}
    assert set(report["unmatched_target"]) == set(ticket.weights) - set(places.values())
    assert all(torch.equal(ticket.weights[place], state[name]) for name, place in places.items())
    assert set(ticket.mask) == {places[name] for name in source.mask}
    assert all(torch.equal(ticket.mask[places[name]], keep) for name, keep in source.mask.items())


def test_what_the_source_lacks_starts_as_the_run_of_the_seed_would(classifier, moved, tmp_path):
    cfg = small_cfg(tmp_path, task="mask")
    seed_everything(cfg.SEED)
    expected = build_model(cfg).state_dict()
    others = moved[1]["unmatched_target"]
    assert len(others) > 20
    assert all(torch.equal(moved[0].weights[name], expected[name]) for name in others)
    seeded = tmp_path / "seed.safetensors"
    command("--config-file", CONFIG, "--source", classifier[2], "--kind", "ticket",
            "--output", seeded, "--seed", "7")  # fmt: skip
    name = "backbone.fpn_lateral5.weight"
    assert not torch.equal(load_ticket(seeded).weights[name], expected[name])


@pytest.fixture(scope="module")
def keypoints(tmp_path_factory):
    """A ticket of a keypoint detector: all prunable weights masked."""
    folder = tmp_path_factory.mktemp("keypoints")
    cfg = small_cfg(folder, task="keypoint")
    model = trained_like(build_model(cfg))
    names = parameter_table_from_cfg(cfg, model).prunable_names
    write_ticket(folder / "t.safetensors", model, names, extra=input_extra(cfg))
    return model.state_dict(), folder / "t.safetensors"


def test_a_detectors_ticket_moves_without_task_heads_and_predictors(keypoints, tmp_path):
    state, path = keypoints
    command("--config-file", CONFIG, "--source", path, "--kind", "ticket",
            "--output", tmp_path / "t.safetensors", "--json", tmp_path / "r.json")  # fmt: skip
    ticket, report = (
        load_ticket(tmp_path / "t.safetensors"),
        json.loads((tmp_path / "r.json").read_text()),
    )
    assert report["groups"] == ["stem", "backbone", "fpn", "rpn", "box_head"]
    moved = {row["target"] for row in report["matched"]}
    assert all(torch.equal(ticket.weights[name], state[name]) for name in moved)
    for name in ("backbone.fpn_output2.norm.running_mean", "roi_heads.box_head.fc2.weight"):
        assert name in moved
    reasons = report["unmatched_source"] | report["unmatched_target"]
    for name in (
        "proposal_generator.rpn_head.objectness_logits.weight",
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.mask_head.predictor.weight",
    ):
        assert reasons[name] == "module group predictors is not moved"
    assert reasons["roi_heads.mask_head.mask_fcn1.weight"] == "module group mask_head is not moved"
    assert reasons["roi_heads.keypoint_head.conv_fcn1.weight"] == "the target has no such tensor"
    assert not any("_head.mask" in name or "keypoint" in name for name in ticket.mask)
    groups = report["module_groups"]
    assert groups["mask_head"]["pruned_parameters"] == 0
    assert groups["box_head"]["prune_rate"] == pytest.approx(0.7, abs=0.02)


def test_groups_can_be_chosen(keypoints, tmp_path):
    command("--config-file", KEYPOINT, "--source", keypoints[1], "--kind", "mask", "--groups",
            "rpn,keypoint_head", "--output", tmp_path / "t.safetensors")  # fmt: skip
    ticket = load_ticket(tmp_path / "t.safetensors")
    assert ticket.weights is None
    assert {name.split(".")[1] for name in ticket.mask} == {"rpn_head", "keypoint_head"}
    with pytest.raises(ConfigError, match="keypoint_head, but the target has only"):
        command("--config-file", CONFIG, "--source", keypoints[1], "--kind", "mask", "--groups",
                "keypoint_head", "--output", tmp_path / "t.safetensors")  # fmt: skip


def test_all_groups_leave_what_is_prunable_to_the_configuration(tmp_path):
    cfg = small_cfg(tmp_path, task="mask")
    model = trained_like(build_model(cfg))
    torch.save({"model": model.state_dict()}, tmp_path / "dense.pth")
    command("--config-file", CONFIG, "--source", tmp_path / "dense.pth", "--kind", "magnitude",
            "--prune-rate", 0.8, "--groups", "all", "--source-preprocessing", "target",
            "--output", tmp_path / "t.safetensors")  # fmt: skip
    ticket = load_ticket(tmp_path / "t.safetensors")
    prunable = parameter_table_from_cfg(cfg, model).prunable_names
    assert set(ticket.mask) == set(prunable)  # stem and predictors stay dense, as in a run
    values = torch.cat([model.state_dict()[name].abs().flatten() for name in prunable])
    threshold = values.kthvalue(round(0.8 * len(values))).values
    for name in prunable:
        kept = model.state_dict()[name].abs() > threshold
        assert torch.equal(ticket.mask[name].bool(), kept)


def test_start_values_from_a_file_of_the_target(classifier, tmp_path):
    cfg = small_cfg(tmp_path, task="mask")
    late = capture_weights(trained_like(build_model(cfg), seed=9).state_dict())
    save_snapshot(tmp_path / "rewind.safetensors", late, iteration=3)
    words = ("--config-file", CONFIG, "--source", classifier[2], "--kind", "ticket")
    command(*words, "--output", tmp_path / "t.safetensors", "--weights", tmp_path / "rewind.safetensors")  # fmt: skip
    ticket = load_ticket(tmp_path / "t.safetensors")
    assert ticket.weights.keys() == late.keys()
    assert all(torch.equal(ticket.weights[name], value) for name, value in late.items())
    assert len(ticket.mask) == len(classifier[1].mask)
    torch.save({"model": {**late, "more.weight": torch.ones(2)}}, tmp_path / "other.pth")
    with pytest.raises(MaskMismatchError, match=r"other\.pth.*unexpected more\.weight"):
        command(*words, "--output", tmp_path / "t.safetensors", "--weights", tmp_path / "other.pth")  # fmt: skip


def test_a_stages_folder_gives_its_trained_weights(classifier, tmp_path, capsys):
    network, source, path = classifier
    stage = tmp_path / "run/round_02"
    stage.mkdir(parents=True)
    (stage / "ticket.safetensors").write_bytes(path.read_bytes())
    trained = {name: value + 1 for name, value in network.state_dict().items()}
    torch.save({"model": trained}, stage / "model_final.pth")
    words = ("--config-file", CONFIG, "--kind", "ticket", "--output", tmp_path / "t.safetensors")
    command(*words, "--source", stage, "--json", "-")
    report = json.loads(capsys.readouterr().out)  # and nothing else on standard output
    assert report["source"]["values"] == "model_final.pth of the source"
    ticket = load_ticket(tmp_path / "t.safetensors")
    place = f"{UP}res3.0.conv1.weight"
    assert torch.equal(ticket.weights[place], trained["layer2.0.conv1.weight"])
    assert torch.equal(ticket.mask[place], source.mask["layer2.0.conv1.weight"])
    command(*words, "--source", path, "--source-weights", stage / "model_final.pth")
    assert torch.equal(
        load_ticket(tmp_path / "t.safetensors").weights[place], ticket.weights[place]
    )
    command(*words, "--source", path)  # the file alone: its rewind weights
    again = load_ticket(tmp_path / "t.safetensors")
    assert torch.equal(again.weights[place], network.state_dict()["layer2.0.conv1.weight"])


def test_mistakes_end_with_code_2_and_one_sentence(classifier, tmp_path, capsys):
    bare = tmp_path / "bare.safetensors"
    network = narrow_classifier()
    write_ticket(bare, network, block_convolutions(network), weights=False)
    full = classifier[2]
    cases = {
        "is a ticket without weights; use --kind mask": ("--source", bare),
        "none.safetensors does not exist": ("--source", tmp_path / "none.safetensors"),
        "exclude each other": ("--source", bare, "--fix", "--preset", "paper"),
        "--seed is -1": ("--source", bare, "--seed", "-1"),
        "(KeyError: 'res9'); check": ("--source", full, "MODEL.FPN.IN_FEATURES", "['res9']"),
        "cannot build the network of this configuration": (
            *("--source", full, "MODEL.META_ARCHITECTURE", "YOLO"),
        ),
    }
    for sentence, words in cases.items():
        with pytest.raises(SystemExit) as caught:
            transfer_ticket.main(
                [str(word) for word in ("--config-file", CONFIG, "--kind", "ticket",
                 "--output", tmp_path / "t.safetensors", *words)]
            )  # fmt: skip
        message = capsys.readouterr().err
        assert caught.value.code == 2
        assert sentence in message
        assert message.count("\n") == 1
    assert not (tmp_path / "t.safetensors").exists()
