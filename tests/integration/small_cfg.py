"""A configuration that trains in a second: the narrow R-CNN on the small shapes."""

from pathlib import Path

from lth_det.d2.datasets import register_all
from lth_det.d2.setup_cfg import load_config

ROOT = Path(__file__).resolve().parents[2]


def small_cfg(output, *options, task="faster"):
    register_all()
    cfg = load_config(
        str(ROOT / f"configs/quick/{task}_rcnn_imp.yaml"),
        ["SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2",
         "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "LTH.REWIND.ITERATION", "1",
         "OUTPUT_DIR", str(output), *options],
    )  # fmt: skip
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    cfg.freeze()
    return cfg
