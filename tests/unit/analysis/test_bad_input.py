"""Every kind of bad input gives one sentence that names it; well-formed edge cases give numbers or null."""

import contextlib
import copy
import json
import math

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from lth_det.analysis import rle
from lth_det.analysis.analyze import analyze
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.options import Options
from lth_det.errors import InputError

QUICK = Options(replicates=0, errors=False, crosses=())
TRUTH, RESULTS = make_coco(1, images=4, keypoints=True)
MASK_TRUTH, MASK_RESULTS = make_coco(1, images=4, masks=True)


def run(truth, results, **options):
    return analyze(truth, {"a": results}, options=Options(**(vars(QUICK) | options))).to_dict()


def changed(records, index, **fields):
    new = copy.deepcopy(records)
    new[index] |= fields
    return new


RESULT_FAULTS = {
    "not a list": ({"a": 1}, "holds an object"),
    "not objects": ([1, 2], "not a JSON object"),
    "no score": ([{k: v for k, v in RESULTS[0].items() if k != "score"}], "no `score`"),
    "score text": (changed(RESULTS, 1, score="0.9"), "`score` number 1"),
    "score true": (changed(RESULTS, 1, score=True), "`score` number 1"),
    "score null": (changed(RESULTS, 1, score=None), "`score` number 1"),
    "score NaN": (changed(RESULTS, 2, score=math.nan), "finite"),
    "score huge": (changed(RESULTS, 2, score=10**400), "too large"),
    "unknown image": (changed(RESULTS, 0, image_id=10**6), "1000000 not in the images"),
    "unknown category": (changed(RESULTS, 0, category_id=77), "77 not in the categories"),
    "image id text": (changed(RESULTS, 0, image_id="5"), "whole number"),
    "image id fraction": (changed(RESULTS, 0, image_id=5.5), "whole number"),
    "image id beyond 64 bits": (changed(RESULTS, 0, image_id=2**70), "64 bits"),
    "box of three": (changed(RESULTS, 3, bbox=[1, 2, 3]), "`bbox` number 3"),
    "box text": (changed(RESULTS, 3, bbox=[1, 2, 3, "4"]), "`bbox` number 3"),
    "box infinite": (changed(RESULTS, 3, bbox=[1, 2, 3, math.inf]), "finite"),
    "box beyond any image": (changed(RESULTS, 3, bbox=[1, 2, 1e200, 1e200]), "1e9"),
    "box negative": (changed(RESULTS, 3, bbox=[1, 2, -3, 4]), "negative side"),
}


