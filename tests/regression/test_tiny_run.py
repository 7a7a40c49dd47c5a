"""The numbers of a tiny run, pinned: what changes them belongs under "Results that change" in CHANGELOG.md.

On a platform class that is known (processor, vector instructions, torch's minor version) the ticket's hash must be the pinned
one, and its numbers those of the class. On any other one rounding differs: losses, AP and the counts of each module group must
agree with those of the first class within a tolerance.
To pin anew: run this file, put ``FOUND`` of the failure into ``data/tiny_run.json``, and say why in the changelog.
"""

import json
import platform
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
PINNED = json.loads((Path(__file__).parent / "data" / "tiny_run.json").read_text())
OPTIONS = (
    "SOLVER.MAX_ITER", "20", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "100", "LTH.REWIND.ITERATION", "2",
    "LTH.TARGETS", "(0.7,)", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "SEED", "7",
)  # fmt: skip


def platform_class():
    minor = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    try:
        lines = dict(
            [part.strip() for part in line.split(":", 1)]
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        )
    except (OSError, ValueError):
        lines = {}
    cpu = " ".join(lines.get(key, "?") for key in ("vendor_id", "cpu family", "model"))
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {cpu} {vectors} torch {minor}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    from lth_det.d2.communicator import Processes
    from lth_det.d2.datasets import register_all
    from lth_det.d2.plan import imp_plan
    from lth_det.d2.run import run_facts
    from lth_det.d2.setup_cfg import load_config
    from lth_det.d2.stages import DetectorStages
    from lth_det.experiments.imp import ImpRun
    from lth_det.experiments.run_dir import RunDir

    folder = tmp_path_factory.mktemp("tiny")
    register_all()
    cfg = load_config(
        str(ROOT / "configs/quick/faster_rcnn_imp.yaml"), [*OPTIONS, "OUTPUT_DIR", str(folder)]
    )
    cfg.freeze()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = ImpRun(
        DetectorStages(cfg, resume=False),
        imp_plan(cfg),
        RunDir(folder),
        run_facts(cfg, "0"),
        Processes(),
    )
    rounds = run()["rounds"]
    torch.set_num_threads(threads)
    from lth_det.tickets import load_ticket

    mask = load_ticket(folder / "round_01/ticket.safetensors").mask
    return {
        "mask_sha256": mask.sha256(),
        "prune_rate": mask.prune_rate,
        "rounds": [
            {
                "losses": losses(folder / row["stage"] / "metrics.json"),
                "AP": row["metrics"]["bbox/AP"],
                "AP50": row["metrics"]["bbox/AP50"],
                "pruned": {
                    name: group["pruned_parameters"] for name, group in row["groups"].items()
                },
            }
            for row in rounds
        ],
    }


def losses(path):
    last = [json.loads(line) for line in path.read_text().splitlines() if "total_loss" in line][-1]
    return {name: value for name, value in last.items() if "loss" in name}


def test_losses_ap_and_counts_are_the_pinned_ones(found):
    classes = PINNED["classes"]
    known = platform_class() in classes
    rounds = classes.get(platform_class(), next(iter(classes.values())))["rounds"]
    # Elsewhere 20 steps let rounding grow: with AVX2 instead of AVX-512 losses moved by 11 %, AP50 by 1.5 points, counts
    # by 0.3 %. A wrong learning rate, criterion or data order moves them further.
    loss, ap, count = (1e-4, 0.01, 1e-6) if known else (0.2, 3.0, 0.02)
    assert found["prune_rate"] == pytest.approx(PINNED["prune_rate"], abs=1e-9), f"FOUND {found}"
    for row, pinned in zip(found["rounds"], rounds, strict=True):
        assert row["losses"] == pytest.approx(pinned["losses"], rel=loss), f"FOUND {found}"
        metrics = [pinned["AP"], pinned["AP50"]]
        assert [row["AP"], row["AP50"]] == pytest.approx(metrics, abs=ap), f"FOUND {found}"
        assert row["pruned"] == pytest.approx(pinned["pruned"], rel=count), f"FOUND {found}"


def test_on_a_known_platform_the_ticket_is_the_pinned_one(found):
    known = PINNED["classes"]
    if platform_class() not in known:
        pytest.skip(f"{platform_class()} is not pinned; its mask is {found['mask_sha256']}")
    assert found["mask_sha256"] == known[platform_class()]["mask_sha256"], f"FOUND {found}"
