"""Bootstrap replicates against pycocotools on data whose images are really repeated."""

import numpy as np
import pytest
from coco_oracle import BACKENDS, make_coco, oracle, oracle_tables
from test_parity import evaluate

from lth_det.analysis.axes import FIRST, FULL, SECOND
from lth_det.analysis.bootstrap import ModelReplicates, bootstrap_file, draw, row_means
from lth_det.analysis.evaluate import score


def repeated(truth, results, weights):
    """Return data in which image i (by ascending id) occurs weights[i] times."""
    new = {"images": [], "annotations": [], "categories": truth["categories"]}
    found = []
    for image, times in zip(sorted(truth["images"], key=lambda r: r["id"]), weights, strict=True):
        for _ in range(int(times)):
            number = len(new["images"]) + 1
            new["images"].append(image | {"id": number})
            for a in truth["annotations"]:
                if a["image_id"] == image["id"]:
                    new["annotations"].append(
                        a | {"image_id": number, "id": len(new["annotations"]) + 1}
                    )
            found += [r | {"image_id": number} for r in results if r["image_id"] == image["id"]]
    return new, found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_replicate_equals_pycocotools_on_repeated_images(seed, backend):
    truth, results = make_coco(seed, images=15, per_image=5.0)
    setting, matched, _ = evaluate(truth, results, "bbox", backend=backend)
    weights = np.random.default_rng(seed).multinomial(15, np.full(15, 1 / 15), size=11)
    weights = np.concatenate([weights, np.ones((1, 15), int)])
    for group in range(4):
        ap = setting.backend.bootstrap(
            matched.cells, matched.verdicts[0], matched.bits[0], group, weights.astype(float)
        )
        for row in (0, 7, 10, 11):
            expected, _ = oracle_tables(oracle(*repeated(truth, results, weights[row]), "bbox"))
            np.testing.assert_allclose(ap[row], expected[:, :, group], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_class_without_weighted_objects_leaves_the_replicate(backend):
    truth, results = make_coco(4, images=30, per_image=1.0)
    setting, matched, _ = evaluate(truth, results, "bbox", backend=backend)
    where = matched.cells.truth
    chosen = where.category[~where.ignored][0]
    weights = np.ones((1, 30))
    weights[0, where.image[(where.category == chosen) & ~where.ignored]] = 0.0
    ap = setting.backend.bootstrap(matched.cells, matched.verdicts[0], matched.bits[0], 0, weights)
    assert np.isnan(ap[0, :, chosen]).all()
    assert np.isfinite(ap).any()


def test_halves_equal_an_evaluation_of_those_images_alone():
    truth, results = make_coco(8, images=16, per_image=6.0)
    setting, matched, full = evaluate(truth, results, "bbox")
    half = np.arange(16) % 2 == 0
    there = {
        i for i, kept in zip(sorted(r["id"] for r in truth["images"]), half, strict=True) if kept
    }
    part = {
        "images": [r for r in truth["images"] if r["id"] in there],
        "annotations": [a for a in truth["annotations"] if a["image_id"] in there],
        "categories": truth["categories"],
    }
    ap, recall = oracle_tables(oracle(part, [r for r in results if r["image_id"] in there], "bbox"))
    table = score(setting, matched, images=half)
    np.testing.assert_allclose(table.ap[:, :, :4], ap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(table.recall[-1][:, :, :4], recall, rtol=0, atol=1e-12)
    assert not np.allclose(np.nan_to_num(table.ap), np.nan_to_num(full.ap))
    draws = draw(16, 3, seed=5)
    rows = bootstrap_file(setting, matched, draws, groups=(0, 1), halves=(half, ~half))
    weights = draws.weights[1] * half
    expected, _ = oracle_tables(oracle(*repeated(truth, results, weights), "bbox"))
    np.testing.assert_allclose(
        rows.ap[FIRST][1][1], expected[:, :, 1].mean(axis=0), rtol=0, atol=1e-12
    )
    assert set(rows.ap) == {FULL, FIRST, SECOND}


def test_draws_are_seeded_multinomial_and_paired():
    one, two, other = draw(40, 6, seed=1), draw(40, 6, seed=1), draw(40, 6, seed=2)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert (one.weights[:6].sum(axis=1) == 40).all()
    assert (one.weights[:6] > 1).any(), "images must be drawn with repetition"
    assert not np.array_equal(one.weights[:6], other.weights[:6])
    left_out = one.weights[6:]
    assert left_out.shape[0] == 40
    np.testing.assert_array_equal(left_out.sum(axis=0), np.full(40, 39.0))


def test_three_seeds_are_resampled_and_two_are_averaged():
    draws = draw(10, 50, seed=3)
    rows = draws.weights.shape[0]
    files = []
    for value in (0.2, 0.4, 0.9):
        truth_like = np.full((rows, 2), value)
        files.append(
            type("R", (), {"ap": {FULL: {0: truth_like}}, "ap50": truth_like, "ap75": truth_like})()
        )
    classes = np.ones(2, bool)
    two = ModelReplicates(files[:2], draws, stream=1).headline("AP", classes)
    np.testing.assert_allclose(two, 0.3)
    three = ModelReplicates(files, draws, stream=1).headline("AP", classes)
    assert three[:50].std() > 0.05
    np.testing.assert_allclose(three[50:], 0.5)


def test_row_means_skip_unknown_values():
    rows = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(row_means(rows), [2.0, np.nan])