@pytest.mark.parametrize("fault", RESULT_FAULTS)
def test_bad_results_are_named(fault, tmp_path):
    value, words = RESULT_FAULTS[fault]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=words) as caught:
        run(TRUTH, str(path), iou_types=("bbox",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


FILE_FAULTS = {
    "absent": (None, "cannot be read"),
    "cut off": (b'[{"image_id": 1', "not valid JSON"),
    "not JSON": (b"hello", "not valid JSON"),
    "not text": (b"\xff\xfe\x00", "not"),
    "empty": (b"", "not valid JSON"),
    "a ground truth": (json.dumps(TRUTH).encode(), "ground truth given as results"),
    "deeply nested": (b"[" * 100_000, "nested too deeply|not valid JSON"),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_bad_files_are_named(fault, tmp_path):
    content, words = FILE_FAULTS[fault]
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        run(TRUTH, str(path))


def without(value, key, index=None):
    new = copy.deepcopy(value)
    del (new if index is None else new["annotations"][index])[key]
    return new


def annotation(**fields):
    return TRUTH | {"annotations": changed(TRUTH["annotations"], 0, **fields)}


TRUTH_FAULTS = {
    "results given": (RESULTS, "JSON object"),
    "no categories": (without(TRUTH, "categories"), "no `categories`"),
    "no id": (without(TRUTH, "id", 0), "no `id`"),
    "no box": (without(TRUTH, "bbox", 0), "no `bbox`"),
    "id twice": (annotation(id=TRUTH["annotations"][1]["id"]), "two annotations have the id"),
    "image twice": (TRUTH | {"images": TRUTH["images"] * 2}, "two images have the id"),
    "unknown image": (annotation(image_id=-4), "-4 not in the images"),
    "unknown category": (annotation(category_id=99), "99 not in the categories"),
    "crowd text": (annotation(iscrowd="yes"), "`iscrowd`"),
    "crowd 2": (annotation(iscrowd=2), "`iscrowd`"),
    "area text": (annotation(area="big"), "`area`"),
    "keypoints cut": (annotation(keypoints=[1, 2]), "keypoints"),
}


@pytest.mark.parametrize("fault", TRUTH_FAULTS)
def test_bad_ground_truth_is_named(fault, tmp_path):
    value, words = TRUTH_FAULTS[fault]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=words) as caught:
        run(str(path), RESULTS)
    assert str(path) in str(caught.value)


def mask_result(segmentation):
    return changed(MASK_RESULTS, 0, segmentation=segmentation)


FULL = MASK_RESULTS[0]["segmentation"]
MASK_FAULTS = {
    "other size": (mask_result({"size": [10, 10], "counts": FULL["counts"]}), "size"),
    "no size": (mask_result({"counts": FULL["counts"]}), "size"),
    "cut off": (mask_result(FULL | {"counts": FULL["counts"][:-1]}), "damaged"),
    "strange letters": (mask_result(FULL | {"counts": "\x01\x02"}), "damaged"),
    "beyond ASCII": (mask_result(FULL | {"counts": "é"}), "runs"),
    "empty code": (mask_result(FULL | {"counts": ""}), "damaged"),
    "endless number": (mask_result(FULL | {"counts": "o" * 30 + "0"}), "damaged"),
    "runs too short": (mask_result(FULL | {"counts": [1, 2, 3]}), "runs"),
    "runs negative": (mask_result(FULL | {"counts": [240 * 320 + 5, -5]}), "runs"),
    "number": (mask_result(7), "neither polygons"),
    "polygon of two": (mask_result([[1, 2]]), "neither polygons"),
    "polygon text": (mask_result([["a"] * 6]), "neither polygons"),
    "polygon far away": (mask_result([[1e300] * 6]), "neither polygons"),
}


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_bad_masks_are_named(fault):
    value, words = MASK_FAULTS[fault]
    with pytest.raises(InputError, match=words):
        run(MASK_TRUTH, value, iou_types=("segm",))


def test_a_ground_truth_without_some_masks_is_refused_for_masks_only():
    truth = copy.deepcopy(MASK_TRUTH)
    del truth["annotations"][0]["segmentation"]
    results = copy.deepcopy(MASK_RESULTS)
    for result in results:
        result["image_id"] = truth["annotations"][0]["image_id"]
        result["category_id"] = truth["annotations"][0]["category_id"]
    with pytest.raises(InputError, match="has no segmentation"):
        run(truth, results, iou_types=("segm",))
    assert run(truth, results, iou_types=("bbox",))["models"]["a"]["bbox"]["AP"] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "b"}, "--reference b"),
        ({"difficulty_from": "b"}, "--difficulty-from b"),
        ({"consensus": ("b",)}, "--consensus b"),
        ({"iou_types": ("segm",)}, "no masks"),
        ({"iou_types": ("boxes",)}, "--iou-type boxes"),
        ({"crosses": (("size", "colour"),)}, "--cross size,colour"),
        ({"crosses": (("size",),)}, "--cross size"),
        ({"crosses": (("size", "size"),)}, "--cross size,size"),
        ({"frequency": "often"}, "--frequency often"),
        ({"frequency": "pixels:lvis"}, "--frequency pixels:lvis"),
        ({"keypoint_sigmas": (0.1, 0.2), "iou_types": ("keypoints",)}, "--keypoint-sigmas"),
        ({"size_edges": (50.0, 20.0)}, "bins"),
        ({"backend": "rust"}, "rust"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        run(TRUTH, RESULTS, **options)


@pytest.mark.parametrize(
    "fields",
    [{"replicates": -1}, {"level": 1.0}, {"margin": -0.1}, {"seed": -1}, {"most_lost": -1}],
)
def test_numbers_out_of_range_are_refused(fields):
    with pytest.raises(InputError, match="--"):
        Options(**fields)


def test_no_model_is_refused():
    with pytest.raises(InputError, match="--dt"):
        analyze(TRUTH, {}, options=QUICK)


def test_empty_results_give_zero_and_a_warning():
    value = run(TRUTH, [])
    model = value["models"]["a"]["bbox"]
    assert model["AP"] == 0.0
    assert model["AR"] == 0.0
    assert model["detections"] == 0
    assert any("no results" in w for w in value["warnings"])


def test_empty_ground_truth_gives_null_and_a_warning():
    value = run(TRUTH | {"annotations": []}, RESULTS, iou_types=("bbox",))
    model = value["models"]["a"]["bbox"]
    assert model["AP"] is None
    assert model["by_size"]["small"] == {
        "AP": None, "AP50": None, "AP75": None, "AR": None, "APn": None,
        "objects": 0, "images": 0, "classes": 0, "thin": True, "interval": None,
    }  # fmt: skip
    assert any("no objects" in w for w in value["warnings"])


def test_nothing_at_all_and_only_crowds():
    empty = {"images": [], "annotations": [], "categories": []}
    assert run(empty, [])["models"]["a"]["bbox"]["AP"] is None
    crowd = TRUTH | {"annotations": [a | {"iscrowd": 1} for a in TRUTH["annotations"]]}
    assert run(crowd, RESULTS)["models"]["a"]["bbox"]["AP"] is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_input_goes_through_every_part(backend):
    options = Options(replicates=20, backend=backend)
    value = analyze(TRUTH, {"a": RESULTS, "b": []}, options=options).to_dict()
    assert value["models"]["b"]["keypoints"]["AP"] == 0.0
    value = analyze(MASK_TRUTH, {"a": MASK_RESULTS, "b": []}, options=options).to_dict()
    types = value["models"]["b"]["segm"]["errors"]["types"]
    assert types["cls"] == {"count": 0, "dAP": 0.0, "interval": [0.0, 0.0]}
    assert types["miss"]["count"] == value["models"]["b"]["segm"]["objects"]
    value = analyze(TRUTH | {"annotations": []}, {"a": RESULTS, "b": []}, options=options).to_dict()
    assert value["comparisons"][0]["verdict"] is None


def test_missing_fields_that_have_a_meaning():
    truth = copy.deepcopy(TRUTH)
    for a in truth["annotations"]:
        if not a["iscrowd"]:
            del a["iscrowd"]
    del truth["annotations"][0]["area"]
    value = run(truth, RESULTS, iou_types=("bbox",))
    assert any("no `area`" in w for w in value["warnings"])
    sizes = copy.deepcopy(TRUTH)
    for image in sizes["images"]:
        del image["width"], image["height"]
    model = run(sizes, RESULTS, iou_types=("bbox",))["models"]["a"]["bbox"]
    assert model["by_truncation"]["inside"]["objects"] == 0
    assert model["AP"] == run(TRUTH, RESULTS, iou_types=("bbox",))["models"]["a"]["bbox"]["AP"]


def test_an_annotation_id_of_zero_is_an_object():
    truth = copy.deepcopy(TRUTH)
    for a in truth["annotations"]:
        a["id"] -= 1
    assert run(truth, RESULTS) == run(TRUTH, RESULTS) | {"inputs": run(truth, RESULTS)["inputs"]}


def test_boxes_of_zero_size_match_nothing():
    zero = [r | {"bbox": [*r["bbox"][:2], 0, 0]} for r in RESULTS]
    assert run(TRUTH, zero, iou_types=("bbox",))["models"]["a"]["bbox"]["AP"] == 0.0


def test_category_names_that_occur_twice_are_kept_apart():
    truth = TRUTH | {"categories": [c | {"name": "same"} for c in TRUTH["categories"]]}
    model = run(truth, RESULTS)["models"]["a"]["bbox"]
    assert set(model["by_category"]) == {f"same (id {c['id']})" for c in TRUTH["categories"]}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=30))
