"""The whole analysis: headline numbers, stable JSON keys, class axes, comparisons, and what must never change."""

import copy
import json
import math

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco, oracle

from lth_det.analysis.analyze import analyze
from lth_det.analysis.attributes import Attribute, edges_to_bins
from lth_det.analysis.metrics import bin_metrics
from lth_det.analysis.options import Options
from lth_det.errors import InputError
from lth_det.io import to_json

QUICK = Options(replicates=0, errors=False)
TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TEN = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def weaker(results, seed, share=0.7):
    generator = np.random.default_rng(seed)
    return [r for r in results if generator.random() < share]


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_headline_numbers_equal_pycocotools(iou_type):
    truth, results = make_coco(
        13, images=20, masks=iou_type == "segm", keypoints=iou_type == "keypoints"
    )
    options = Options(replicates=0, iou_types=(iou_type,))
    model = analyze(truth, {"a": results}, options=options).model("a", iou_type)
    names = TEN if iou_type == "keypoints" else TWELVE
    expected = oracle(truth, results, iou_type).stats
    assert len(expected) == len(names)
    for name, value in zip(names, expected, strict=True):
        assert (-1.0 if math.isnan(model[name]) else model[name]) == pytest.approx(
            value, abs=1e-12
        ), name


def test_inputs_are_not_modified_and_equal_input_gives_equal_bytes():
    truth, results = make_coco(1, masks=True)
    before = copy.deepcopy((truth, results))
    options = Options(replicates=40)
    one = analyze(truth, {"a": results, "b": results[::2]}, options=options).to_dict()
    two = analyze(truth, {"a": results, "b": results[::2]}, options=options).to_dict()
    assert (truth, results) == before
    assert to_json(one) == to_json(two)


def test_stable_keys():
    truth, results = make_coco(2, images=30)
    value = analyze(
        truth, {"dense": results, "t": weaker(results, 1)}, options=Options(replicates=100)
    ).to_dict()
    json.dumps(value, allow_nan=False)
    model = value["models"]["dense"]["bbox"]
    for key in ("AP", "AP50", "AP75", "AR", "by_size", "by_frequency", "by_difficulty"):
        assert key in model
    assert {"small", "medium", "large", "0-8px", "192px+"} <= set(model["by_size"])
    assert set(model["by_frequency"]) == {"rare", "common", "frequent"}
    assert set(model["by_category"]) == {c["name"] for c in truth["categories"]}
    assert len(model["size_x_frequency"]) >= 9
    for bin_ in (model["by_size"]["small"], model["size_x_frequency"]["small/rare"]):
        assert {"AP", "AR", "objects", "images", "classes", "thin"} <= set(bin_)
    for axis, cells in value["axes"]["bbox"].items():
        key = axis if "_x_" in axis else f"by_{axis}"
        assert [b["name"] for b in cells["bins"]] == sorted(
            model[key], key=[b["name"] for b in cells["bins"]].index
        )
    comparison = value["comparisons"][0]
    assert (comparison["model"], comparison["reference"]) == ("t", "dense")
    assert comparison["verdict"] in ("winning", "inconclusive", "losing")


def test_class_bins_are_means_over_their_classes():
    truth, results = make_coco(3, classes=7, images=25)
    train = {
        "annotations": [
            {"image_id": i, "category_id": 2 * k + 1} for k in range(7) for i in range(k * 10 + 3)
        ]
    }
    value = analyze(truth, {"a": results}, train=train, options=QUICK).to_dict()
    model = value["models"]["a"]["bbox"]
    by_class = {c["name"]: c for c in value["dataset"]["categories"]}
    assert [by_class[f"class {k}"]["train_images"] for k in range(7)] == [
        3, 13, 23, 33, 43, 53, 63,
    ]  # fmt: skip
    groups = {"rare": (0, 1, 2), "common": (3, 4), "frequent": (5, 6)}  # floor(3 r / 7)
    for name, classes in groups.items():
        aps = [model["by_category"][f"class {k}"]["AP"] for k in classes]
        assert model["by_frequency"][name]["AP"] == pytest.approx(np.mean(aps), abs=1e-12)
        assert all(by_class[f"class {k}"]["frequency"] == name for k in classes)
    whole = sum(b["objects"] for b in model["by_frequency"].values())
    assert whole == model["objects"] == sum(c["objects"] for c in model["by_category"].values())


