import json
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from lth_det.data.shapes import SPLITS
from lth_det.data.voc import write_voc
from lth_det.errors import DataError

VAL = SPLITS["val"]


def test_boxes_are_one_based_and_inclusive_and_crowds_left_out(tiny_folder, tmp_path):
    annotations = tiny_folder / VAL.annotations
    count = write_voc(annotations, tiny_folder / VAL.image_dir, tmp_path, split="test")
    content = json.loads(annotations.read_bytes())
    assert any(a["iscrowd"] for a in content["annotations"])
    names = {c["id"]: c["name"] for c in content["categories"]}
    ids = (tmp_path / "ImageSets" / "Main" / "test.txt").read_text().split()
    assert count == len(ids) == len(content["images"])
    for image, file_id in zip(content["images"], ids, strict=True):
        tree = ET.parse(tmp_path / "Annotations" / f"{file_id}.xml")
        expected = [
            (
                names[a["category_id"]],
                [a["bbox"][0] + 1, a["bbox"][1] + 1, sum(a["bbox"][::2]), sum(a["bbox"][1::2])],
            )
            for a in content["annotations"]
            if a["image_id"] == image["id"] and not a["iscrowd"]
        ]
        found = [
            (
                node.findtext("name"),
                [float(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")],
            )
            for node in tree.iter("object")
        ]
        assert found == expected
        assert tree.findtext("size/width") == str(image["width"])
        jpeg = cv2.imread(str(tmp_path / "JPEGImages" / f"{file_id}.jpg")).astype(int)
        png = cv2.imread(str(tiny_folder / VAL.image_dir / image["file_name"])).astype(int)
        assert np.abs(jpeg - png).mean() < 8


def test_truncated_means_at_the_border(tmp_path):
    boxes = [[0, 3, 4, 4], [3, 3, 4, 4], [6, 3, 4, 4], [3, 6, 4, 4], [3, 0, 2, 2]]
    content = {
        "categories": [{"id": 3, "name": "square"}],
        "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 10}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": box} for box in boxes],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 10, 3), np.uint8))
    write_voc(tmp_path / "a.json", tmp_path, tmp_path / "voc", split="val", names=["sofa"])
    nodes = list(ET.parse(tmp_path / "voc" / "Annotations" / "val_a.xml").iter("object"))
    assert [node.findtext("truncated") for node in nodes] == ["1", "0", "1", "1", "1"]
    assert {node.findtext("name") for node in nodes} == {"sofa"}


def test_bad_input_is_one_sentence(tiny_folder, tmp_path):
    with pytest.raises(DataError, match=r"7 categories, but 1 names"):
        write_voc(
            tiny_folder / VAL.annotations, tiny_folder, tmp_path, split="val", names=["square"]
        )
    with pytest.raises(DataError, match=r"none\.json"):
        write_voc(tmp_path / "none.json", tiny_folder, tmp_path, split="val")
    with pytest.raises(DataError, match=r"000001\.png cannot be read"):
        write_voc(tiny_folder / VAL.annotations, tmp_path / "no", tmp_path, split="val")
