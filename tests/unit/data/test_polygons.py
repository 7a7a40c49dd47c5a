import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from lth_det.data.shapes.polygons import mask_box, mask_polygons, mask_rle

# pycocotools' own __array__ is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def rasterised(polygons, shape):
    if not polygons:
        return np.zeros(shape, bool)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *shape))).astype(bool)


def signed_area(polygon):
    points = np.array(polygon, float).reshape(-1, 2)
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum() / 2)


def mask_of(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda s: arrays(np.bool_, s))


@settings(deadline=None, max_examples=150)
@given(masks)
def test_polygons_cover_exactly_the_mask(mask):
    polygons = mask_polygons(mask)
    assert np.array_equal(rasterised(polygons, mask.shape), mask)
    # Outer boundaries only, none twice: the areas add up to the number of pixels.
    assert sum(signed_area(p) for p in polygons) == mask.sum()
    assert all(signed_area(p) > 0 for p in polygons)


@settings(deadline=None, max_examples=150)
@given(masks)
def test_polygons_have_only_true_corners(mask):
    for polygon in mask_polygons(mask):
        points = np.array(polygon).reshape(-1, 2)
        assert len(points) >= 4
        steps = np.roll(points, -1, axis=0) - points
        along_x = steps[:, 1] == 0
        assert ((steps != 0).sum(axis=1) == 1).all()
        assert (along_x != np.roll(along_x, 1)).all()


@settings(deadline=None, max_examples=100)
@given(masks)
def test_run_lengths_equal_pycocotools(mask):
    rle = mask_rle(mask)
    ours = coco_mask.frPyObjects(rle, *mask.shape)
    assert ours == coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert sum(rle["counts"]) == mask.size


def test_a_square_is_four_corners():
    mask = np.zeros((6, 7), bool)
    mask[2:4, 1:5] = True
    assert mask_polygons(mask) == [[1, 2, 5, 2, 5, 4, 1, 4]]
    assert mask_box(mask) == (1, 2, 4, 2)


def test_a_ring_becomes_two_abutting_parts():
    mask = mask_of("##### #...# #...# #####")
    polygons = mask_polygons(mask)
    assert len(polygons) == 2
    assert np.array_equal(rasterised(polygons, mask.shape), mask)


def test_pixels_that_touch_by_a_corner_are_apart():
    assert len(mask_polygons(mask_of("#. .#"))) == 2
    assert len(mask_polygons(mask_of(".# #."))) == 2


def test_empty_mask():
    empty = np.zeros((3, 4), bool)
    assert mask_polygons(empty) == []
    assert mask_rle(empty) == {"size": [3, 4], "counts": [12]}
    with pytest.raises(ValueError, match="empty mask"):
        mask_box(empty)
