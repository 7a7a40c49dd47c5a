import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lth_det.analysis.runs import run_lengths
from lth_det.errors import DataError
from lth_det.reports.images import PANEL_WIDTH, draw_marks, encode_for_page, read_image, strip
from lth_det.reports.marks import Mark, Panel
from lth_det.reports.outlines import outlines_of

GREY = np.full((60, 80, 3), 128, np.uint8)
BLUE_BGR = (0xB2, 0x72, 0x00)


def area_of(outlines, shape=(60, 80)):
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.floor(np.array(outline)).astype(np.int32) for outline in outlines], 1)
    return canvas


def test_run_length_masks_become_outlines_that_enclose_them_and_their_holes():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 20:60] = 1
    mask[20:30, 30:45] = 0
    mask[50:55, 2:9] = 1
    outlines = outlines_of(coco_mask.encode(np.asfortranarray(mask)), height=60, width=80)
    assert len(outlines) == 3
    drawn = area_of(outlines)
    overlap = (drawn & mask).sum() / (drawn | mask).sum()
    assert overlap > 0.9


@pytest.mark.parametrize("seed", range(8))
def test_compressed_codes_are_read_as_pycocotools_wrote_them(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 90, 2))
    mask = np.asfortranarray(cv2.blur((rng.random(shape) < 0.4) * 255.0, (5, 5)) > 100, np.uint8)
    runs = run_lengths(coco_mask.encode(mask)["counts"])
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs), mask.ravel(order="F"))


def test_polygons_keep_their_points_and_uncompressed_codes_are_read():
    assert outlines_of([[0, 0, 4, 0, 4, 3], [1, 1]], height=9, width=9) == (
        ((0, 0), (4, 0), (4, 3)),
    )
    code = {"size": [6, 6], "counts": [7, 3, 3, 3, 3, 3, 14]}
    assert len(outlines_of(code, height=6, width=6)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"size": [5, 5], "counts": "x"},
        {"size": [9, 9]},
        {"size": [9, 9], "counts": [9, 9]},
        {"size": [9, 9], "counts": [90, -9]},
        3,
        "x",
        [3],
    ],
)
def test_unreadable_segmentations_have_no_outline(bad):
    assert outlines_of(bad, height=9, width=9) == ()


def test_marks_are_drawn_in_the_colour_of_their_state_and_the_input_stays():
    before = GREY.copy()
    mark = Mark("found", "", (10.0, 20.0, 30.0, 25.0))
    drawn = draw_marks(GREY, [mark])
    assert np.array_equal(before, GREY)
    assert tuple(drawn[32, 10]) == BLUE_BGR
    assert tuple(drawn[32, 25]) == (128, 128, 128)


def test_missed_objects_are_dashed_and_not_filled():
    outline = (((10.0, 20.0), (40.0, 20.0), (40.0, 45.0), (10.0, 45.0)),)
    missed = draw_marks(GREY, [Mark("missed", "", (10.0, 20.0, 30.0, 25.0), outline)])
    filled = draw_marks(GREY, [Mark("found", "", (10.0, 20.0, 30.0, 25.0), outline)])
    assert tuple(missed[32, 25]) == (128, 128, 128)
    assert tuple(filled[32, 25]) != (128, 128, 128)
    column = (missed[20:45, 10] != 128).any(axis=1)
    assert 0 < column.sum() < len(column)


def test_a_strip_shows_only_marks_inside_the_score_cut():
    mark = Mark("found", "", (10.0, 20.0, 30.0, 25.0), shown_up_to=0.6)
    shown, hidden = (strip(GREY, [Panel("a", (mark,))] * 3, cut=cut) for cut in (0.6, 0.65))
    assert shown.shape[1] == 3 * (PANEL_WIDTH + 8)
    blue = [int((picture == BLUE_BGR).all(axis=2).sum()) for picture in (shown, hidden)]
    assert blue[0] > 100
    assert blue[1] == 0


def test_pictures_for_the_page_are_bounded_and_small():
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3)).astype(np.uint8)
    content, mime = encode_for_page(cv2.GaussianBlur(noise, (9, 9), 0))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)
    assert mime == "image/jpeg"
    assert encode_for_page(GREY)[1] == "image/png"


def test_unreadable_images_are_named(tmp_path):
    path = tmp_path / "a.png"
    for content in (b"", b"no image"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png"):
            read_image(path)
    with pytest.raises(DataError, match=r"b\.png"):
        read_image(tmp_path / "b.png")
