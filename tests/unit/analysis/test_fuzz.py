"""Random data sets, made by hypothesis, through both back ends and pycocotools: ties, crowds, duplicates, empty cells."""

import numpy as np
from coco_oracle import BACKENDS, oracle, oracle_tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_parity import evaluate

# Few distinct coordinates and scores: equal IoUs, equal scores and boxes on the edges of area ranges are common.
BOX = st.tuples(
    *[st.sampled_from([0, 5, 10, 31, 33])] * 2, *[st.sampled_from([8, 16, 32, 33, 96])] * 2
)
SCORE = st.sampled_from([0.1, 0.5, 0.5000001, 0.9])
IMAGE = st.sampled_from([3, 1, 7])
CLASS = st.sampled_from([2, 5])
OBJECT = st.tuples(IMAGE, CLASS, BOX, st.booleans(), st.sampled_from([0.4, 1.0]))
DETECTION = st.tuples(IMAGE, CLASS, BOX, SCORE)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OBJECT, min_size=1, max_size=14), st.lists(DETECTION, min_size=1, max_size=20))
def test_boxes_equal_pycocotools(objects, detections):
    truth = {
        "images": [{"id": i, "width": 200, "height": 200} for i in (7, 1, 3)],
        "categories": [{"id": 5, "name": "b"}, {"id": 2, "name": "a"}],
        "annotations": [
            {
                "id": n,
                "image_id": image,
                "category_id": k,
                "bbox": list(map(float, box)),
                "area": box[2] * box[3] * share,
                "iscrowd": int(crowd and n % 3 == 0),
            }
            for n, (image, k, box, crowd, share) in enumerate(objects, 1)
        ],
    }
    results = [
        {"image_id": image, "category_id": k, "bbox": list(map(float, box)), "score": score}
        for image, k, box, score in detections
    ]
    ap, recall = oracle_tables(oracle(truth, results, "bbox"))
    for backend in BACKENDS:
        _, _, table = evaluate(truth, results, "bbox", backend=backend)
        np.testing.assert_allclose(table.ap[:, :, :4], ap, rtol=0, atol=1e-12)
        np.testing.assert_allclose(table.recall[-1][:, :, :4], recall, rtol=0, atol=1e-12)
