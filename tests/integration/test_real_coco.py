"""Real COCO images and annotations, where they are at hand: 96 + 32 images in the standard layout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.d2,
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "coco/annotations/instances_val2017.json").exists(),
        reason=f"needs 128 images of COCO 2017 in the standard layout at {DATA}/coco",
    ),
]


def test_dense_prune_rewind_retrain_evaluate_and_report_on_real_coco(tmp_path):
    command = [sys.executable, "-W", "ignore", "tools/train_net.py",
               "--config-file", "configs/coco/mask_rcnn_R_18_FPN_imp.yaml",
               "MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2", "LTH.REWIND.ITERATION", "1",
               "LTH.NUM_THREADS", "1", "DATALOADER.NUM_WORKERS", "0",
               "INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128",
               "MODEL.RPN.POST_NMS_TOPK_TEST", "50", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "100",
               "TEST.DETECTIONS_PER_IMAGE", "4", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "OUTPUT_DIR", str(tmp_path / "out")]  # fmt: skip
    process = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "DETECTRON2_DATASETS": str(DATA)},
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [row["round"] for row in results["rounds"]] == [0, 1]
    assert results["rounds"][1]["sparsity"] == pytest.approx(0.7843, abs=5e-5)
    assert results["rounds"][1]["prunable_parameters"] == 30_704_832
    for row in results["rounds"]:
        assert {"bbox/AP", "segm/AP", "bbox/APs"} <= row["metrics"].keys()
    assert len(results["dataset"]["classes"]) == 80
    assert "person" in (tmp_path / "out/report/index.html").read_text()
