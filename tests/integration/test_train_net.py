"""The command line, as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog

from lth_det.cli.train_net import main
from lth_det.d2.preflight import check_inputs
from lth_det.d2.setup_cfg import load_config
from lth_det.tickets.apply import count_revived
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2
ROOT = Path(__file__).resolve().parents[2]
FAST = (
    "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "2", "LTH.REWIND.ITERATION", "1",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip


def train_net(*arguments, config="quick/faster_rcnn_imp.yaml", env=None):
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/train_net.py")]
    if config:
        command += ["--config-file", str(ROOT / "configs" / config)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def sentence(process):
    """Return the sentence on standard error; torch may log a line of its own before it."""
    assert process.returncode == 2, process.stderr[-3000:]
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, process.stderr
    assert process.stderr.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    process = train_net(*FAST, "OUTPUT_DIR", folder, "LTH.CONTROLS", '("random_layer_ratios",)')
    assert process.returncode == 0, process.stderr[-3000:]
    return folder, process.stdout


def test_a_run_leaves_rounds_tickets_results_and_report(finished):
    folder, output = finished
    results = json.loads((folder / "results.json").read_text())
    assert results["complete"] is True
    assert [row["round"] for row in results["rounds"]] == [0, 1, 2]
    assert [row["name"] for row in results["controls"]] == ["random_layer_ratios"]
    for row in results["rounds"][1:]:
        ticket = load_ticket(folder / row["ticket"])
        weights = torch.load(folder / row["weights"], weights_only=True)["model"]
        assert count_revived(weights, ticket.mask) == 0
        assert row["prune_rate"] == pytest.approx(ticket.mask.prune_rate)
        assert "bbox/AP" in row["metrics"]
    assert results["dataset"]["name"] == "shapes_small_val"
    assert (folder / "report/index.html").stat().st_size > 10_000
    assert "whole run 100 %" in output
    assert str(folder / "report/index.html") in output
    lines = [
        json.loads(line) for line in (folder / "round_02/metrics.json").read_text().splitlines()
    ]
    written = {key: value for line in lines for key, value in line.items()}
    assert written["sparsity/all"] == pytest.approx(results["rounds"][2]["sparsity"])
    assert written["sparsity/predictors"] == 0


def test_the_same_command_again_trains_nothing(finished):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    again = train_net(*FAST, "OUTPUT_DIR", folder, "LTH.CONTROLS", '("random_layer_ratios",)')
    assert again.returncode == 0
    assert "Starting training" not in again.stdout
    assert (folder / "results.json").read_bytes() == before


def test_the_same_seed_gives_identical_tickets_and_metrics(finished, tmp_path):
    folder, _ = finished
    process = train_net(
        *FAST, "OUTPUT_DIR", tmp_path / "b", "LTH.CONTROLS", '("random_layer_ratios",)'
    )
    assert process.returncode == 0
    assert (tmp_path / "b/results.json").read_bytes() == (folder / "results.json").read_bytes()
    for ticket in sorted(folder.glob("round_*/ticket.safetensors")):
        other = tmp_path / "b" / ticket.relative_to(folder)
        assert other.read_bytes() == ticket.read_bytes()


def test_other_settings_in_the_same_folder_are_refused(finished):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    text = sentence(train_net(*FAST, "OUTPUT_DIR", folder, "SEED", "2"))
    assert "SEED: 1, now 2" in text
    assert (folder / "results.json").read_bytes() == before


def test_eval_only_gives_the_metrics_of_the_round(finished, tmp_path):
    folder, _ = finished
    weights = folder / "round_02/model_final.pth"
    process = train_net(
        "--eval-only", *FAST, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "e"
    )
    assert process.returncode == 0, process.stderr[-2000:]
    stored = json.loads((folder / "results.json").read_text())["rounds"][2]["metrics"]["bbox/AP"]
    assert f"copypaste: {stored:.4f}," in process.stdout


COCO = "coco/faster_rcnn_R_18_FPN_imp.yaml"
MISTAKES = {
    "missing config": ({"config": "no_such.yaml"}, [], r"no_such.yaml does not exist"),
    "no config": ({"config": ""}, [], "--config-file is missing"),
    "unknown key": ({}, ["SOLVER.MAX_ITERS", "4"], "SOLVER.MAX_ITERS"),
    "value of another type": ({}, ["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER"),
    "prune rate 1": ({}, ["LTH.TARGETS", "(0.5, 1.0)"], r"LTH.TARGETS[1] is 1.0"),
    "negative prune rate": ({}, ["LTH.PRUNE_RATE", "-0.5"], "LTH.PRUNE_RATE is -0.5"),
    "rates that fall": ({}, ["LTH.TARGETS", "(0.8, 0.5)"], "must ascend"),
    "rewind point after the end": ({}, ["LTH.REWIND.ITERATION", "12"], "LTH.REWIND.ITERATION is 12"),
    "unknown dataset": ({}, ["DATASETS.TRAIN", "('nothing_train',)"], "nothing_train"),
    "unknown criterion": ({}, ["LTH.CRITERION", "magnitud"], "magnitud"),
    "unknown retraining option": ({}, ["LTH.RETRAIN_OPTS", "['SOLVER.MAX_ITERS', 4]"], "LTH.RETRAIN_OPTS: There is no"),
    "torn retraining option": ({}, ["LTH.RETRAIN_OPTS", "['SOLVER.MAX_ITER']"], "LTH.RETRAIN_OPTS: The options must"),
    "retraining that starts after its end": (
        {}, ["LTH.REWIND.SCHEDULE", "remaining", "LTH.RETRAIN_OPTS", "['SOLVER.MAX_ITER', 2]"], "LTH.REWIND.ITERATION (3)"),
    "missing weights to rewind to": (
        {}, ["LTH.REWIND.TO", "pretrained", "LTH.REWIND.WEIGHTS", "no/such.pth"], "LTH.REWIND.WEIGHTS names no/such.pth"),
    "no weights to rewind to": ({}, ["LTH.REWIND.TO", "pretrained"], "neither LTH.REWIND.WEIGHTS nor MODEL.WEIGHTS"),
    "nothing to train on": ({}, ["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
    "nothing to test on": ({}, ["DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
    "no seed": ({}, ["SEED", "-1"], "SEED is negative"),
    "control of a round that is not there": ({}, ["LTH.CONTROL_ROUNDS", "(3,)"], "LTH.CONTROL_ROUNDS has 3"),
    "unknown control": ({}, ["LTH.CONTROLS", "('random',)"], "LTH.CONTROLS is 'random'"),
    "missing weights": ({}, ["MODEL.WEIGHTS", "no/such.pth"], "no/such.pth"),
    "no such device": ({}, ["MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu', which is no device"),
    "AMP on the CPU": ({}, ["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "True"], "SOLVER.AMP.ENABLED is on"),
}  # fmt: skip


@pytest.fixture
def mistake(monkeypatch, capsys):
    """Run the command in this process (starting one takes seconds); return the sentence it ends with."""

    def run(*arguments, config="quick/faster_rcnn_imp.yaml"):
        line = ["--config-file", str(ROOT / "configs" / config)] if config else []
        monkeypatch.setattr(sys, "argv", ["train_net.py", *line, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(name, tmp_path, mistake):
    keywords, options, expected = MISTAKES[name]
    assert expected in mistake("OUTPUT_DIR", tmp_path / "out", *options, **keywords)
    assert not (tmp_path / "out").exists()


def test_more_gpus_than_there_are(tmp_path, mistake):
    assert "--num-gpus is 99" in mistake("--num-gpus", "99", "OUTPUT_DIR", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_and_amp_on_one_that_is(tmp_path, mistake, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    text = mistake("MODEL.DEVICE", "cuda:2", "OUTPUT_DIR", tmp_path / "out")
    assert "torch finds 2 CUDA devices" in text
    cfg = load_config(
        str(ROOT / "configs/quick/faster_rcnn_imp.yaml"),
        ["MODEL.DEVICE", "cuda:1", "SOLVER.AMP.ENABLED", "True"],
    )
    check_inputs(cfg, eval_only=False)
    cfg.MODEL.DEVICE = "cpu"
    check_inputs(cfg, eval_only=True)  # evaluation is never in mixed precision


def coco_in(folder, monkeypatch):
    """Let Detectron2's built-in COCO names point into a folder, as DETECTRON2_DATASETS does at start-up."""
    for split in ("train", "val"):
        values = vars(MetadataCatalog.get(f"coco_2017_{split}"))
        file = folder / f"coco/annotations/instances_{split}2017.json"
        monkeypatch.setitem(values, "json_file", str(file))
        monkeypatch.setitem(values, "image_root", str(folder / f"coco/{split}2017"))


