"""The first images of the default data set, pinned: new bytes need a new generator version."""

import hashlib
import json
import platform

import pytest

from lth_det.data.shapes import SPLITS, ShapesConfig
from lth_det.data.shapes.splits import draw_image
from lth_det.data.shapes.worker import pixel_digest

PINNED = {
    "train": "7eb5b6aee211d512",
    "val": "7c195853aca68107",
    "keypoints_train": "723abb85d5165db0",
    "keypoints_val": "051b0250cb5501e2",
    "cls_train": "0feb26604ba7f0fe",
    "cls_val": "110de61738aa592b",
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
