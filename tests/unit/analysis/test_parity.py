"""The engine against pycocotools: per class, threshold and area range, and for arbitrary object groups."""

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco, oracle, oracle_tables

from lth_det.analysis.attributes import COCO_SIZE, OCCLUSION, Attribute, edges_to_bins
from lth_det.analysis.backends import get_backend
from lth_det.analysis.cells import sort_truth
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.columns import Source
from lth_det.analysis.evaluate import DETECTION_LIMITS, Setting, match_file, score
from lth_det.analysis.groups import group_table, make_groups
from lth_det.analysis.overlap import resolve_sigmas
from lth_det.analysis.results_io import Loaded, detections_of

SOURCE = Source(None, None, None, 0)
CASES = {
    "plain": {},
    "ties": {"decimals": 1},
    "crowds": {"crowd": 0.5, "per_image": 8.0},
    "one class, many": {"classes": 1, "per_image": 30.0, "images": 4},
    "sparse": {"images": 30, "per_image": 0.5},
}


def evaluate(truth, results, iou_type, *, attributes=(COCO_SIZE,), crosses=(), backend="numpy"):
    gt = read_ground_truth(truth)
    cells = sort_truth(gt, iou_type)
    table = group_table(make_groups(attributes, crosses), gt, cells)
    sigmas = resolve_sigmas(gt, None) if iou_type == "keypoints" else None
    setting = Setting(
        iou_type, gt, cells, table, get_backend(backend), DETECTION_LIMITS[iou_type], sigmas
    )
    found = detections_of(Loaded(results, None, SOURCE, "test"), gt, iou_type=iou_type)
    matched = match_file(setting, found)
    return setting, matched, score(setting, matched)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_area_ranges_equal_pycocotools(iou_type, case, backend):
    options = {"masks": iou_type == "segm", "keypoints": iou_type == "keypoints", **CASES[case]}
    truth, results = make_coco(7, **options)
    _, _, table = evaluate(truth, results, iou_type, backend=backend)
    reference = oracle(truth, results, iou_type)
    ap, recall = oracle_tables(reference)
    groups = [0, 2, 3] if iou_type == "keypoints" else [0, 1, 2, 3]
    assert np.isfinite(ap).any()
    np.testing.assert_allclose(table.ap[:, :, groups], ap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(table.recall[-1][:, :, groups], recall, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_recall_at_every_detection_limit_equals_pycocotools(backend):
    truth, results = make_coco(3, classes=1, per_image=25.0, images=6)
    _, _, table = evaluate(truth, results, "bbox", backend=backend)
    expected = np.moveaxis(oracle(truth, results, "bbox").eval["recall"], -1, 0)
    np.testing.assert_allclose(np.nan_to_num(table.recall, nan=-1.0), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_curves_equal_pycocotools(backend):
    truth, results = make_coco(11)
    _, _, table = evaluate(truth, results, "bbox", backend=backend)
    expected = np.moveaxis(oracle(truth, results, "bbox").eval["precision"][:, :, :, 0, -1], 1, 2)
    np.testing.assert_allclose(
        np.nan_to_num(table.curves[0], nan=-1.0), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(3))
def test_any_object_group_equals_pycocotools_with_remapped_areas(seed, backend):
    """An object state: objects outside the bin are ignored, unmatched detections are false positives in every bin."""
    truth, results = make_coco(seed, per_image=6.0)
    label = {a["id"]: (a["id"] * 7 + seed) % 3 for a in truth["annotations"]}
    state = Attribute(
        "label",
        "label",
        "code",
        "test",
        edges_to_bins(("zero", "one", "two"), (0.0, 1.0, 2.0, 3.0)),
        objects=lambda gt: np.array([float(label[i]) for i in gt.ids.tolist()]),
    )
    _, _, table = evaluate(truth, results, "bbox", attributes=(state,), backend=backend)
    for code in range(3):
        ap, recall = oracle_tables(
            oracle(
                truth,
                results,
                "bbox",
                ranges=[[0.5, 1.5]],
                truth_area=lambda a, code=code: 1.0 if label[a["id"]] == code else 5.0,
                result_area=lambda _: 1.0,
            )
        )
        np.testing.assert_allclose(table.ap[:, :, 1 + code], ap[:, :, 0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            table.recall[-1][:, :, 1 + code], recall[:, :, 0], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cross_of_geometry_and_state_uses_both_rules(backend):
    truth, results = make_coco(5, per_image=8.0)
    setting, _, table = evaluate(
        truth,
        results,
        "bbox",
        attributes=(COCO_SIZE, OCCLUSION),
        crosses=((COCO_SIZE, OCCLUSION),),
        backend=backend,
    )
    share = dict(zip(setting.truth.ids.tolist(), OCCLUSION.objects(setting.truth), strict=True))
    heavy, medium = OCCLUSION.bins[2], COCO_SIZE.bins[1]
    ap, _ = oracle_tables(
        oracle(
            truth,
            results,
            "bbox",
            ranges=[[medium.low, medium.high]],
            truth_area=lambda a: a["area"] if heavy.contains(np.array(share[a["id"]])) else 1e12,
        )
    )
    group = setting.table.index("size_x_occlusion/medium/heavy")
    assert np.isfinite(ap).any()
    np.testing.assert_allclose(table.ap[:, :, group], ap[:, :, 0], rtol=0, atol=1e-12)


@pytest.mark.skipif(len(BACKENDS) < 2, reason="there is no C compiler")
@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_both_back_ends_give_the_same(iou_type):
    truth, results = make_coco(
        21, images=20, per_image=9.0, masks=iou_type == "segm", keypoints=iou_type == "keypoints"
    )
    attributes = (COCO_SIZE, OCCLUSION)
    one, two = (
        evaluate(truth, results, iou_type, attributes=attributes, crosses=(attributes,), backend=b)
        for b in (BACKENDS[0], BACKENDS[-1])
    )
    np.testing.assert_array_equal(one[1].overlap, two[1].overlap)
    for name in ("hit", "ignored", "match"):
        np.testing.assert_array_equal(
            getattr(one[1].verdicts[0], name), getattr(two[1].verdicts[0], name)
        )
    for name in ("ap", "ap_normalised", "recall"):
        np.testing.assert_allclose(getattr(one[2], name), getattr(two[2], name), rtol=0, atol=1e-13)


def test_cells_of_more_than_64_objects_and_more_than_64_groups():
    truth, results = make_coco(2, images=2, classes=1, per_image=90.0)
    sides = tuple(float(s) for s in range(4, 76))
    fine = Attribute(
        "area",
        "area",
        "px^2",
        "test",
        edges_to_bins(tuple(f"a{i}" for i in range(73)), (0.0, *(s * s for s in sides), 1e10)),
        objects=lambda gt: gt.area,
        detections=lambda _, found: found.area,
    )
    one, two = (
        evaluate(truth, results, "bbox", attributes=(fine,), backend=b)[2]
        for b in (BACKENDS[0], BACKENDS[-1])
    )
    np.testing.assert_allclose(one.ap, two.ap, rtol=0, atol=1e-13)
    assert one.ap.shape[2] == 74
    low, high = sides[40] ** 2, sides[41] ** 2 * (1 - 1e-15)
    ap, _ = oracle_tables(oracle(truth, results, "bbox", ranges=[[0, 1e10], [low, high]]))
    np.testing.assert_allclose(one.ap[:, :, [0, 42]], ap, rtol=0, atol=1e-12)