def test_lvis_letters_decide_and_limits_can_be_given():
    truth, results = make_coco(3, classes=3)
    for category, letter, count in zip(truth["categories"], "fcr", (500, 50, 5), strict=True):
        category |= {"frequency": letter, "image_count": count, "instance_count": 2 * count}
    value = analyze(truth, {"a": results}, options=QUICK).to_dict()
    assert [c["frequency"] for c in value["dataset"]["categories"]] == [
        "frequent", "common", "rare",
    ]  # fmt: skip
    own = Options(replicates=0, errors=False, frequency="instances:10,100")
    value = analyze(truth, {"a": results}, options=own).to_dict()
    assert [c["frequency"] for c in value["dataset"]["categories"]] == [
        "frequent", "common", "rare",
    ]  # fmt: skip
    with pytest.raises(InputError, match="--frequency 5,1"):
        analyze(truth, {"a": results}, options=Options(replicates=0, frequency="5,1"))


def test_difficulty_is_cross_fitted_unless_another_run_ranks():
    truth, results = make_coco(5, classes=6, images=60)
    models = {"dense": results, "other": weaker(results, 2)}
    value = analyze(truth, models, options=QUICK).to_dict()
    assert value["difficulty_source"]["bbox"]["kind"] == "cross-fitted"
    ranked = Options(replicates=0, errors=False, difficulty_from="other")
    value = analyze(truth, models, options=ranked).to_dict()
    assert value["difficulty_source"]["bbox"]["model"] == "other"
    other, dense = (value["models"][n]["bbox"] for n in ("other", "dense"))
    order = sorted(other["by_category"], key=lambda n: other["by_category"][n]["AP"])
    for i, name in enumerate(("hard", "medium", "easy")):
        classes = order[2 * i : 2 * i + 2]
        aps = [dense["by_category"][c]["AP"] for c in classes]
        assert dense["by_difficulty"][name]["AP"] == pytest.approx(np.mean(aps), abs=1e-12)
        assert all(dense["by_category"][c]["difficulty"] == name for c in classes)


def test_cross_fitting_scores_on_the_other_half():
    """Classes of equal quality: ranked on itself hard < easy by luck alone, cross-fitted there is no such order."""
    gaps = {"direct": [], "fitted": []}
    for seed in range(8):
        truth, results = make_coco(seed, classes=9, images=60, per_image=9.0, crowd=0.0)
        direct = Options(replicates=0, errors=False, difficulty_from="a", crosses=())
        fitted = Options(replicates=0, errors=False, crosses=())
        for name, options in (("direct", direct), ("fitted", fitted)):
            bins = analyze(truth, {"a": results}, options=options).model("a", "bbox")[
                "by_difficulty"
            ]
            gaps[name].append(bins["easy"]["AP"] - bins["hard"]["AP"])
    assert np.mean(gaps["direct"]) > 3 * abs(np.mean(gaps["fitted"]))


def test_a_new_attribute_is_a_name_and_a_function():
    truth, results = make_coco(4)
    left = Attribute(
        "side",
        "Side",
        "x",
        "box centre",
        edges_to_bins(("left", "right"), (0.0, 160.0, np.inf)),
        objects=lambda gt: gt.box[:, 0] + gt.box[:, 2] / 2,
    )
    options = Options(replicates=0, errors=False, crosses=(("side", "frequency"), ("size", "side")))
    model = analyze(truth, {"a": results}, options=options, attributes=(left,)).model("a", "bbox")
    assert (
        model["by_side"]["left"]["objects"] + model["by_side"]["right"]["objects"]
        == model["objects"]
    )
    assert "left/rare" in model["side_x_frequency"]
    assert "small/left" in model["size_x_side"]


def test_external_labels_and_own_sizes():
    truth, results = make_coco(4)
    ids = [a["id"] for a in truth["annotations"] if not a["iscrowd"]]
    options = Options(
        replicates=0,
        errors=False,
        labels={"scene": {i: "dark" if i % 2 else "bright" for i in ids[:10]}},
        size_edges=(20.0, 50.0),
    )
    value = analyze(truth, {"a": results}, options=options).to_dict()
    model = value["models"]["a"]["bbox"]
    assert sum(b["objects"] for b in model["by_scene"].values()) == 10
    assert {"0-20px", "20-50px", "50px+"} <= set(model["by_size"])
    with pytest.raises(InputError, match="--attribute size"):
        analyze(truth, {"a": results}, options=Options(labels={"size": {1: "x"}}))


