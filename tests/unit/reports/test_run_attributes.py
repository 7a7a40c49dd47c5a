import json

import pytest

from lth_det.reports.run_attributes import attribute_changes, attributes, attributes_table
from lth_det.reports.run_data import read_run
from lth_det.reports.run_tables import class_changes

BINS = {
    "size": ("large", "medium", "small", "0-8px", "16-32px", "8-16px", "192px+"),
    "difficulty": ("easy", "hard", "medium"),
    "own": ("b", "a"),
}


@pytest.fixture
def results(small_run):
    """A run whose metrics hold AP by attribute, in the order of names, beside those of classes."""
    path = small_run / "results.json"
    value = json.loads(path.read_text())
    value["dataset"]["classes"].append("traffic-light")
    for result in value["rounds"]:
        for place, axis in enumerate(BINS):
            for bin_place, name in enumerate(BINS[axis]):
                result["metrics"][f"bbox/AP-{axis}-{name}"] = (
                    50.0 - place - bin_place * result["round"]
                )
        result["metrics"]["bbox/AP-traffic-light"] = 10.0 + result["round"]
        result["metrics"] = dict(sorted(result["metrics"].items()))
    path.write_text(json.dumps(value))
    return read_run(small_run)


def test_attributes_and_bins_stand_in_the_order_of_the_analysis(results):
    assert attributes(results, "bbox") == {
        "size": ["small", "medium", "large", "0-8px", "8-16px", "16-32px", "192px+"],
        "difficulty": ["hard", "medium", "easy"],
        "own": ["a", "b"],
    }
    assert attributes(results, "segm") == {}


def test_classes_and_attributes_are_told_apart(results):
    changes = class_changes(results, results.tickets[0])["bbox"]
    assert changes["traffic-light"] == (10.0, 1.0)
    assert set(changes) <= set(results.dataset["classes"])


def test_the_curves_hold_the_changes(results, quick_figures):
    assert attribute_changes(results, "segm") is None
    attribute_changes(results, "bbox")
    panels = quick_figures["bbox_attributes"].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in panels[0].lines}
    assert lines["small"] == [0.0, -2.0]
    assert lines["large"] == [0.0, 0.0]
    assert "0-8px" not in lines


def test_the_table_holds_every_bin_and_its_change(results):
    rows = [row for row in attributes_table(results).rows if row[0] == "round 1"]
    assert len(rows) == sum(map(len, BINS.values()))
    assert ("hard", 48.0, -1.0) in [row[4:] for row in rows]
