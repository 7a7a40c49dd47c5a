"""The first images of the default data set, pinned: new bytes need a new generator version."""

import hashlib
import json
import platform

import pytest

from lth_det.data.shapes import SPLITS, ShapesConfig
from lth_det.data.shapes.splits import draw_image
from lth_det.data.shapes.worker import pixel_digest

PINNED = {
    "train": "b15883ba5f5a02ed",
    "val": "abde6d8031ee8112",
    "keypoints_train": "c4a9b0ee1daaf814",
    "keypoints_val": "dd3e6766c884f3f8",
    "cls_train": "bb6fdc0226d2c96c",
    "cls_val": "c89290f875d2c2dc",
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="pinned on x86-64")
@pytest.mark.parametrize("name", SPLITS)
def test_first_images_are_the_pinned_ones(name):
    digest = hashlib.sha256()
    for index in range(8):
        drawn = draw_image(SPLITS[name], ShapesConfig(), index)
        digest.update(pixel_digest(drawn.file_name, drawn.image).encode())
        digest.update(json.dumps(drawn.annotations).encode())
    assert digest.hexdigest()[:16] == PINNED[name]
