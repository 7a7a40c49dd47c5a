"""Attributes of objects, each on cases worked out by hand, and class axes."""

import numpy as np
import pytest
from coco_oracle import make_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from lth_det.analysis import attributes as at
from lth_det.analysis import measures
from lth_det.analysis.class_axes import difficulty_axis, terciles
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.errors import InputError


def boxes_in_image(*boxes, size=(100, 100), crowd=(), masks=False):
    """Return a ground truth of one image with the given XYWH boxes (masks: the boxes as masks)."""
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "bbox": list(b),
            "area": b[2] * b[3],
            "iscrowd": int(i in crowd),
        }
        for i, b in enumerate(boxes)
    ]
    if masks:
        for a in annotations:
            x, y, w, h = a["bbox"]
            a["segmentation"] = [[x, y, x, y + h, x + w, y + h, x + w, y]]
    return read_ground_truth(
        {
            "images": [{"id": 1, "width": size[0], "height": size[1]}],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": annotations,
        }
    )


@pytest.mark.parametrize("masks", [False, True])
def test_occlusion_is_the_share_under_the_union_of_the_others(masks):
    truth = boxes_in_image(
        (0, 0, 20, 10), (10, 0, 20, 10), (15, 0, 20, 10), (60, 60, 10, 10), masks=masks
    )
    # The first: 10-20 of its width is under the second, 15-20 of that under the third too; the union counts it once.
    np.testing.assert_allclose(measures.covered_share(truth), [0.5, 1.0, 0.75, 0.0])


def test_objects_of_an_image_without_size_are_boxes_though_others_have_masks():
    """With masks of that size pycocotools counts down from 2^32 (found by fuzzing)."""
    boxes = [(0, 0, 20, 10), (10, 0, 20, 10), (15, 0, 20, 10), (60, 60, 10, 10)]
    square = [[0, 0, 0, 10, 10, 10, 10, 0]]
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": list(box), "area": 1.0}
        for i, box in enumerate(boxes)
    ]
    annotations.append(annotations[0] | {"id": 9, "image_id": 2, "segmentation": square})
    images = [{"id": 1, "height": 100}, {"id": 2, "width": 100, "height": 100}]
    truth = read_ground_truth(
        {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": annotations}
    )
    assert truth.segmentation is not None
    np.testing.assert_allclose(measures.covered_share(truth), [0.5, 1.0, 0.75, 0.0, 0.0])


def test_a_crowd_hides_nothing_and_a_box_without_area_has_no_occlusion():
    truth = boxes_in_image((0, 0, 20, 10), (0, 0, 20, 10), (5, 5, 0, 10), crowd=(1,))
    share = measures.covered_share(truth)
    assert share[0] == 0.0
    assert np.isnan(share[2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2), min_size=1, max_size=7)
)
def test_union_area_equals_counting_pixels(rectangles):
    picture = np.zeros((20, 20), bool)
    for x, y, w, h in rectangles:
        picture[x : x + w, y : y + h] = True
    table = np.array(rectangles, float)
    low, high = table[:, :2], table[:, :2] + table[:, 2:]
    twice = measures.union_areas(
        np.concatenate([low, low[:1]]), np.concatenate([high, high[:1]]), np.array([0, len(low)])
    )
    np.testing.assert_allclose(twice, [picture.sum(), table[0, 2] * table[0, 3]])


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools on NumPy 2
def test_occlusion_by_masks_equals_counting_pixels():
    truth_value, _ = make_coco(3, images=6, masks=True, per_image=8.0)
    truth = read_ground_truth(truth_value)
    share = measures.covered_share(truth)
    for row in range(0, truth.ids.size, 5):
        same = (truth.image == truth.image[row]) & truth.objects
        same[row] = False
        others = [truth.segmentation[i] for i in np.flatnonzero(same)]
        box = mask_api.decode(mask_api.frPyObjects(truth.box[row][None], 240, 320))[:, :, 0]
        union = sum((mask_api.decode(m) for m in others), np.zeros_like(box)) > 0
        expected = (box.astype(bool) & union).sum() / truth.box[row, 2:].prod()
        if truth.objects[row]:
            assert share[row] == pytest.approx(expected)


