import pytest

from lth_det.reports.found import best_cut, match, match_all
from lth_det.reports.scenes import Item, Picture, Scenes


def item(x, *, score=1.0, category=1, crowd=False, width=10.0):
    return Item(category, (float(x), 0.0, width, 10.0), score, crowd)


def test_the_best_detection_takes_the_object_and_a_second_one_is_false():
    result = match([item(0)], [item(1, score=0.9), item(0, score=0.8)])
    assert result.states == ("found", "false")
    assert result.found_at == (0.9,)


def test_a_detection_takes_the_free_object_that_it_overlaps_most():
    result = match([item(0), item(3)], [item(2, score=0.9), item(1, score=0.8)])
    assert result.states == ("found", "found")
    assert result.found_at == (0.8, 0.9)


def test_an_overlap_of_one_half_is_enough_and_less_is_not():
    # Width 10 against 5 inside it: IoU 0.5 exactly; against 4: 0.4.
    assert match([item(0)], [item(0, score=0.9, width=5.0)]).states == ("found",)
    assert match([item(0)], [item(0, score=0.9, width=4.0)]).states == ("false",)


def test_another_class_never_matches():
    result = match([item(0, category=2)], [item(0, score=0.9)])
    assert (result.states, result.found_at) == (("false",), (0.0,))


def test_a_detection_inside_a_crowd_region_is_ignored_but_a_real_object_comes_first():
    objects = [item(0, crowd=True, width=40.0), item(20)]
    result = match(objects, [item(20, score=0.9), item(5, score=0.8), item(8, score=0.7)])
    assert result.states == ("found", "ignored", "ignored")
    assert result.found_at == (0.0, 0.9)


@pytest.mark.parametrize(
    ("objects", "detections"), [((), ()), ((item(0),), ()), ((), (item(0, score=0.5),))]
)
def test_empty_images_are_matched(objects, detections):
    result = match(objects, detections)
    assert result.states == ("false",) * len(detections)
    assert result.found_at == (0.0,) * len(objects)


def test_the_score_cut_is_the_one_with_the_best_f1():
    objects = {1: (item(0), item(20), item(40, crowd=True))}
    detections = {
        1: (item(0, score=0.9), item(20, score=0.62), item(80, score=0.6), item(40, score=0.3))
    }
    scenes = Scenes({1: Picture(1, "a.png", 99, 99), 2: Picture(2, "b.png", 9, 9)}, {}, objects)
    matches = match_all(scenes, detections)
    assert set(matches) == {1, 2}
    # Up to 0.60 the false detection counts; from 0.65 one object is missed; no cut of 0.05 steps separates them, so
    # F1 is 4/5 up to 0.60 (the lowest cut wins the tie) and 2/3 above.
    assert best_cut(scenes, detections, matches) == 0.05
    detections = {1: (item(0, score=0.9), item(20, score=0.7), item(80, score=0.6))}
    assert best_cut(scenes, detections, match_all(scenes, detections)) == 0.65
