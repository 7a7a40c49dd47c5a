"""Error types against the tidecv package, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco
from test_bootstrap import repeated
from test_parity import evaluate

from lth_det.analysis.backends import get_backend
from lth_det.analysis.bootstrap import Draws
from lth_det.analysis.columns import Source
from lth_det.analysis.results_io import Loaded, detections_of
from lth_det.analysis.tide import TYPES, find_errors
from lth_det.analysis.tide_ap import file_errors
from lth_det.analysis.tide_bootstrap import error_replicates

SOURCE = Source(None, None, None, 0)
SHORT = {"Cls": "cls", "Loc": "loc", "Both": "both", "Dupe": "dupe", "Bkg": "bkg", "Miss": "miss"}


def ours(truth, results, iou_type):
    setting, _, _ = evaluate(truth, results, iou_type)
    found = detections_of(Loaded(results, None, SOURCE, "test"), setting.truth, iou_type=iou_type)
    errors = find_errors(setting, found)
    return setting, errors, file_errors(setting, found, errors)


def theirs(truth, results, iou_type):
    """Run tidecv (it keeps references to its input, so it gets copies of everything)."""
    tidecv = pytest.importorskip("tidecv", reason="tidecv is not installed")
    gt, dt = tidecv.Data("gt"), tidecv.Data("dt")
    names = {c["id"]: c["name"] for c in truth["categories"]}
    sizes = {i["id"]: (i["height"], i["width"]) for i in truth["images"]}
    for identity, name in names.items():
        gt.add_class(identity, name)
    for image in sorted(sizes):
        gt.add_image(image, str(image))
    for a in truth["annotations"]:
        mask = as_code(a.get("segmentation"), sizes[a["image_id"]])
        gt.add_ground_truth(a["image_id"], a["category_id"], list(a["bbox"]), mask)
    for r in results:
        mask = as_code(r.get("segmentation"), sizes[r["image_id"]])
        dt.add_detection(r["image_id"], r["category_id"], r["score"], r.get("bbox"), mask)
    mode = tidecv.TIDE.BOX if iou_type == "bbox" else tidecv.TIDE.MASK
    with contextlib.redirect_stdout(io.StringIO()):
        tide = tidecv.TIDE()
        run = tide.evaluate(gt, dt, mode=mode)
        main = tide.get_main_errors()["dt"]
        special = tide.get_special_errors()["dt"]
        counts = {k.short_name: v for k, v in run.count_errors().items()}
    return run.ap, main, special, counts


def as_code(segmentation, size):
    from pycocotools import mask as mask_api

    if segmentation is None or isinstance(segmentation, dict):
        return segmentation
    return mask_api.merge(mask_api.frPyObjects(segmentation, *size))


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_errors_equal_tidecv(seed, iou_type):
    truth, results = make_coco(seed, images=20, per_image=6.0, crowd=0.0, masks=iou_type == "segm")
    assert {a["category_id"] for a in truth["annotations"]} == {1, 3, 5, 7}
    ap, main, special, counts = theirs(truth, results, iou_type)
    _, _, found = ours(truth, results, iou_type)
    assert 100 * np.nanmean(found.ap50) == pytest.approx(ap, abs=1e-9)
    gain = 100 * (np.nanmean(found.mended, axis=1) - np.nanmean(found.ap50))
    for name, short in SHORT.items():
        code = TYPES.index(short)
        assert found.count[code].sum() == counts[name], name
        assert max(gain[code], 0.0) == pytest.approx(main[name], abs=1e-9), name
    gain = 100 * (np.nanmean(found.special, axis=1) - np.nanmean(found.ap50))
    assert gain[0] == pytest.approx(special["FalsePos"], abs=1e-9)
    assert gain[1] == pytest.approx(special["FalseNeg"], abs=1e-9)
    assert min(counts.values()) > 0, "every type must occur for the comparison to mean anything"


def scene(boxes, found):
    """One 100 x 100 image, two classes; ``boxes`` (class, box), ``found`` (class, box, score)."""
    truth = {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": k, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for i, (k, b) in enumerate(boxes, 1)
        ],
    }
    return truth, [{"image_id": 1, "category_id": k, "bbox": b, "score": s} for k, b, s in found]


def test_every_type_by_hand():
    truth, results = scene(
        [(1, [0, 0, 20, 20]), (2, [50, 50, 20, 20]), (1, [0, 60, 20, 20]), (2, [80, 0, 10, 10])],
        [
            (1, [0, 0, 20, 20], 0.9),  # true positive
            (1, [0, 1, 20, 20], 0.8),  # duplicate
            (1, [50, 50, 20, 20], 0.7),  # right place, wrong class
            (1, [0, 68, 20, 20], 0.6),  # IoU 3/7 with the third object
            (2, [30, 30, 5, 5], 0.5),  # background
            (1, [50, 58, 20, 20], 0.4),  # wrong class and badly placed
        ],
    )
    _, errors, found = ours(truth, results, "bbox")
    kinds = {0.8: "dupe", 0.7: "cls", 0.6: "loc", 0.5: "bkg", 0.4: "both"}
    for detection, kind in zip(errors.detection, errors.kind, strict=True):
        assert TYPES[kind] == kinds[float(errors.cells.score[detection])]
    assert errors.mends.sum() == 2
    assert errors.missed.sum() == 1
    assert found.count.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicates_of_gains(backend):
    """With every image once a row is the gain itself; with weights it is the gain on data with images repeated."""
    truth, results = make_coco(3, images=20, per_image=6.0)
    setting, errors, found = ours(truth, results, "bbox")
    weights = np.ones((2, 20))
    weights[1] = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20))
    rows = error_replicates(
        errors,
        setting.table.members[0],
        setting.cells.classes,
        Draws(1, weights, 0),
        backend=get_backend(backend),
    )
    # Recall points differ from tidecv's in the last bit, which moves an AP by up to 1 / 101 where a recall hits one.
    gain = np.nanmean(found.mended, axis=1) - np.nanmean(found.ap50)
    np.testing.assert_allclose(rows[0], gain, rtol=0, atol=0.004)
    again, found_again = repeated(truth, results, weights[1])
    _, _, expected = ours(again, found_again, "bbox")
    gain = np.nanmean(expected.mended, axis=1) - np.nanmean(expected.ap50)
    np.testing.assert_allclose(rows[1], gain, rtol=0, atol=0.004)
    assert gain.min() > 0.005, "gains must be larger than the tolerance"


def test_a_detection_on_a_crowd_is_no_error():
    truth, results = scene([(1, [0, 0, 50, 50])], [(1, [10, 10, 20, 20], 0.9)])
    truth["annotations"][0]["iscrowd"] = 1
    _, errors, _ = ours(truth, results, "bbox")
    assert errors.detection.size == 0
    assert errors.ignored.tolist() == [True]


def test_errors_of_bins_add_up_to_all():
    truth, results = make_coco(9, images=15, per_image=7.0)
    setting, errors, found = ours(truth, results, "bbox")
    sizes = [setting.table.index(f"size/{n}") for n in ("small", "medium", "large")]
    assert np.isfinite(found.group_count[:, sizes]).all()
    for code, name in enumerate(TYPES[:-1]):
        whole = (errors.kind == code).sum()
        # COCO's ranges share their edges, and no random area lies on one.
        assert found.group_count[code, sizes].sum() == whole, name
    assert found.group_count[-1, sizes].sum() == errors.missed.sum()
