import json

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from lth_det.d2.attribute_evaluator import AttributeCOCOEvaluator
from lth_det.d2.datasets import register_all

pytestmark = pytest.mark.d2
NAME = "shapes_small_val"


def feed(evaluator, *, lose_small):
    """Give the ground truth, moved a little, as detections; perhaps without the small objects."""
    generator = torch.Generator().manual_seed(0)
    evaluator.reset()
    for item in DatasetCatalog.get(NAME):
        objects = [a for a in item["annotations"] if not a["iscrowd"]]
        if lose_small:
            objects = [a for a in objects if a["bbox"][2] * a["bbox"][3] >= 1600]
        instances = Instances((item["height"], item["width"]))
        boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances.pred_boxes = Boxes(boxes + torch.randn(boxes.shape, generator=generator))
        instances.scores = torch.rand(len(objects), generator=generator)
        instances.pred_classes = torch.tensor(
            [a["category_id"] for a in objects], dtype=torch.int64
        )
        evaluator.process([item], [{"instances": instances}])
    return evaluator.evaluate()


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_all()


def evaluator(folder, kind=AttributeCOCOEvaluator, **options):
    return kind(NAME, output_dir=str(folder), use_fast_impl=False, **options)


def test_bins_are_added_and_detectron2s_numbers_stay(tmp_path):
    plain = feed(evaluator(tmp_path / "plain", COCOEvaluator), lose_small=False)["bbox"]
    ours = feed(evaluator(tmp_path / "ours", train_names=("shapes_small_train",)), lose_small=False)
    ours = ours["bbox"]
    assert {name: ours[name] for name in plain} == pytest.approx(plain, nan_ok=True)
    for size, official in (("small", "APs"), ("medium", "APm"), ("large", "APl")):
        assert ours[f"AP-size-{size}"] == pytest.approx(plain[official], abs=1e-8)
    assert 0 < ours["AP-frequency-rare"] <= 100
    assert {"AP-difficulty-hard", "AP-occlusion-heavy", "AP-truncation-inside"} <= ours.keys()


def test_what_a_model_loses_shows_in_its_bin_only(tmp_path):
    dense = feed(evaluator(tmp_path / "round_00"), lose_small=False)["bbox"]
    file = tmp_path / "round_00/coco_instances_results.json"
    ticket = feed(evaluator(tmp_path / "round_01", dense_predictions=file), lose_small=True)["bbox"]
    assert ticket["AP-size-small"] < dense["AP-size-small"] / 2
    assert ticket["AP-size-large"] == pytest.approx(dense["AP-size-large"], abs=15)


def test_predictions_that_the_analysis_refuses_cost_no_other_metric(tmp_path, caplog):
    ours = evaluator(tmp_path / "run")
    file = tmp_path / "dense.json"
    file.write_text(json.dumps({"not": "a list"}))
    ours._dense_predictions = file
    found = feed(ours, lose_small=False)["bbox"]
    assert found["AP"] > 0
    assert not any(name.startswith("AP-size") for name in found)
    assert "No AP by attribute" in caplog.text