def test_crowding_counts_neighbours_above_iou_0_1():
    truth = boxes_in_image((0, 0, 10, 10), (5, 0, 10, 10), (9, 9, 10, 10), (0, 0, 10, 10))
    # IoU of the first with the second 1/3, with the third 1/199, with the fourth 1; the fourth is a twin.
    assert measures.neighbours(truth).tolist() == [2.0, 2.0, 0.0, 2.0]


def test_truncation_is_within_one_pixel_of_the_border():
    truth = boxes_in_image(
        (1, 50, 5, 5), (1.01, 50, 5, 5), (50, 94, 5, 5), (50, 93.9, 5, 5), (50, 50, 5, 5)
    )
    found = measures.touches_border(truth, truth.box, truth.image)
    assert found.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_aspect_thinness_and_relative_size():
    truth = boxes_in_image((0, 0, 10, 40), (0, 0, 40, 10), (0, 0, 0, 10))
    ratio = measures.width_over_height(truth.box)
    assert ratio[:2].tolist() == [0.25, 4.0]
    assert np.isnan(ratio[2])
    assert measures.fill(truth)[0] == 1.0
    many = boxes_in_image(*[(0, 0, i, 1) for i in range(1, 101)], size=(200, 200))
    bands = measures.percentile_band(many, many.area, many.category)
    values, counts = np.unique(bands, return_counts=True)
    assert values.tolist() == [5.0, 20.0, 50.0, 80.0, 95.0]
    assert counts.tolist() == [10, 20, 40, 20, 10]


def test_kitti_levels_include_the_easier_ones():
    truth = boxes_in_image(
        (50, 50, 100, 100), (300, 300, 40, 40), (400, 100, 10, 10), size=(500, 500)
    )
    assert measures.composite_level(truth).tolist() == [0.0, 1.0, 2.0]
    inside = {b.name: int(b.contains(measures.composite_level(truth)).sum()) for b in at.KITTI.bins}
    assert inside == {"easy": 1, "moderate": 2, "hard": 3}


def test_bin_edges():
    area = np.array([0.0, 63.99, 64.0, 1024.0, 9216.0, 1e10, np.nan])
    small, medium, large = (b.contains(area).tolist() for b in at.COCO_SIZE.bins)
    assert small == [True, True, True, True, False, False, False]
    assert medium == [False, False, False, True, True, False, False]
    assert large == [False, False, False, False, True, True, False]
    fine = np.stack([b.contains(area) for b in at.FINE_SIZE.bins])
    assert fine.sum(axis=0).tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert [b.name for b in at.FINE_SIZE.bins][:2] == ["0-8px", "8-16px"]
    assert fine[1, 2], "64 px^2 begins the second bin"


def test_every_default_attribute_measures_every_annotation():
    truth = read_ground_truth(make_coco(5, keypoints=True)[0])
    for attribute in at.default_attributes("keypoints"):
        values = attribute.objects(truth)
        assert values.shape == truth.ids.shape
        inside = np.stack([b.contains(values) for b in attribute.bins])
        if attribute.partition:
            assert (inside.sum(axis=0) <= 1).all(), attribute.name


def test_bins_need_ascending_edges():
    with pytest.raises(InputError, match="ascending"):
        at.edges_to_bins(("a", "b"), (0.0, 2.0, 1.0))
    with pytest.raises(InputError, match="no labels"):
        at.external_attribute("mood", {}, "a file")


@given(st.integers(0, 90))
def test_terciles_are_27_27_26_for_80_and_ties_go_by_position(number):
    group = terciles(np.zeros(number), np.ones(number, bool))
    assert group.tolist() == [3 * i // number for i in range(number)]


def test_terciles_skip_what_is_not_eligible():
    eligible = np.array([True, True, False, True])
    assert terciles(np.array([0.3, 0.1, 0.0, 0.2]), eligible).tolist() == [2, 0, -1, 1]


def test_classes_with_few_objects_or_without_ap_are_unranked():
    ap = np.array([0.1, 0.2, 0.3, np.nan, 0.5])
    objects = np.array([10.0, 9.0, 50.0, 50.0, 50.0])
    axis = difficulty_axis(ap, objects, np.ones(5, bool), source="test")
    assert [axis.bin_of(k) for k in range(5)] == ["hard", None, "medium", None, "easy"]
