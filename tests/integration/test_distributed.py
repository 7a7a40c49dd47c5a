"""Two processes on the CPU, started by torchrun as a user would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lth_det.tickets.apply import count_revived
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2
ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2", "LTH.REWIND.ITERATION", "1",
    "LTH.TARGETS", "(0.6,)", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip
# Each image gives the same number of samples to each loss, and none is drawn: then the mean over two processes is the
# mean over the whole batch. Batch normalisation would see half a batch.
NOTHING_DRAWN = (
    "MODEL.RESNETS.NORM", "", "MODEL.FPN.NORM", "", "LTH.OPTIMIZER", "SGD", "SOLVER.BASE_LR", "0.05",
    "SOLVER.WARMUP_ITERS", "0", "MODEL.RPN.BATCH_SIZE_PER_IMAGE", "100000", "MODEL.RPN.POSITIVE_FRACTION", "1.0",
    "MODEL.RPN.NMS_THRESH", "1.0", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "16", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", "False",
)  # fmt: skip


def train_net(folder, *options, processes, flags=()):
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["tools/train_net.py", "--config-file", "configs/quick/faster_rcnn_imp.yaml"]
    return subprocess.run(
        [*command, *flags, *SMALL, "OUTPUT_DIR", str(folder), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def model(folder, stage):
    return torch.load(folder / stage / "model_final.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for processes in (1, 2):
        done = train_net(folder / str(processes), *NOTHING_DRAWN, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "1", folder / "2"


def test_two_processes_train_what_one_does_with_the_same_batch(runs):
    one, two = (model(run, "round_00") for run in runs)
    assert list(one) == list(two)  # in particular no "module." from the wrapper
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-3, atol=2e-6), name
    start = torch.load(runs[0] / "round_00/model_0000001.pth", weights_only=True)["model"]
    moved = max(float((one[name] - start[name]).abs().max()) for name in one)
    assert moved > 1e-3  # the last step alone moves weights by far more than the tolerance
    masks = [load_ticket(run / "round_01/ticket.safetensors").mask for run in runs]
    assert masks[0].overlap(masks[1]).iou > 0.999


def test_pruned_weights_stay_zero_in_every_file_of_two_processes(runs):
    ticket = load_ticket(runs[1] / "round_01/ticket.safetensors")
    files = sorted((runs[1] / "round_01").glob("model_*.pth"))
    assert len(files) == 2
    for file in files:
        weights = torch.load(file, weights_only=True)["model"]
        assert count_revived(weights, ticket.mask) == 0


def test_all_validation_images_are_evaluated_and_one_process_writes(runs):
    results = json.loads((runs[1] / "results.json").read_text())
    assert results["complete"] is True
    images = {
        image["id"]
        for image in json.loads(Path(results["dataset"]["json_file"]).read_text())["images"]
    }
    rows = [
        json.loads((run / "round_00/inference/coco_instances_results.json").read_text())
        for run in runs
    ]
    assert {row["image_id"] for row in rows[1]} == {row["image_id"] for row in rows[0]} <= images
    assert len(rows[1]) == pytest.approx(len(rows[0]), rel=0.02)
    lines = (runs[1] / "round_00/metrics.json").read_text().splitlines()
    iterations = [json.loads(line)["iteration"] for line in lines]
    assert len(iterations) == len(set(iterations))
    assert len(list((runs[1] / "round_01").glob("events.out.*"))) == 1
    assert (runs[1] / "log.txt.rank1").exists()


def test_two_processes_resume_inside_a_round_to_the_bit(runs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(runs[1], copy)
    # As if both had been killed after the second step of the last round.
    for name in ("stage.json", "model_final.pth"):
        (copy / "round_01" / name).unlink()
    (copy / "round_01/last_checkpoint").write_text("model_0000001.pth")
    done = train_net(copy, *NOTHING_DRAWN, processes=2, flags=["--resume"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Starting training from iteration 2" in done.stdout
    assert (copy / "results.json").read_bytes() == (runs[1] / "results.json").read_bytes()


def test_when_rank_0_refuses_both_leave_with_its_one_sentence(runs):
    before = sorted(str(path) for path in runs[1].rglob("*"))
    done = train_net(runs[1], *NOTHING_DRAWN, "SEED", "2", processes=2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "SEED: 1, now 2" in errors[0]
    assert "exitcode  : 2" in done.stderr  # torchrun's table; its own exit code is always 1
    assert done.stderr.count("Traceback") == 1  # torchrun's, for the table
    assert sorted(str(path) for path in runs[1].rglob("*")) == before
