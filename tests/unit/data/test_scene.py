import dataclasses

import numpy as np
import pytest

from lth_det.data.shapes import KEYPOINT_NAMES, SPLITS, ShapesConfig
from lth_det.data.shapes.canvas import Canvas
from lth_det.data.shapes.config import ALL_SHAPES
from lth_det.data.shapes.dice import Dice
from lth_det.data.shapes.figure import pose
from lth_det.data.shapes.paint import MAX_LIGHT
from lth_det.data.shapes.scene import Composer, Wish, draw_keypoint_scene, draw_scene
from lth_det.data.shapes.splits import draw_image
from lth_det.data.shapes.sprites import make_sprite

CONFIG = ShapesConfig(crowd_share=0.3)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(Dice(11, k), CONFIG) for k in range(20)]


def square_sprite(area):
    return make_sprite(Dice(1), "square", area=area, limit=100, max_turn=20)


def test_masks_are_disjoint_and_not_tiny(scenes):
    for scene in scenes:
        total = sum(item.mask.astype(int) for item in scene.objects)
        assert total.max() <= 1
        assert all(item.mask.sum() >= 40 for item in scene.objects)


def test_some_objects_are_hidden_in_part_and_some_scenes_have_crowds(scenes):
    assert any(item.crowd for scene in scenes for item in scene.objects)
    assert all(item.keypoints is None for scene in scenes for item in scene.objects if item.crowd)


def test_all_sizes_occur(scenes):
    areas = np.array([i.mask.sum() for s in scenes for i in s.objects if not i.crowd])
    shares = np.histogram(areas, [0, 32**2, 96**2, 160**2 + 1])[0] / len(areas)
    assert shares[0] > 0.25
    assert shares[1] > 0.25
    assert shares[2] > 0.03


def test_same_seed_same_bytes_and_other_index_other_bytes():
    for split in SPLITS.values():
        first, again = draw_image(split, CONFIG, 3), draw_image(split, CONFIG, 3)
        assert np.array_equal(first.image, again.image)
        assert first.annotations == again.annotations
        assert not np.array_equal(first.image, draw_image(split, CONFIG, 4).image)


def test_splits_share_no_image():
    images = [draw_image(SPLITS[n], CONFIG, 0).image for n in ("train", "val")]
    assert not np.array_equal(*images)


def test_annotation_numbers_come_from_the_visible_mask():
    annotations = [a for k in range(8) for a in draw_image(SPLITS["train"], CONFIG, k).annotations]
    assert {a["iscrowd"] for a in annotations} == {0, 1}
    for annotation in annotations:
        x, y, w, h = annotation["bbox"]
        assert 0 <= x < x + w <= CONFIG.size
        assert 0 <= y < y + h <= CONFIG.size
        assert 0 < annotation["area"] <= w * h
        if annotation["iscrowd"]:
            assert isinstance(annotation["segmentation"], dict)
        else:
            points = np.concatenate([np.reshape(p, (-1, 2)) for p in annotation["segmentation"]])
            assert (points.min(axis=0) == [x, y]).all()
            assert (points.max(axis=0) == [x + w, y + h]).all()


def test_keypoint_flags_say_what_is_seen():
    seen = set()
    for k in range(30):
        scene = draw_keypoint_scene(Dice(12, k), CONFIG)
        for item in scene.objects:
            if item.keypoints is None:
                continue
            for x, y, v in item.keypoints.tolist():
                seen.add(v)
                if v == 0:
                    assert (x, y) == (0, 0)
                else:
                    assert item.mask[y, x] == (v == 2)
    assert seen == {0, 1, 2}


def test_left_is_at_the_right_of_the_picture():
    _, points = pose(Dice(1))
    place = {name: points[k] for k, name in enumerate(KEYPOINT_NAMES)}
    for part in ("hand", "foot", "knee"):
        assert place[f"left_{part}"][0] > place[f"right_{part}"][0]
    assert place["head"][1] < place["neck"][1] < place["pelvis"][1] < place["left_foot"][1]


def test_keypoints_lie_on_a_lone_figure():
    sprite = make_sprite(Dice(4), "figure", area=3000, limit=150, max_turn=20)
    for x, y in np.floor(sprite.keypoints).astype(int).tolist():
        assert sprite.mask[y, x]


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_sprites_have_the_wanted_area(shape):
    sprite = make_sprite(Dice(2), shape, area=2000, limit=200, max_turn=20)
    assert sprite.area == pytest.approx(2000, rel=0.06)
    small = make_sprite(Dice(2), shape, area=2000, limit=20, max_turn=20)
    assert max(small.mask.shape) <= 22


def test_canvas_keeps_account_of_what_is_visible():
    canvas = Canvas(np.zeros((64, 64, 3), np.uint8))
    sprite = square_sprite(400)
    light = np.full(sprite.tones.shape, 256, np.int32)
    below, above = canvas.new_id(), canvas.new_id()
    for identity, x in ((below, 10), (above, 20)):
        window = canvas.window(sprite, x, 10)
        canvas.draw(sprite, window, identity, colours=[(0, 0, 200)], light=light)
    for identity in (below, above):
        assert canvas.visible[identity] == (canvas.owner == identity).sum()
        assert canvas.full[identity] == sprite.area
    assert canvas.visible[above] == sprite.area > canvas.visible[below]


def test_the_mask_lies_where_the_colour_is():
    canvas = Canvas(np.zeros((64, 64, 3), np.uint8))
    sprite = square_sprite(600)
    light = np.full(sprite.tones.shape, MAX_LIGHT, np.int32)
    window = canvas.window(sprite, -5, 40)  # cut off at the left and the bottom
    canvas.draw(sprite, window, canvas.new_id(), colours=[(0, 0, 200)], light=light)
    red = canvas.picture()[..., 2] > 50  # a pixel that is at least half covered has at least 58
    assert (red == (canvas.owner == 1)).mean() > 0.99
    assert canvas.full[1] == sprite.area > canvas.visible[1] > 0


@pytest.mark.parametrize("min_visible", [0.4, 0.9])
def test_no_object_is_hidden_more_than_allowed(min_visible):
    config = dataclasses.replace(CONFIG, min_visible=min_visible)
    composer = Composer(Dice(3), config, 160)
    wishes = [Wish(config.categories[k % 7], k % 7, 200.0 * (k + 1)) for k in range(25)]
    placed = sum(composer.place(wish, centre=(80, 80)) for wish in wishes)  # large ones on top
    canvas = composer._canvas
    hidden = [canvas.visible[k] < canvas.full[k] for k in canvas.full]
    assert len(canvas.full) == placed >= 5
    assert any(hidden)
    # An object may be cut off by the border to begin with.
    assert all(canvas.visible[k] >= min(min_visible, 0.55) * canvas.full[k] for k in canvas.full)
    assert all(canvas.visible[k] == (canvas.owner == k).sum() for k in canvas.full)


def test_larger_variant_has_more_objects_and_categories():
    config = dataclasses.replace(
        ShapesConfig(), size=256, num_categories=44, min_objects=10, max_objects=16
    )
    scene = draw_scene(Dice(1), config)
    assert scene.image.shape == (256, 256, 3)
    assert len(scene.objects) >= 6
    assert max(item.category for item in scene.objects) > 6