def test_areas_of_codes_equal_pycocotools(masks):
    arrays = [np.asfortranarray(np.array(m, dtype=np.uint8).reshape(3, 4)) for m in masks]
    codes = [mask_api.encode(a)["counts"] for a in arrays]
    areas = rle.code_areas(codes, np.full(len(codes), 12), where="t", label="mask")
    np.testing.assert_array_equal(areas, [a.sum() for a in arrays])


def test_areas_of_codes_with_long_runs():
    rng = np.random.default_rng(0)
    arrays = [
        np.asfortranarray((rng.random((400, 700)) < p).astype(np.uint8)) for p in (0, 0.01, 0.5, 1)
    ]
    codes = [mask_api.encode(a)["counts"] for a in arrays]
    areas = rle.code_areas(codes, np.full(4, 280_000), where="t", label="mask")
    np.testing.assert_array_equal(areas, [a.sum() for a in arrays])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


def numbers_or_sentence(truth, results):
    """Return the APs of an analysis, or the sentence that refuses it; anything else is an error."""
    try:
        models = run(truth, results)["models"]["a"]
    except InputError as error:
        return str(error)
    return [m["AP"] for m in models.values()]


FIELDS = st.sampled_from(["image_id", "category_id", "bbox", "score", "segmentation", "keypoints"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(index=st.integers(0, 3), field=FIELDS, value=JSON)
def test_any_value_in_a_result_gives_numbers_or_a_sentence(index, field, value):
    results = changed(RESULTS[:8], index, **{field: value})
    found = numbers_or_sentence(TRUTH, results)
    assert len(found) > 20 if isinstance(found, str) else all(0.0 <= ap <= 1.0 for ap in found)


ANNOTATION = st.sampled_from(
    [
        "id",
        "image_id",
        "category_id",
        "bbox",
        "area",
        "iscrowd",
        "keypoints",
        "num_keypoints",
        "segmentation",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(field=ANNOTATION, value=JSON)
def test_any_value_in_an_annotation_gives_numbers_or_a_sentence(field, value):
    found = numbers_or_sentence(annotation(**{field: value}), RESULTS[:8])
    assert len(found) > 20 if isinstance(found, str) else all(0.0 <= ap <= 1.0 for ap in found)


@settings(max_examples=100, deadline=None)
@given(value=JSON, key=st.sampled_from(["images", "annotations", "categories"]))
def test_any_value_in_a_ground_truth_gives_columns_or_a_sentence(value, key):
    with contextlib.suppress(InputError):
        read_ground_truth(TRUTH | {key: value})
