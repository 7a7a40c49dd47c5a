import json

import pytest

from lth_det.errors import DataError, InputError
from lth_det.reports.scenes import MOST_DETECTIONS, read_detections, read_scenes

DETECTION = {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
TRUTH = {
    "images": [{"id": 3, "file_name": "a.png", "width": 20, "height": 10}],
    "categories": [{"id": 1, "name": "person", "skeleton": [[1, 2]]}, {"id": 2, "name": "cat"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 3,
            "category_id": 1,
            "bbox": [1, 2, 3, 4],
            "keypoints": [1, 2, 2, 0, 0, 0],
        }
    ],
}


def written(folder, value):
    path = folder / "file.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_ground_truth_is_read_by_image_with_skeletons_counted_from_zero(tmp_path):
    scenes = read_scenes(written(tmp_path, TRUTH))
    assert scenes.pictures[3].file_name == "a.png"
    assert scenes.categories[1].skeleton == ((0, 1),)
    assert scenes.objects[3][0].keypoints == ((1.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    assert [scenes.category_name(number) for number in (2, 9)] == ["cat", "category 9"]


def test_detections_are_the_best_ones_by_falling_score(tmp_path):
    many = [{**DETECTION, "score": 0.1 + 0.005 * (index % 150)} for index in range(150)]
    low = {**DETECTION, "score": 0.01, "image_id": 4}
    found = read_detections(written(tmp_path, [*many, low]))
    scores = [item.score for item in found[3]]
    assert len(scores) == MOST_DETECTIONS
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.845)
    assert 4 not in found


@pytest.mark.parametrize(
    "value",
    ["", "[{", {"a": 1}, [[1]], [{"image_id": 1}], 7, "null"]
    + [[{**DETECTION, "bbox": box}] for box in ([1, 2, 3], ["a"] * 4, None)]
    + [[{**DETECTION, "score": "high"}], '[{"image_id":1,"category_id":1,"score":1,"bbox":[NaN,1,1,1]}]'],
)  # fmt: skip
def test_unusable_detections_are_named_in_one_sentence(tmp_path, value):
    with pytest.raises(InputError, match=r"file\.json"):
        read_detections(written(tmp_path, value))


@pytest.mark.parametrize("value", ["{", [], {"images": []}, {**TRUTH, "annotations": [{"id": 1}]}])
def test_unusable_ground_truth_is_named_in_one_sentence(tmp_path, value):
    with pytest.raises(DataError, match=r"file\.json"):
        read_scenes(written(tmp_path, value))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json"):
        read_scenes(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"gone\.json"):
        read_detections(tmp_path / "gone.json")
