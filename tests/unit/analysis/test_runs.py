"""Masks as other people's files may give them: nothing may reach C code that writes past its memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from lth_det.analysis import measures, runs
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.rle import code_areas, to_code
from lth_det.errors import InputError

RUNS = st.lists(st.integers(0, 2**27), min_size=1, max_size=12)


def code(mask):
    return mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def draw(seed, height=30, width=20):
    return np.random.default_rng(seed).random((height, width)) < 0.4


@given(RUNS)
def test_compressing_and_reading_are_inverse(values):
    assert runs.run_lengths(runs.compress(values)) == values


def test_codes_equal_pycocotools():
    for seed in range(5):
        mask = draw(seed)
        lengths = runs.run_lengths(code(mask))
        assert sum(lengths) == mask.size
        assert runs.compress(lengths) == code(mask)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_without_empty_runs_it_is_the_same_mask(values):
    shown = runs.without_empty(values)
    assert all(shown[1:])
    pixels = [np.repeat(np.arange(len(v)) % 2, v).tolist() for v in (values, shown)]
    assert pixels[0] == pixels[1]


def test_a_list_with_empty_runs_is_read_and_a_code_with_them_is_no_annotation():
    # Merged as they stand with another mask, 2,000 runs for one pixel overwrite the memory behind two numbers.
    counts = [0] * 2000 + [1]
    read = to_code({"size": [1, 1], "counts": counts}, (1, 1), where="f", what="it")
    assert runs.run_lengths(read["counts"]) == [1]
    hostile = [runs.compress(counts)]
    area = code_areas(hostile, np.array([1]), where="f", label="mask")
    assert area.tolist() == [0.0]
    with pytest.raises(InputError, match="mask number 0 has a run of no pixels; encode it again"):
        code_areas(hostile, np.array([1]), where="f", label="mask", merged=True)
    starts_inside = [runs.compress([0, 1])]
    assert code_areas(starts_inside, np.array([1]), where="f", label="m", merged=True) == [1.0]


def annotations(segmentations, size):
    height, width = size
    box = [0.0, 0.0, float(width), float(height)]
    return {
        "images": [{"id": 1, "height": height, "width": width}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "area": 9.0, "iscrowd": 0, "segmentation": s}
            for i, s in enumerate(segmentations, start=1)
        ],
    }  # fmt: skip


def test_an_annotation_file_with_empty_runs_is_refused():
    hostile = {"size": [2, 2], "counts": runs.compress([0] * 2001 + [4]).decode()}
    plain = {"size": [2, 2], "counts": [1, 3]}
    with pytest.raises(InputError, match="annotation mask number 0 has a run of no pixels"):
        read_ground_truth(annotations([hostile, plain], (2, 2)))


def test_polygons_too_large_for_the_encoder_are_refused_and_codes_are_not():
    size = (8000, 8000)
    with pytest.raises(InputError, match="polygons over 16,777,216 pixels or more"):
        to_code([[0, 0, 8000, 0, 8000, 8000, 0, 8000]], size, where="f", what="it")
    with pytest.raises(InputError, match="polygons over"):
        to_code([[0, 0, 8000, 8000]], size, where="f", what="it")
    small = to_code([[10, 10, 30, 10, 30, 30, 10, 30]], size, where="f", what="it")
    assert mask_api.area(small) == 400
    # Four runs of six characters each: 25 bytes with the end, in an encoder that takes 24.
    large = to_code({"size": [8000, 8000], "counts": [2**24, 2**24, 2**24, 64_000_000 - 3 * 2**24]}, size, where="f", what="it")  # fmt: skip
    assert code_areas([large["counts"]], np.array([64_000_000]), where="f", label="m") == [64_000_000 - 2 * 2**24]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 5])
def test_covered_pixels_equal_those_of_drawn_masks(number):
    mine, others = draw(0), [draw(seed) for seed in range(1, number + 1)]
    wanted = (mine & np.any(others, axis=0)).sum()
    assert runs.covered(code(mine), [code(other) for other in others]) == wanted
    assert runs.covered(code(mine), [code(np.zeros_like(mine))]) == 0


def test_large_images_are_measured_as_small_ones(monkeypatch):
    segmentations = [{"size": [30, 20], "counts": code(draw(seed)).decode()} for seed in range(3)]
    shares = []
    for large in (runs.LARGE, 1):
        monkeypatch.setattr(runs, "LARGE", large)
        truth = read_ground_truth(annotations(segmentations, (30, 20)))
        shares.append(measures.covered_share(truth))
    assert shares[0].tolist() == shares[1].tolist()
    assert 0 < shares[0].min() < shares[0].max() < 1
