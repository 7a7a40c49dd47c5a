"""Keypoint error types on a case worked out by hand, and their totals on random data."""

import numpy as np
import pytest
from coco_oracle import make_coco
from test_parity import SOURCE, evaluate

from lth_det.analysis import keypoint_errors as kp
from lth_det.analysis.analyze import analyze
from lth_det.analysis.options import Options
from lth_det.analysis.results_io import Loaded, detections_of

SIGMA = 0.1
NAMES = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
SPOTS = np.array([[50.0, 50.0], [40.0, 40.0], [60.0, 40.0], [20.0, 30.0], [80.0, 30.0]])


def distance_of(similarity, area=10_000.0):
    """Return the distance in px at which ks has the given value."""
    return float(np.sqrt(-2.0 * area * (2 * SIGMA) ** 2 * np.log(similarity)))


def person(identity, spots, labelled=2):
    points = [[*spot, labelled] for spot in spots.tolist()]
    return {
        "id": identity,
        "image_id": 1,
        "category_id": 1,
        "bbox": [*spots.min(axis=0).tolist(), 100.0, 100.0],
        "area": 10_000.0,
        "iscrowd": 0,
        "keypoints": [v for p in points for v in p],
        "num_keypoints": len(points),
    }


def result(spots, score=0.9):
    return {
        "image_id": 1,
        "category_id": 1,
        "score": score,
        "keypoints": [v for s in spots.tolist() for v in (*s, 1.0)],
    }


def errors(people, results):
    truth = {
        "images": [{"id": 1, "width": 2000, "height": 2000}],
        "categories": [
            {"id": 1, "name": "person", "keypoints": NAMES, "keypoint_sigmas": [SIGMA] * 5}
        ],
        "annotations": people,
    }
    setting, _, _ = evaluate(truth, results, "keypoints")
    found = detections_of(Loaded(results, None, SOURCE, "t"), setting.truth, iou_type="keypoints")
    return kp.keypoint_errors(setting, found)


def kinds(count):
    """Return the type of every point of a single detection."""
    return [kp.TYPES[int(np.argmax(column))] if column.sum() else None for column in count.T]


def test_every_type_by_hand():
    other = SPOTS + 500.0
    guess = SPOTS.copy()
    guess[0, 0] += distance_of(0.6)  # jitter
    guess[1], guess[2] = (
        SPOTS[1] + [distance_of(0.9), 0],
        other[2],
    )  # good, swap with another person
    guess[3] = SPOTS[4]  # inversion: the other ear
    guess[4] = [1500.0, 1500.0]  # miss
    found = errors([person(1, SPOTS), person(2, other)], [result(guess)])
    # The eyes are 20 px apart, ks = 0.61: the swapped eye lies on the other person and nowhere near.
    assert kinds(found.count) == ["jitter", "good", "swap", "inversion", "miss"]
    assert (found.matched, found.background, found.missed) == (1.0, 0.0, 1.0)


def test_the_other_persons_counterpart_is_a_swap_too():
    other = SPOTS + 500.0
    guess = SPOTS.copy()
    guess[1] = other[2]
    found = errors([person(1, SPOTS), person(2, other)], [result(guess)])
    assert kinds(found.count)[1] == "swap"


@pytest.mark.parametrize(
    ("similarity", "kind"), [(0.86, "good"), (0.84, "jitter"), (0.51, "jitter"), (0.49, "miss")]
)
def test_limits(similarity, kind):
    guess = SPOTS.copy()
    guess[0, 1] += distance_of(similarity)
    assert kinds(errors([person(1, SPOTS)], [result(guess)]).count)[0] == kind


def test_points_without_label_are_left_out_and_background_is_counted():
    one = person(1, SPOTS)
    one["keypoints"][5] = 0
    one["num_keypoints"] = 4
    found = errors([one], [result(SPOTS), result(SPOTS + 900.0, 0.5)])
    assert kinds(found.count) == ["good", None, "good", "good", "good"]
    assert found.background == 1.0


def test_counterparts_from_names_and_for_coco():
    truth, results = make_coco(1, keypoints=True)
    setting, _, _ = evaluate(truth, results, "keypoints")
    flip = kp.counterparts(setting.truth)
    assert flip.tolist() == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def test_totals_in_the_result():
    truth, results = make_coco(2, images=15, keypoints=True)
    value = analyze(truth, {"a": results}, options=Options(replicates=0)).to_dict()
    found = value["models"]["a"]["keypoints"]["errors"]
    assert found["kind"] == "keypoints"
    assert sum(t["count"] for t in found["types"].values()) == found["keypoints"] > 0
    assert sum(t["share"] for t in found["types"].values()) == pytest.approx(1.0)
    sizes = ("small", "medium", "large")
    by_size = sum(found["by_size"][s][t]["count"] for s in sizes for t in kp.TYPES)
    assert by_size == found["keypoints"]
    assert (
        found["matched"] + found["missed"]["count"] == value["models"]["a"]["keypoints"]["objects"]
    )
