"""Small rules, each on a case where breaking it shows."""

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco, oracle, oracle_tables
from test_parity import SOURCE, evaluate

from lth_det.analysis.analyze import analyze
from lth_det.analysis.attributes import COCO_SIZE, Attribute, edges_to_bins
from lth_det.analysis.file_scores import tie_rate
from lth_det.analysis.found import best_cuts, find_objects
from lth_det.analysis.options import Options
from lth_det.analysis.results_io import Loaded, detections_of
from lth_det.errors import InputError


def row_of_objects(number, found, scores=None):
    """One image per object, one class; ``found`` of the objects have a perfect detection, the others a stray one."""
    truth = {
        "images": [{"id": i, "width": 100, "height": 100} for i in range(number)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {
                "id": i + 1,  # pycocotools takes an id of 0 for "not matched"
                "image_id": i,
                "category_id": 1,
                "bbox": [10, 10, 20, 20],
                "area": 400,
                "iscrowd": 0,
            }
            for i in range(number)
        ],
    }
    results = [
        {
            "image_id": i,
            "category_id": 1,
            "bbox": [10, 10, 20, 20] if i in found else [60, 60, 20, 20],
            "score": scores[i] if scores else 1.0 - i / number,
        }
        for i in range(number)
    ]
    return truth, results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hits", [7, 14, 28, 29, 55, 57, 58, 100])
def test_a_recall_that_is_just_a_recall_point(hits, backend):
    truth, results = row_of_objects(100, set(range(hits)))
    _, matched, table = evaluate(truth, results, "bbox", backend=backend)
    ap, _ = oracle_tables(oracle(truth, results, "bbox"))
    np.testing.assert_allclose(table.ap[:, :, 0], ap[:, :, 0], rtol=0, atol=1e-14)
    setting, matched, _ = evaluate(truth, results, "bbox", backend=backend)
    rows = setting.backend.bootstrap(
        matched.cells, matched.verdicts[0], matched.bits[0], 0, np.ones((1, 100))
    )
    np.testing.assert_allclose(rows[0], ap[:, :, 0], rtol=0, atol=1e-14)


def test_an_object_counts_as_found_from_the_best_f1_on():
    # By score: hit, hit, stray, hit, stray, stray. F1: 2/7, 4/8, 4/9, 6/10, 6/11, 6/12: the best cut is the third hit's.
    truth, results = row_of_objects(6, {0, 1, 3})
    setting, matched, _ = evaluate(truth, results, "bbox")
    assert best_cuts(setting, matched).tolist() == [results[3]["score"]]
    found = detections_of(Loaded(results, None, SOURCE, "t"), setting.truth, iou_type="bbox")
    seen = find_objects(setting, matched, found)
    assert seen.found.tolist() == [True, True, False, True, False, False]
    assert seen.score[3] == results[3]["score"]
    assert seen.box[3].tolist() == [10.0, 10.0, 20.0, 20.0]


def test_a_cut_keeps_all_detections_of_its_score():
    # Two hits and eight strays share a score: cutting between them is impossible.
    truth, results = row_of_objects(10, {0, 1, 2}, scores=[0.9] + [0.5] * 9)
    setting, matched, _ = evaluate(truth, results, "bbox")
    # Keeping all: 6 / 20; keeping the first alone: 2 / 11; a cut inside the tie (6 / 13) does not exist.
    assert best_cuts(setting, matched).tolist() == [0.5]


def test_low_scored_hits_are_not_found():
    truth, results = row_of_objects(10, {0, 1, 9})
    setting, matched, _ = evaluate(truth, results, "bbox")
    found = detections_of(Loaded(results, None, SOURCE, "t"), setting.truth, iou_type="bbox")
    assert np.flatnonzero(find_objects(setting, matched, found).found).tolist() == [0, 1]


def test_ties_count_inside_a_cell_only():
    truth, results = make_coco(1)
    for i, result in enumerate(results):
        result["score"] = 0.5 if i < 4 else (i + 1) / 1000
        if i < 4:
            result |= {"image_id": results[0]["image_id"], "category_id": [1, 1, 1, 3][i]}
    _, matched, _ = evaluate(truth, results, "bbox")
    assert tie_rate(matched.cells) == pytest.approx(3 / len(results))


@pytest.mark.parametrize("backend", BACKENDS)
def test_normalised_precision_is_that_of_equal_prevalence(backend):
    """Hoiem et al. 2012: p = r N / (r N + fp), N the class's mean count over the bins of the attribute."""
    truth, results = row_of_objects(10, set(range(6)))
    for result in results[6:]:
        result["score"] = 0.95  # four strays before most hits
    label = {i: 0.0 if i < 2 else 1.0 for i in range(10)}
    state = Attribute(
        "kind",
        "kind",
        "code",
        "test",
        edges_to_bins(("few", "many"), (0.0, 1.0, 2.0)),
        objects=lambda gt: np.array([label[i - 1] for i in gt.ids.tolist()]),
    )
    _, _, table = evaluate(truth, results, "bbox", attributes=(state,), backend=backend)
    mean_count = (2 + 8) / 2
    for group, (first, objects) in {1: (0, 2), 2: (2, 8)}.items():
        hits = [i for i in range(6) if label[i] == label[first]]
        curve = []
        for rank, i in enumerate(hits, 1):
            recall = rank / objects
            strays = sum(r["score"] > results[i]["score"] for r in results[6:])
            curve.append((recall, recall * mean_count / (recall * mean_count + strays)))
        points = np.linspace(0, 1, 101)
        expected = np.mean([max((p for r, p in curve if r >= q), default=0.0) for q in points])
        assert table.ap_normalised[0, 0, group] == pytest.approx(expected, abs=1e-12)
    # Raw AP punishes the smaller bin for strays that belong to no bin.
    assert table.ap_normalised[0, 0, 1] - table.ap[0, 0, 1] > 0.05
    assert table.ap_normalised[0, 0, 2] < table.ap[0, 0, 2]


