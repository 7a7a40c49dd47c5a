"""Images and annotations that cannot be read end in one sentence, whoever reads them."""

import json
import struct
import zlib

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json
from PIL import Image
from small_cfg import small_cfg

from lth_det.d2.readable import SampleError
from lth_det.d2.train_data import build_train_loader
from lth_det.d2.trainer import LotteryTrainer
from lth_det.errors import DataError

pytestmark = pytest.mark.d2

ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400.0}


@pytest.fixture
def data_set(tmp_path):
    """Registers a data set of one image of 64 px with one box; returns its name, annotation file and image."""
    name = f"readable_{tmp_path.name}"
    annotations, image = tmp_path / "instances.json", tmp_path / "a.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{**ANNOTATION, "iscrowd": 0, "segmentation": [[4, 4, 24, 4, 24, 24]]}],
    }
    annotations.write_text(json.dumps(content))
    DatasetCatalog.register(name, lambda: load_coco_json(str(annotations), str(tmp_path), name))
    yield name, annotations, image
    DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)


def cfg_of(tmp_path, name, workers=0):
    options = ("DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)")
    return small_cfg(tmp_path / "out", *options, "DATALOADER.NUM_WORKERS", str(workers))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb():
    """Return a PNG of some bytes that says it has 2.5 billion pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def other_size(image):
    Image.fromarray(np.zeros((64, 32, 3), np.uint8)).save(image)


SPOILT = {
    "missing": lambda image: image.unlink(),
    "no image": lambda image: image.write_text("x"),
    "other size": other_size,
    "bomb": lambda image: image.write_bytes(bomb()),
}


@pytest.mark.parametrize(
    ("name", "loader", "workers"),
    [
        *((name, "train", 0) for name in SPOILT),
        ("missing", "train", 1),
        ("bomb", "test", 0),
        ("missing", "test", 1),
    ],
)
def test_an_image_that_cannot_be_used_is_one_sentence(data_set, tmp_path, name, loader, workers):
    cfg = cfg_of(tmp_path, data_set[0], workers)
    SPOILT[name](data_set[2])
    if loader == "train":
        batches = build_train_loader(cfg, seed=0)
    else:
        batches = LotteryTrainer.build_test_loader(cfg, data_set[0])
    with pytest.raises(SampleError) as caught:
        next(iter(batches))
    text = str(caught.value)
    assert text.startswith(f"The image {data_set[2]} cannot be used (")
    assert "Traceback" not in text
    assert "\n" not in text


def test_no_usable_annotation_is_one_sentence_from_a_worker(data_set, tmp_path):
    cfg = cfg_of(tmp_path, data_set[0], workers=1)
    loader = build_train_loader(cfg, seed=0)
    loader.dataset._mapper = lambda _: None
    with pytest.raises(DataError, match=r"^No training image has a usable annotation; check"):
        next(iter(loader))


@pytest.mark.parametrize(
    "change",
    [{"annotations": [{"id": 1, "image_id": 1}]}, {"images": 5}, {"annotations": None}],
)
def test_annotations_that_cannot_be_read_are_one_sentence(data_set, tmp_path, change):
    name, annotations, _ = data_set
    cfg = cfg_of(tmp_path, name)
    annotations.write_text(json.dumps({**json.loads(annotations.read_text()), **change}))
    for build in (
        lambda: build_train_loader(cfg, seed=0),
        lambda: LotteryTrainer.build_test_loader(cfg, name),
    ):
        with pytest.raises(DataError, match=f"cannot read the annotations of {name}"):
            build()


def test_readable_files_are_read_as_detectron2_reads_them(data_set, tmp_path):
    name, _, image = data_set
    cfg = cfg_of(tmp_path, name)
    [sample] = next(iter(LotteryTrainer.build_test_loader(cfg, name)))
    assert sample["file_name"] == str(image)
    assert "instances" in next(iter(build_train_loader(cfg, seed=0)))[0]
