"""Small files that ask for much memory or time are refused, with what they ask for."""

import json
import os
import threading

import numpy as np
import pytest
from coco_oracle import make_coco
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from lth_det.analysis import coco_io, read_json, rle
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.inputs import choose_iou_types
from lth_det.analysis.run_input import read_run
from lth_det.errors import InputError

TRUTH, _ = make_coco(1, images=3, masks=True)
NUMBER = st.floats(-60, 120).map(lambda value: round(value, 2))


@given(NUMBER, NUMBER, NUMBER.map(abs), NUMBER.map(abs), st.integers(1, 40), st.integers(1, 40))
def test_the_code_of_a_box_is_pycocotools_one(x, y, width, height, rows, columns):
    box = np.array([x, y, width, height])
    plain = mask_api.frPyObjects(box[None], rows, columns)[0]
    assert rle.code_of_box(box, (rows, columns))["counts"] == plain["counts"]


def test_a_box_far_outside_of_its_image_costs_nothing():
    code = rle.code_of_box(np.array([0.5, -1e9, 1e9, 2e9]), (40, 60))
    assert mask_api.area(code) == 40 * 59


def test_outlines_of_millions_of_pixels_are_refused(tmp_path):
    truth = json.loads(json.dumps(TRUTH))
    truth["annotations"][0]["segmentation"] = [[0, 0, 1e5, 1e5] * 100]
    with pytest.raises(InputError, match="outline of 20000000 pixels"):
        read_ground_truth(truth)


def test_numbers_of_categories_and_of_objects_in_an_image_have_a_limit(monkeypatch):
    monkeypatch.setattr(coco_io, "_MOST_CATEGORIES", 3)
    with pytest.raises(InputError, match="has 4 categories, more than the 3"):
        read_ground_truth(TRUTH)
    monkeypatch.setattr(coco_io, "_MOST_CATEGORIES", 4)
    read_ground_truth(TRUTH)
    monkeypatch.setattr(coco_io, "_MOST_PER_IMAGE", 1)
    with pytest.raises(InputError, match=r"image \d+ has \d+ annotations, more than the 1 "):
        read_ground_truth(TRUTH)


def test_many_categories_of_one_name_take_no_quadratic_time():
    categories = [{"id": i, "name": "same"} for i in range(40_000)]
    truth = read_ground_truth(
        TRUTH | {"categories": TRUTH["categories"][:0] + categories, "annotations": []}
    )
    assert truth.categories.names[7] == "same (id 7)"


def test_files_larger_than_the_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "large.json"
    path.write_text(json.dumps(TRUTH))
    monkeypatch.setattr(read_json, "memory_bytes", lambda: 4 * path.stat().st_size)
    read_ground_truth(path)
    monkeypatch.setattr(read_json, "memory_bytes", lambda: 4 * path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"large\.json: has .* GB, too much"):
        read_ground_truth(path)


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InputError, match="not a regular file"):
            read_ground_truth(path)
    with pytest.raises(InputError, match="directory"):
        read_ground_truth(tmp_path)


def test_a_pipe_as_result_file_is_not_opened(tmp_path):
    # Its first result is looked at before the whole file is read; to open a pipe is to wait for its writer.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opened = threading.Event()

    def write():
        with pipe.open("wb") as handle:  # returns when somebody reads
            opened.set()
            handle.write(b"[{}]")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        choose_iou_types(read_ground_truth(TRUTH), {"m": [str(pipe)]}, (), sigmas=None)
        assert not opened.is_set()
    finally:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()
        os.close(reader)


def test_half_a_character_is_refused_and_a_whole_one_is_not(tmp_path):
    path = tmp_path / "a.json"
    truth = json.loads(json.dumps(TRUTH))
    truth["categories"][0]["name"] = "\U0001f600"
    path.write_text(json.dumps(truth))
    assert "\U0001f600" in read_ground_truth(path).categories.names
    truth["categories"][0]["name"] = "\ud83d"
    path.write_text(json.dumps(truth))
    with pytest.raises(InputError, match="half a character"):
        read_ground_truth(path)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "a/../../outside.json"])
def test_predictions_outside_of_the_run_are_left_out(tmp_path, name):
    run = tmp_path / "run"
    (run / "round_00").mkdir(parents=True)
    (tmp_path / "outside.json").write_text("[]")
    (run / "round_00/p.json").write_text("[]")
    rounds = [{"round": 0, "predictions": "round_00/p.json"}, {"round": 1, "predictions": name}]
    (run / "results.json").write_text(json.dumps({"rounds": rounds, "dataset": {"json_file": "x"}}))
    found = read_run(run)
    assert list(found.results) == ["dense"]
    assert "round_01 has no predictions" in found.notes[0]
