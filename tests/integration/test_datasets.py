"""The embedded data set through Detectron2's own loaders, mapper and evaluator."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from lth_det.d2 import datasets
from lth_det.d2.datasets import SMALL, check_dataset_available, register_all, register_shapes
from lth_det.data.shapes import KEYPOINT_OKS_SIGMAS, SPLITS, ensure_shapes
from lth_det.data.voc import write_voc
from lth_det.errors import DataError

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy:UserWarning"),
]

TINY = dataclasses.replace(
    SMALL,
    size=96,
    train_images=6,
    val_images=6,
    keypoints_train_images=4,
    keypoints_val_images=4,
    cls_train_per_class=1,
    cls_val_per_class=1,
    crowd_share=0.5,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def names(home, monkeypatch):
    """The tiny data set registered as tiny_<split> for one test."""
    monkeypatch.setenv("LTH_DET_DATA", str(home))
    registered = {}
    for split in SPLITS.values():
        if split.kind != "classification":
            registered[split.name] = f"tiny_{split.name}"
            register_shapes(registered[split.name], split, TINY)
    yield registered
    for name in registered.values():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_registration_draws_nothing_and_may_be_repeated(tmp_path, monkeypatch):
    before = set(DatasetCatalog.list())
    monkeypatch.setenv("LTH_DET_DATA", str(tmp_path / "new"))
    register_all()
    register_all()
    wanted = {"shapes_train", "shapes_val", "shapes_keypoints_train", "shapes_keypoints_val"}
    assert wanted <= set(DatasetCatalog.list())
    assert not (tmp_path / "new").exists()
    for name in set(DatasetCatalog.list()) - before:  # they point into this test's folder
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_dicts_and_metadata_agree(names):
    dicts = DatasetCatalog.get(names["val"])
    metadata = MetadataCatalog.get(names["val"])
    assert len(dicts) == TINY.val_images
    content = json.loads(Path(metadata.json_file).read_bytes())
    assert metadata.thing_classes == [c["name"] for c in content["categories"]]
    assert len(metadata.thing_colors) == len(metadata.thing_classes)
    assert metadata.evaluator_type == "coco"
    assert dicts[0]["file_name"].startswith(metadata.image_root)
    crowds = [a for d in dicts for a in d["annotations"] if a["iscrowd"]]
    assert crowds
    assert all(coco_mask.area(a["segmentation"]) > 0 for a in crowds)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_mapper_gives_masks_of_the_drawn_area(names, mask_format):
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[],
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format=mask_format,
    )
    for record in get_detection_dataset_dicts([names["train"]]):
        instances = mapper(copy.deepcopy(record))["instances"]
        kept = [a for a in record["annotations"] if not a["iscrowd"]]
        content = json.loads(Path(MetadataCatalog.get(names["train"]).json_file).read_bytes())
        areas = [
            a["area"]
            for a in content["annotations"]
            if a["image_id"] == record["image_id"] and not a["iscrowd"]
        ]
        assert len(instances) == len(kept)
        if mask_format == "bitmask":
            found = instances.gt_masks.tensor.sum(dim=(1, 2)).tolist()
        else:
            found = instances.gt_masks.area().tolist()
        assert found == pytest.approx(areas)


def test_keypoints_change_sides_when_the_image_is_flipped(names):
    cfg = get_cfg()
    cfg.MODEL.KEYPOINT_ON = True
    cfg.DATASETS.TRAIN = (names["keypoints_train"],)
    cfg.INPUT.MIN_SIZE_TRAIN = (96,)
    record = DatasetCatalog.get(names["keypoints_train"])[0]
    cfg.INPUT.RANDOM_FLIP = "none"
    plain = DatasetMapper(cfg, is_train=True)(copy.deepcopy(record))["instances"]
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    mapper = DatasetMapper(cfg, is_train=True)
    original = plain.gt_keypoints.tensor
    for _ in range(40):
        flipped = mapper(copy.deepcopy(record))["instances"].gt_keypoints.tensor
        if not torch.equal(flipped, original):
            break
    order = [0, 1, 3, 2, 4, 6, 5, 8, 7]
    expected = original[:, order].clone()
    expected[..., 0] = torch.where(expected[..., 2] > 0, 96 - expected[..., 0], expected[..., 0])
    seen = expected[..., 2] > 0
    assert torch.allclose(flipped[seen], expected[seen])


def perfect_instances(record, classes):
    kept = [a for a in record["annotations"] if not a["iscrowd"]]
    instances = Instances((record["height"], record["width"]))
    boxes = torch.tensor([a["bbox"] for a in kept], dtype=torch.float32)
    boxes[:, 2:] += boxes[:, :2]
    instances.pred_boxes = Boxes(boxes)
    instances.scores = torch.linspace(0.9, 0.5, len(kept))
    instances.pred_classes = torch.tensor([a["category_id"] for a in kept])
    if "keypoints" in kept[0]:
        points = np.array([a["keypoints"] for a in kept], np.float32).reshape(len(kept), -1, 3)
        instances.pred_keypoints = torch.tensor(points)
    else:
        size = (record["height"], record["width"])
        masks = [
            coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(a["segmentation"], *size)))
            for a in kept
        ]
        instances.pred_masks = torch.tensor(np.stack(masks)).bool()
    return instances


@pytest.mark.parametrize(
    ("split", "tasks"), [("val", ("bbox", "segm")), ("keypoints_val", ("bbox", "keypoints"))]
)
def test_perfect_predictions_have_ap_100(names, split, tasks):
    name = names[split]
    dicts = DatasetCatalog.get(name)
    evaluator = COCOEvaluator(
        name, tasks, distributed=False, use_fast_impl=False, kpt_oks_sigmas=KEYPOINT_OKS_SIGMAS
    )
    evaluator.reset()
    for record in dicts:
        output = {"instances": perfect_instances(record, MetadataCatalog.get(name).thing_classes)}
        evaluator.process([record], [output])
    results = evaluator.evaluate()
    for task in tasks:
        assert results[task]["AP"] == pytest.approx(100.0, abs=1e-6)


def test_voc_folder_is_read_by_detectron2(names, home, tmp_path):
    folder = ensure_shapes(TINY, home=home / "shapes")
    split = SPLITS["val"]
    write_voc(folder / split.annotations, folder / split.image_dir, tmp_path, split="val")
    classes = MetadataCatalog.get(names["val"]).thing_classes
    dicts = load_voc_instances(str(tmp_path), "val", classes)
    for voc, coco in zip(dicts, DatasetCatalog.get(names["val"]), strict=True):
        kept = [a for a in coco["annotations"] if not a["iscrowd"]]
        assert [a["category_id"] for a in voc["annotations"]] == [a["category_id"] for a in kept]
        boxes = np.array([a["bbox"] for a in kept])
        boxes[:, 2:] += boxes[:, :2]
        assert np.array([a["bbox"] for a in voc["annotations"]]).tolist() == boxes.tolist()


def test_available_check_draws_what_is_ours(home, monkeypatch):
    monkeypatch.setenv("LTH_DET_DATA", str(home / "fresh"))
    register_shapes("tiny_fresh", SPLITS["val"], TINY)
    try:
        check_dataset_available("tiny_fresh")
        assert (home / "fresh" / "shapes").is_dir()
    finally:
        DatasetCatalog.remove("tiny_fresh")
        MetadataCatalog.remove("tiny_fresh")


@pytest.fixture
def fake_coco(tmp_path):
    """A registered data set of someone else; files are for the test to make."""
    name = "someones_data"
    DatasetCatalog.register(name, list)
    json_file, image_root = tmp_path / "instances.json", tmp_path / "images"
    MetadataCatalog.get(name).set(json_file=str(json_file), image_root=str(image_root))
    yield name, json_file, image_root
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_missing_files_are_named_with_the_way_out(fake_coco, monkeypatch):
    name, json_file, image_root = fake_coco
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data/sets")
    with pytest.raises(DataError) as error:
        check_dataset_available(name)
    for part in (name, str(json_file), "DETECTRON2_DATASETS is /data/sets", "shapes_train"):
        assert part in str(error.value)
    json_file.write_text('{"images": [], "categories": []}')
    with pytest.raises(DataError, match=str(image_root)):
        check_dataset_available(name)
    image_root.mkdir()
    check_dataset_available(name)
    with pytest.raises(DataError, match="not registered"):
        check_dataset_available("coco_2071_train")


@pytest.mark.parametrize(
    ("text", "limit"),  # a file above the limit is checked at its ends only
    [
        ("", 10**6),
        ('{"images": [', 10**6),
        ('{"images": [}', 10**6),
        ('["images"]', 10**6),
        ("", 0),
        ('{"images": [', 0),
    ],
)
def test_damaged_annotations_are_named(fake_coco, monkeypatch, text, limit):
    name, json_file, image_root = fake_coco
    monkeypatch.setattr(datasets, "_PARSED_BYTES", limit)
    image_root.mkdir()
    json_file.write_text(text)
    with pytest.raises(DataError, match=r"instances\.json cannot be read as JSON"):
        check_dataset_available(name)


def test_another_json_file_is_no_annotation_file(fake_coco):
    name, json_file, image_root = fake_coco
    image_root.mkdir()
    json_file.write_text("{}")
    with pytest.raises(DataError, match="not a COCO annotation file"):
        check_dataset_available(name)