def test_identical_models_do_not_differ_and_a_worse_one_loses():
    truth, results = make_coco(6, images=60, per_image=6.0)
    poor = weaker(results, 3, 0.3)
    value = analyze(
        truth,
        {"dense": results, "same": copy.deepcopy(results), "poor": poor},
        options=Options(replicates=300, errors=False),
    ).to_dict()
    same, poor_one = value["comparisons"]
    assert same["metrics"]["AP"]["delta"] == 0.0
    assert same["metrics"]["AP"]["interval"] == [0.0, 0.0]
    assert same["verdict"] == "winning"
    assert not any(c["significant"] for c in same["by_category"].values())
    assert (same["objects"]["lost"], same["objects"]["gained"]) == (0, 0)
    assert poor_one["verdict"] == "losing"
    assert poor_one["metrics"]["AP"]["significant"]
    assert poor_one["sign_test"]["worse"] == 4
    lost = poor_one["objects"]
    assert lost["both"] + lost["lost"] == value["models"]["dense"]["bbox"]["found"]["found"]
    assert poor_one["lost_total"] == lost["lost"] == len(poor_one["lost_objects"])
    first = poor_one["lost_objects"][0]
    assert first["annotation_id"] in {a["id"] for a in truth["annotations"]}
    scores = [o["reference_score"] for o in poor_one["lost_objects"]]
    assert scores == sorted(scores, reverse=True)
    assert poor_one["metrics"]["AP"]["relative"] == pytest.approx(
        poor_one["metrics"]["AP"]["delta"] / poor_one["metrics"]["AP"]["reference"]
    )


def test_relative_change_of_a_bin_is_that_of_the_group_means():
    truth, results = make_coco(7, classes=6, images=30)
    value = analyze(truth, {"a": results, "b": weaker(results, 1)}, options=QUICK).to_dict()
    cell = value["comparisons"][0]["by_frequency"]["rare"]
    a, b = (value["models"][n]["bbox"]["by_frequency"]["rare"]["AP"] for n in "ab")
    assert cell["relative"] == pytest.approx((b - a) / a)
    assert cell["interval"] is None


def test_flat_metrics_are_in_percent_and_leave_crosses_out():
    truth, results = make_coco(2)
    value = analyze(truth, {"a": results}, options=QUICK).to_dict()
    found = bin_metrics(value, "a")["bbox"]
    small = value["models"]["a"]["bbox"]["by_size"]["small"]["AP"]
    assert found["AP-size-small"] == pytest.approx(100 * small)
    assert "AP-frequency-rare" in found
    assert math.isnan(found["AP-size-192px+"])
    assert not any("_x_" in name for name in found)


def test_seeds_are_averaged():
    truth, results = make_coco(8, images=30)
    one, two = weaker(results, 1), weaker(results, 2)
    value = analyze(
        truth, {"dense": results, "t": (one, two)}, options=Options(replicates=50, errors=True)
    ).to_dict()
    single = [analyze(truth, {"x": r}, options=QUICK).model("x", "bbox") for r in (one, two)]
    model = value["models"]["t"]["bbox"]
    assert model["AP"] == pytest.approx(np.mean([s["AP"] for s in single]), abs=1e-12)
    assert [s["AP"] for s in model["seeds"]] == pytest.approx([s["AP"] for s in single], abs=1e-12)
    assert value["inputs"]["models"]["t"]["seeds"] == 2
    assert "image noise only" in value["comparisons"][0]["seed_test"]["note"]


def test_consensus_never_grades_its_own_runs():
    truth, results = make_coco(9, images=30)
    models = {
        "dense": results,
        "a": weaker(results, 1),
        "b": weaker(results, 2),
        "c": weaker(results, 3),
    }
    options = Options(replicates=0, errors=False, consensus=("a", "b", "c"))
    value = analyze(truth, models, options=options).to_dict()
    graded = value["models"]["dense"]["bbox"]["by_consensus"]
    assert graded["mostly"]["AP"] > graded["rarely"]["AP"]
    assert value["models"]["a"]["bbox"]["by_consensus"]["mostly"]["AP"] is None
    assert value["comparisons"][0]["by_consensus"]["mostly"]["delta"] is None


@pytest.mark.skipif(len(BACKENDS) < 2, reason="there is no C compiler")
def test_both_back_ends_give_the_same_analysis():
    truth, results = make_coco(10, images=15)
    one, two = (
        analyze(
            truth,
            {"a": results, "b": weaker(results, 1)},
            options=Options(replicates=30, backend=backend),
        ).to_dict()
        for backend in ("numpy", "compiled")
    )
    assert (one["parameters"].pop("backend"), two["parameters"].pop("backend")) == (
        "numpy",
        "compiled",
    )

    def rounded(value):
        if isinstance(value, float):
            return round(value, 9)
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    assert rounded(one) == rounded(two)
