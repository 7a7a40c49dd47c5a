"""``LTH.TICKET``: training and evaluating a ticket that another run found."""

import json
from pathlib import Path

import pytest
import torch
from small_cfg import ROOT, small_cfg

from lth_det.cli.train_net import build_parser, run
from lth_det.d2.run import evaluate, prepare, run_settings
from lth_det.d2.stages import DetectorStages
from lth_det.d2.trainer import LotteryTrainer
from lth_det.errors import ConfigError, MaskMismatchError, RunError, ScopeError, TicketFormatError
from lth_det.experiments.snapshot import load_snapshot
from lth_det.tickets.apply import count_revived
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.serialization import load_ticket, save_ticket
from lth_det.tickets.ticket import Provenance, Ticket

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# The predecessor's prunable set with a frozen stem and res2, as in its COCO runs.
OPTIONS = (
    "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "2", "LTH.REWIND.ITERATION", "2",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "LTH.PRESET", "paper", "MODEL.BACKBONE.FREEZE_AT", "2",
    "LTH.TARGETS", "(0.6,)", "LTH.REWIND.SCHEDULE", "full", "LTH.RETRAIN_OPTS", "['SOLVER.BASE_LR', 0.003, 'OUTPUT_DIR', 'elsewhere']",
)  # fmt: skip


def arguments(*options, config="faster", flags=()):
    file = str(ROOT / f"configs/quick/{config}_rcnn_imp.yaml")
    return build_parser().parse_args(["--config-file", file, *flags, *OPTIONS, *map(str, options)])


def command(*options, **keywords):
    return run(arguments(*options, **keywords))


