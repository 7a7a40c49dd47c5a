"""A comparison from plan to report with real trainings; the smallest that has a source task, a transfer and a control."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lth_det.cli import transfer_ticket
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2
ROOT = Path(__file__).resolve().parents[2]
OWN = "runs/own-mask_rcnn-seed1"


def compare(plan, *arguments):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "tools/compare_tickets.py",
        "--config-file",
        str(plan),
    ]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    plan = yaml.safe_load((ROOT / "configs/compare/quick.yaml").read_text())
    plan |= {"seeds": [1], "output": str(folder / "out"), "metrics": ["bbox/AP"]}
    plan["sources"] = {name: plan["sources"][name] for name in ("own", "classifier")}
    plan["sources"]["own"]["controls"] = []
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    process = compare(folder / "plan.yaml")
    assert process.returncode == 0, process.stderr
    return folder, process


def test_the_matrix_holds_what_the_runs_wrote(compared):
    folder, process = compared
    matrix = json.loads((folder / "out/matrix.json").read_text())
    assert matrix["complete"]
    assert matrix["missing"] == []
    for cell in matrix["cells"]:
        results = json.loads((folder / "out" / cell["run"] / "results.json").read_text())
        rows = {row["stage"]: row for row in [*results["rounds"], *results["controls"]]}
        row = rows[cell["stage"]]
        assert cell["metrics"] == row["metrics"]
        assert cell["ticket_sha256"] == row["ticket_sha256"]
        assert results["seed"] == cell["seed"]
    by_source = {cell["source"]: cell for cell in matrix["cells"]}
    assert set(by_source) == {"dense", "own", "classifier", "classifier_random_layer_ratios"}
    assert by_source["dense"]["sparsity"] == 0
    # The classification ticket has no weights of the FPN and the heads.
    assert by_source["classifier"]["groups"]["fpn"]["pruned_parameters"] == 0
    assert by_source["classifier"]["groups"]["backbone"]["prune_rate"] == pytest.approx(
        0.8, abs=1e-3
    )
    assert by_source["own"]["groups"]["fpn"]["pruned_parameters"] > 0
    assert (folder / "out/report/index.html").stat().st_size > 10_000
    assert "report/index.html" in process.stderr
    assert json.loads((folder / "out/overlap.json").read_text())["names"]


def test_a_foreign_ticket_trains_for_the_whole_schedule_and_an_own_one_for_the_rest(compared):
    folder, _ = compared
    iterations = {}
    for name, stage in (("own", "round_01"), ("classifier", "ticket")):
        (path,) = (folder / "out/runs").glob(f"{name}-mask_rcnn*/{stage}/metrics.json")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        weights = torch.load(path.parent / "model_final.pth", weights_only=True)
        first = min(line["iteration"] for line in lines if "total_loss" in line)
        iterations[name] = (first, weights["iteration"])
    assert iterations["own"][1] == iterations["classifier"][1] == 5
    log = (folder / "out/jobs/classifier-mask_rcnn-80-seed1/out.log").read_text()
    assert "Starting training from iteration 0" in log
    assert (
        "Starting training from iteration 2"
        in (folder / "out/jobs/own-mask_rcnn-seed1/out.log").read_text()
    )


def test_again_nothing_is_trained(compared):
    folder, _ = compared
    before = (folder / "out/matrix.json").read_bytes()
    again = compare(folder / "plan.yaml")
    assert again.returncode == 0
    assert "starts." not in again.stderr
    assert (folder / "out/matrix.json").read_bytes() == before


def test_a_module_subset_by_transfer_is_the_ticket_that_a_pruned_round_makes(compared, tmp_path):
    run = compared[0] / "out" / OWN
    arguments = transfer_ticket.build_parser().parse_args(
        [
            "--config-file", str(ROOT / "configs/compare/quick/mask_rcnn.yaml"), "--kind", "magnitude",
            "--source", str(run / "round_00/model_final.pth"), "--weights", str(run / "round_00/rewind.safetensors"),
            "--prune-rate", "0.8", "--groups", "backbone,fpn,rpn,box_head,mask_head",
            "--output", str(tmp_path / "t.safetensors"), "--json", str(tmp_path / "t.json"),
        ]
    )  # fmt: skip
    transfer_ticket.run(arguments)
    ours, theirs = (
        load_ticket(tmp_path / "t.safetensors"),
        load_ticket(run / "round_01/ticket.safetensors"),
    )
    assert ours.mask.sha256() == theirs.mask.sha256()
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)