def test_cross_fitted_bins_count_each_object_once():
    truth, results = make_coco(3, classes=6, images=80, per_image=8.0)
    model = analyze(truth, {"a": results}, options=Options(replicates=0, errors=False)).model(
        "a", "bbox"
    )
    assert sum(b["objects"] for b in model["by_difficulty"].values()) == model["objects"]
    assert all(b["images"] <= 80 for b in model["by_difficulty"].values())


def test_classes_are_significant_by_false_discovery_rate():
    truth, results = make_coco(6, images=80, per_image=8.0)
    worse = [r for i, r in enumerate(results) if r["category_id"] != 3 or i % 4 == 0]
    value = analyze(
        truth, {"a": results, "b": worse}, options=Options(replicates=300, errors=False)
    ).to_dict()
    classes = value["comparisons"][0]["by_category"]
    assert classes["class 1"]["significant"]
    assert classes["class 1"]["q"] <= 0.05
    assert classes["class 1"]["q"] == pytest.approx(4 * classes["class 1"]["p"], rel=1e-6)
    assert not any(c["significant"] for n, c in classes.items() if n != "class 1")


def test_a_class_seen_in_few_images_gets_no_interval_and_no_verdict():
    # All its objects are in one image: every resample has them or has none, which would look like certainty.
    truth, results = make_coco(6, images=80, per_image=8.0)
    rare = max(c["id"] for c in truth["categories"]) + 1
    truth["categories"].append({"id": rare, "name": "rare"})
    image = truth["images"][0]["id"]
    last = max(a["id"] for a in truth["annotations"])
    for k in range(3):
        box = [20.0 * k, 5.0, 15.0, 15.0]
        truth["annotations"].append(
            {
                "id": last + 1 + k,
                "image_id": image,
                "category_id": rare,
                "bbox": box,
                "area": 225.0,
                "iscrowd": 0,
            }
        )
        results.append({"image_id": image, "category_id": rare, "bbox": box, "score": 0.9})
    worse = [r for r in results if r["category_id"] != rare]
    value = analyze(
        truth, {"a": results, "b": worse}, options=Options(replicates=300, errors=False)
    ).to_dict()
    found = value["comparisons"][0]["by_category"]["rare"]
    assert found["delta"] == -1.0
    assert (found["interval"], found["p"], found["significant"]) == (None, None, None)


def test_bins_of_an_axis_are_corrected_by_holm():
    truth, results = make_coco(6, images=80, per_image=8.0)
    small = {a["id"] for a in truth["annotations"] if a["area"] < 1024}
    assert small
    worse = [r for r in results if r["bbox"][2] * r["bbox"][3] > 1024]
    value = analyze(
        truth, {"a": results, "b": worse}, options=Options(replicates=300, errors=False)
    ).to_dict()
    bins = value["comparisons"][0]["by_size"]
    assert bins["small"]["significant"]
    assert bins["small"]["p"] == pytest.approx(2 / 301)
    assert value["comparisons"][0]["by_size_rel"].keys() == {"XS", "S", "M", "L", "XL"}


def test_intervals_of_other_axes_are_made_when_asked_for(monkeypatch):
    from lth_det.analysis import bootstrap

    monkeypatch.setattr(bootstrap, "CHEAP", 0)
    truth, results = make_coco(2, images=20)
    for axes, present in ((None, False), (("occlusion",), True)):
        options = Options(replicates=50, errors=False, bootstrap_axes=axes)
        model = analyze(truth, {"a": results}, options=options).model("a", "bbox")
        assert (model["by_occlusion"]["bare"]["interval"] is not None) is present
        assert model["by_size"]["small"]["interval"] is not None
        assert model["by_crowding"]["alone"]["interval"] is None


def test_axes_that_there_are_not_get_no_intervals_in_silence():
    truth, results = make_coco(2, images=4)
    options = Options(replicates=50, errors=False, crosses=(), bootstrap_axes=("occlusions",))
    with pytest.raises(InputError, match="--bootstrap-axes occlusions: there is no such axis"):
        analyze(truth, {"a": results}, options=options)


def test_the_official_sizes_share_their_edges():
    assert [(b.low, b.high) for b in COCO_SIZE.bins] == [(0, 1024), (1024, 9216), (9216, 1e10)]
    truth, results = row_of_objects(2, {0, 1})
    for annotation in truth["annotations"]:
        annotation["area"] = 1024
    model = analyze(truth, {"a": results}, options=Options(replicates=0)).model("a", "bbox")
    assert (model["by_size"]["small"]["objects"], model["by_size"]["medium"]["objects"]) == (2, 2)


def test_a_frequency_without_training_annotations_is_called_a_proxy():
    truth, results = make_coco(3)
    options = Options(replicates=0, errors=False)
    titles = [
        analyze(truth, {"a": results}, train=train, options=options).value["axes"]["bbox"][
            "frequency"
        ]["title"]
        for train in (None, truth)
    ]
    assert titles == ["Class frequency, by proxy", "Class frequency in training"]