def contents(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.txt"
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found") / "out"
    command("OUTPUT_DIR", folder)
    return folder


def model_of(path):
    return torch.load(path, weights_only=True)["model"]


def test_frozen_weights_and_running_statistics_go_back_too(found):
    # One round of the paper's preset: the frozen stem is pruned once and stays so, nothing else of it moves.
    ticket = load_ticket(found / "round_01/ticket.safetensors")
    snapshot, final = (
        load_snapshot(found / "round_00/rewind.safetensors"),
        model_of(found / "round_01/model_final.pth"),
    )
    dense = model_of(found / "round_00/model_final.pth")
    stem = "backbone.bottom_up.stem.conv1.weight"
    assert not ticket.mask[stem].all()
    assert torch.equal(final[stem], snapshot[stem] * ticket.mask[stem])
    assert torch.equal(dense[stem], snapshot[stem])
    assert ticket.weights.keys() == snapshot.keys() == final.keys()
    assert all(torch.equal(ticket.weights[name], snapshot[name]) for name in snapshot)
    # Batch statistics were those of the snapshot at the start of the round: 4 more batches were counted from there.
    counters = [name for name in snapshot if name.endswith("num_batches_tracked")]
    assert counters
    assert all((int(snapshot[name]), int(final[name])) == (2, 6) for name in counters)
    assert count_revived(final, ticket.mask) == 0
    kept = "backbone.fpn_lateral5.weight"
    assert (final[kept] != snapshot[kept])[ticket.mask[kept]].any()
    assert not (found / "elsewhere").exists()


def test_a_ticket_trains_like_the_round_that_found_it(found, tmp_path):
    path = found / "round_01/ticket.safetensors"
    command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", path)
    results = json.loads((tmp_path / "out/results.json").read_text())
    expected = json.loads((found / "results.json").read_text())["rounds"][1]
    (row,) = results["rounds"]
    assert results["complete"] is True
    assert row["weights_sha256"] == expected["weights_sha256"]
    for key in ("round", "prune_rate", "sparsity", "metrics", "ticket_sha256", "layers"):
        assert row[key] == expected[key]
    assert (tmp_path / "out/ticket/ticket.safetensors").read_bytes() == path.read_bytes()
    assert (tmp_path / "out" / row["predictions"]).exists()
    assert (tmp_path / "out/report/index.html").exists()
    (times,) = json.loads((tmp_path / "out/timings.json").read_text())["rounds"]
    assert times["train_seconds"] > 0
    assert times["eval_seconds"] > 0
    assert len((tmp_path / "out/report/timings.csv").read_text().splitlines()) == 2
    # The ticket is known by what it holds: another place of the same file is the same run, already finished.
    before = (tmp_path / "out/results.json").read_bytes()
    (tmp_path / "moved.safetensors").write_bytes(path.read_bytes())
    (tmp_path / "out/ticket/last_checkpoint").unlink()
    command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", tmp_path / "moved.safetensors")
    assert (tmp_path / "out/results.json").read_bytes() == before
    assert not (tmp_path / "out/ticket/last_checkpoint").exists()
    other = load_ticket(path)
    save_ticket(tmp_path / "other.safetensors", Ticket(other.mask, None, other.provenance))
    with pytest.raises(RunError, match=r"LTH\.TICKET"):
        command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", tmp_path / "other.safetensors")


def test_a_run_from_before_the_key_existed_goes_on(found):
    assert "LTH.TICKET" not in run_settings(prepare(arguments("OUTPUT_DIR", found)))


def hand_made(cfg, path, *, prune):
    torch.manual_seed(0)
    model = LotteryTrainer.build_model(cfg)
    weights = dict(model.named_parameters())
    mask = Mask({name: torch.rand(weights[name].shape) > 0.5 for name in prune})
    provenance = Provenance(
        "magnitude", "global", 0.5, {}, 0.4, 3, None, "another task", "", 1, "init"
    )
    save_ticket(path, Ticket(mask, capture_weights(model.state_dict()), provenance))
    return path


@pytest.mark.parametrize("direction", ["mask ticket, box model", "box ticket, mask model"])
def test_a_ticket_of_another_model_trains_nothing(found, tmp_path, direction):
    if direction.startswith("mask"):
        cfg = small_cfg(tmp_path / "x", "MODEL.BACKBONE.FREEZE_AT", "2", task="mask")
        names = ("backbone.fpn_lateral5.weight", "roi_heads.mask_head.mask_fcn1.weight")
        path, config = hand_made(cfg, tmp_path / "mask.safetensors", prune=names), "faster"
    else:
        path, config = found / "round_01/ticket.safetensors", "mask"
    with pytest.raises(
        MaskMismatchError, match=r"another model.*roi_heads\.mask_head\.mask_fcn1\.weight"
    ) as caught:
        command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", path, config=config)
    assert "roi_heads.mask_head.predictor.bias" in str(caught.value)  # every difference
    assert not (tmp_path / "out/ticket").exists()
    assert not (tmp_path / "out/results.json").exists()


def test_a_ticket_with_another_prunable_set_is_refused(tmp_path):
    names = ("roi_heads.box_predictor.cls_score.weight",)
    cfg = small_cfg(tmp_path / "x", "MODEL.BACKBONE.FREEZE_AT", "2")
    path = hand_made(cfg, tmp_path / "t.safetensors", prune=names)
    with pytest.raises(ScopeError, match=r"cls_score"):
        command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", path)


def test_mistakes_with_tickets_leave_no_folder(found, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((found / "round_01/ticket.safetensors").read_bytes()[:-1000])
    for flags in ((), ("--eval-only",)):
        with pytest.raises(TicketFormatError, match=r"cut\.safetensors"):
            command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", path, flags=flags)
        with pytest.raises(TicketFormatError, match=r"none\.safetensors"):
            command(
                "OUTPUT_DIR",
                tmp_path / "out",
                "LTH.TICKET",
                tmp_path / "none.safetensors",
                flags=flags,
            )
    good = found / "round_01/ticket.safetensors"
    with pytest.raises(ConfigError, match=r"LTH\.ENABLED is False"):
        command("OUTPUT_DIR", tmp_path / "out", "LTH.TICKET", good, "LTH.ENABLED", "False")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def evaluated(monkeypatch):
    """The state dict of the last model that was evaluated, in place of the evaluation."""
    state = {}
    monkeypatch.setattr(
        LotteryTrainer,
        "test",
        lambda cfg, model, *_: state.update(capture_weights(model.state_dict())) or {},
    )
    return state


def test_evaluation_puts_the_mask_on_the_loaded_weights(found, tmp_path, evaluated):
    path, weights = found / "round_01/ticket.safetensors", found / "round_00/model_final.pth"
    command(
        "OUTPUT_DIR", tmp_path, "LTH.TICKET", path, "MODEL.WEIGHTS", weights, flags=("--eval-only",)
    )
    ticket, dense = load_ticket(path), model_of(weights)
    for name, value in dense.items():
        assert torch.equal(
            evaluated[name], value * ticket.mask[name] if name in ticket.mask else value
        )
    command(
        "OUTPUT_DIR", tmp_path, "LTH.TICKET", path, flags=("--eval-only",)
    )  # no weights named: the ticket's
    for name, value in ticket.weights.items():
        assert torch.equal(
            evaluated[name], value * ticket.mask[name] if name in ticket.mask else value
        )


def test_evaluation_takes_the_last_checkpoint_when_asked_to_resume(found, tmp_path, evaluated):
    cfg = small_cfg(tmp_path, "MODEL.BACKBONE.FREEZE_AT", "2")
    (tmp_path / "last_checkpoint").write_text("here.pth")
    (tmp_path / "here.pth").write_bytes((found / "round_01/model_final.pth").read_bytes())
    evaluate(cfg, resume=True)
    expected = model_of(found / "round_01/model_final.pth")
    assert all(torch.equal(evaluated[name], value) for name, value in expected.items())


def test_evaluation_and_plain_training_leave_the_files_of_a_run_alone(found, evaluated):
    before = contents(found)
    weights = found / "round_00/model_final.pth"
    command("OUTPUT_DIR", found, "MODEL.WEIGHTS", weights, flags=("--eval-only",))
    after = contents(found)
    assert {path: after[path] for path in before} == before
    assert all("evaluation" in path.parts for path in after.keys() - before.keys())
    with pytest.raises(RunError, match="holds a lottery-ticket run"):
        command("OUTPUT_DIR", found, "LTH.ENABLED", "False")
    assert {path: contents(found)[path] for path in before} == before


def test_a_round_stopped_before_its_evaluation_is_evaluated_when_resumed(
    found, tmp_path, monkeypatch
):
    def crash(*_):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(LotteryTrainer, "test", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            command("OUTPUT_DIR", tmp_path / "out")
    assert (tmp_path / "out/round_00/model_final.pth").exists()
    command("OUTPUT_DIR", tmp_path / "out", flags=("--resume",))
    assert (tmp_path / "out/results.json").read_bytes() == (found / "results.json").read_bytes()


def test_overlay_takes_what_the_file_has_and_keeps_the_rest(found, tmp_path):
    stages = DetectorStages(prepare(arguments("OUTPUT_DIR", tmp_path)), resume=False)
    snapshot = load_snapshot(found / "round_00/rewind.safetensors")
    name = "backbone.fpn_lateral5.weight"
    torch.save({"model": {name: torch.full_like(snapshot[name], 2.0)}}, tmp_path / "some.pth")
    merged = stages.overlay(tmp_path / "some.pth", snapshot)
    assert (merged[name] == 2).all()
    assert all(torch.equal(merged[key], snapshot[key]) for key in snapshot if key != name)
    torch.save({"model": {"nothing.weight": torch.ones(2)}}, tmp_path / "none.pth")
    with pytest.raises(RunError, match="nothing was loaded"):
        stages.overlay(tmp_path / "none.pth", snapshot)


def test_several_test_datasets_have_their_own_names(tmp_path):
    names = "('shapes_small_val', 'shapes_small_train')"
    command("OUTPUT_DIR", tmp_path / "out", "DATASETS.TEST", names)
    row = json.loads((tmp_path / "out/results.json").read_text())["rounds"][1]
    assert {"bbox/AP", "shapes_small_train/bbox/AP"} <= row["metrics"].keys()
    assert row["predictions"] == "round_01/inference/shapes_small_val/coco_instances_results.json"
    assert Path(tmp_path / "out" / row["predictions"]).exists()
