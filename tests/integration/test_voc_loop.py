"""The VOC experiments on scenes of shapes in the layout of PASCAL VOC: data, metric, and the whole loop."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from lth_det.cli.train_net import build_parser
from lth_det.d2.datasets import check_dataset_available, register_shapes_voc
from lth_det.d2.evaluation import build_evaluator
from lth_det.d2.run import prepare, train_or_evaluate
from lth_det.d2.setup_cfg import load_config
from lth_det.data.shapes import SPLITS, ShapesConfig, ensure_shapes
from lth_det.data.shapes.__main__ import VOC_SPLITS
from lth_det.data.voc import write_voc
from lth_det.errors import DataError
from lth_det.tickets.apply import count_revived
from lth_det.tickets.serialization import load_ticket

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]
FEW = ShapesConfig(
    train_images=10, val_images=6, keypoints_train_images=1, keypoints_val_images=1,
    cls_train_per_class=1, cls_val_per_class=1,
)  # fmt: skip
SHORT = [
    "SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "(2,)", "SOLVER.WARMUP_ITERS", "1", "SOLVER.IMS_PER_BATCH", "2",
    "LTH.REWIND.ITERATION", "1", "DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64", "MODEL.RPN.PRE_NMS_TOPK_TEST", "20", "MODEL.RPN.POST_NMS_TOPK_TEST", "4",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", "20", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Names of the two splits of a few scenes, registered as the documented command makes them."""
    folder = tmp_path_factory.mktemp("voc")
    made = ensure_shapes(FEW, home=folder, workers=1)
    for name, voc_name in VOC_SPLITS.items():
        split = SPLITS[name]
        write_voc(made / split.annotations, made / split.image_dir, folder / "VOC", split=voc_name)
    names = []
    for split in VOC_SPLITS.values():
        names.append(f"shapes_voc_{split}")
        for catalog in (DatasetCatalog, MetadataCatalog):
            if names[-1] in catalog.list():
                catalog.remove(names[-1])
        register_shapes_voc(split, folder / "VOC")
    yield tuple(names)
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def tool(config, *options):
    arguments = build_parser().parse_args(
        ["--config-file", str(ROOT / "configs/voc" / config), *SHORT, *options]
    )
    train_or_evaluate(arguments, prepare(arguments))


def test_the_whole_loop_on_voc_data(voc, tmp_path):
    out = tmp_path / "run"
    tool("faster_rcnn_shapes_C4_imp.yaml", "LTH.PRUNE_ONLY", "('res5',)", "OUTPUT_DIR", str(out))
    results = json.loads((out / "results.json").read_text())
    assert results["complete"] is True
    assert results["dataset"]["name"] == voc[1]
    dense, ticket = results["rounds"]
    for row in (dense, ticket):
        assert {"bbox/AP", "bbox/AP50", "bbox/AP75"} == set(row["metrics"])
        assert all(math.isfinite(value) for value in row["metrics"].values())
    assert ticket["prune_rate"] == pytest.approx(0.8, abs=1e-4)
    rates = {group: row["prune_rate"] for group, row in ticket["groups"].items()}
    assert rates.pop("res5") == pytest.approx(0.8, abs=1e-4)
    assert set(rates.values()) == {0}
    weights = torch.load(out / "round_01/model_final.pth", weights_only=True)["model"]
    assert count_revived(weights, load_ticket(out / "round_01/ticket.safetensors").mask) == 0
    assert "voc" in (out / "report/index.html").read_text()


@pytest.mark.parametrize(
    ("depth", "narrow"),
    [
        (18, ()),
        (50, ("MODEL.RESNETS.RES2_OUT_CHANNELS", "32", "MODEL.RESNETS.WIDTH_PER_GROUP", "8")),
    ],
)
def test_the_models_of_the_paper_train_on_voc_data(voc, tmp_path, depth, narrow):
    """One step of plain training on small images; R-50 has an eighth of its channels, R-18 cannot be narrowed."""
    tool(
        f"faster_rcnn_R_{depth}_C4_imp.yaml", "DATASETS.TRAIN", f"('{voc[0]}',)", "DATASETS.TEST", "()",
        "MODEL.ROI_HEADS.NUM_CLASSES", "7", "LTH.ENABLED", "False", "SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()",
        "SOLVER.IMS_PER_BATCH", "1", "INPUT.MIN_SIZE_TRAIN", "(32,)", "OUTPUT_DIR", str(tmp_path), *narrow,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert math.isfinite(lines[-1]["total_loss"])
    assert (tmp_path / "model_final.pth").is_file()


def test_the_metric_is_the_mean_over_eleven_recall_points(voc):
    """Perfect boxes for the first of every class's objects: precision 1 up to recall 1 / n, then nothing."""
    cfg = load_config(str(ROOT / "configs/voc/faster_rcnn_shapes_C4_imp.yaml"))
    evaluator = build_evaluator(cfg, voc[1])
    evaluator.reset()
    counts, found = np.zeros(7, int), set()
    for item in DatasetCatalog.get(voc[1]):
        output = Instances((160, 160))
        first = []
        for annotation in item["annotations"]:
            counts[annotation["category_id"]] += 1
            if annotation["category_id"] not in found:
                found.add(annotation["category_id"])
                first.append(annotation)
        output.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in first]).reshape(-1, 4).float())
        output.pred_classes = torch.tensor([a["category_id"] for a in first], dtype=torch.long)
        output.scores = torch.full((len(first),), 0.9)
        evaluator.process([{"image_id": item["image_id"]}], [{"instances": output}])
    # Recall 1 / n reaches the points 0, 0.1, ... up to 1 / n; the area under the curve would be 1 / n itself.
    expected = [(math.floor(10 / n + 1e-9) + 1) / 11 if n else 0 for n in counts]
    metrics = evaluator.evaluate()["bbox"]
    assert metrics["AP50"] == pytest.approx(100 * np.mean(expected))
    assert metrics["AP50"] != pytest.approx(100 * np.mean([1 / n if n else 0 for n in counts]))
    assert metrics["AP"] == pytest.approx(metrics["AP50"])  # the boxes are exact


def test_missing_voc_data_say_how_they_are_made(voc, tmp_path):
    for name in voc:
        folder = MetadataCatalog.get(name).dirname
        MetadataCatalog.get(name).__dict__["dirname"] = str(tmp_path / "none")
        try:
            with pytest.raises(DataError, match=r"does not exist; make it with: python -m lth_det"):
                check_dataset_available(name)
        finally:
            MetadataCatalog.get(name).__dict__["dirname"] = folder
        check_dataset_available(name)