def test_a_missing_dataset_says_where_it_is_expected(tmp_path, mistake, monkeypatch):
    coco_in(tmp_path, monkeypatch)
    text = mistake("MODEL.DEVICE", "cpu", config=COCO)
    assert str(tmp_path / "coco") in text
    assert "shapes_train" in text


def test_a_damaged_annotation_file_is_named(tmp_path, mistake, monkeypatch):
    for split in ("train2017", "val2017"):
        (tmp_path / "coco" / split).mkdir(parents=True)
    (tmp_path / "coco/annotations").mkdir()
    for split in ("train", "val"):
        file = tmp_path / f"coco/annotations/instances_{split}2017.json"
        file.write_text('{"images": [')
    coco_in(tmp_path, monkeypatch)
    assert "instances_train2017.json" in mistake("MODEL.DEVICE", "cpu", config=COCO)


def test_an_output_folder_that_cannot_be_written(tmp_path, mistake):
    (tmp_path / "file").write_text("")
    assert "OUTPUT_DIR" in mistake(*FAST, "OUTPUT_DIR", tmp_path / "file" / "out")


def test_a_truncated_ticket_stops_the_run_and_keeps_what_is_finished(finished, tmp_path):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    ticket = copy / "round_02/ticket.safetensors"
    ticket.write_bytes(ticket.read_bytes()[:-1000])
    (copy / "round_02/stage.json").unlink()
    before = {path: path.read_bytes() for path in copy.glob("round_0[01]/*") if path.is_file()}
    text = sentence(
        train_net(*FAST, "OUTPUT_DIR", copy, "LTH.CONTROLS", '("random_layer_ratios",)')
    )
    assert "round_02/ticket.safetensors" in text
    assert all(path.read_bytes() == content for path, content in before.items())
    assert json.loads((copy / "results.json").read_text())["rounds"][1]["round"] == 1


def test_a_full_disk_is_one_sentence(tmp_path):
    # /dev/full refuses every write like a full disk; a folder on it cannot be made without privileges, so the limit on
    # file size stands in: it stops writes in the middle just so.
    command = f"ulimit -f 200; exec {sys.executable} -W ignore tools/train_net.py --config-file configs/quick/faster_rcnn_imp.yaml {' '.join(repr(item) for item in FAST)} OUTPUT_DIR {tmp_path / 'out'}"
    process = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert process.returncode == 2, process.stderr[-2000:]
    assert process.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out/results.json").exists()
