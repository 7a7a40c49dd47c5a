from lth_det.reports.found import match_all
from lth_det.reports.gallery import Change, Model, changes, choose
from lth_det.reports.scenes import Item, Picture, Scenes


def test_images_with_most_losses_come_first_then_gains_then_an_unchanged_one():
    found = [
        Change(1, 0, 0, 2), Change(2, 1, 0, 5), Change(3, 4, 0, 0), Change(4, 1, 1, 5), Change(5, 2, 6, 0),
        Change(6, 0, 1, 0), Change(7, 0, 3, 3), Change(8, 0, 0, 9),
    ]  # fmt: skip
    assert [change.image for change in choose(found)] == [3, 5, 2, 7, 6, 8]


def test_without_changes_only_one_image_is_shown_and_without_images_none():
    assert [change.image for change in choose([Change(1, 0, 0, 2), Change(2, 0, 0, 2)])] == [1]
    assert choose([]) == []


def test_changes_are_counted_at_the_score_cut():
    def item(x, score=1.0):
        return Item(1, (float(x), 0.0, 10.0, 10.0), score)

    scenes = Scenes({1: Picture(1, "a", 99, 9)}, {}, {1: (item(0), item(20), item(40))})
    dense, ticket = (
        Model(name, detections, match_all(scenes, detections))
        for name, detections in (
            ("dense", {1: (item(0, 0.9), item(20, 0.6))}),
            ("ticket", {1: (item(40, 0.8), item(0, 0.7))}),
        )
    )
    assert changes(scenes, dense, ticket, cut=0.5) == [Change(1, lost=1, gained=1, both=1)]
    assert changes(scenes, dense, ticket, cut=0.75) == [Change(1, lost=1, gained=1, both=0)]
