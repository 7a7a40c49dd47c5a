import json
import math

import pytest

from lth_det.errors import InputError
from lth_det.reports.analysis_data import Analysis, interval, number, part, read_analysis


def analysis(models, *, reference="dense", verdicts=None):
    """An analysis of boxes whose models have the given sparsities (None: not known)."""
    comparisons = [
        {"model": name, "iou_type": "bbox", "verdict": verdict}
        for name, verdict in (verdicts or {}).items()
    ]
    return Analysis(
        {
            "model_order": list(models),
            "iou_types": ["bbox"],
            "reference": reference,
            "comparisons": comparisons,
            "inputs": {"models": {n: {"sparsity": s} for n, s in models.items()}},
        }
    )


def test_models_stand_by_sparsity_and_the_reference_counts_as_dense():
    read = analysis({"dense": None, "t90": 0.9, "t50": 0.5})
    assert read.sparsity("dense") == 0.0
    assert read.compared == ("t50", "t90")
    assert read.has_sparsity
    assert read.title("t90") == "t90 (90.0 %)"
    assert read.title("dense") == "dense"


def test_without_any_sparsity_models_keep_their_order():
    read = analysis({"dense": None, "b": None, "a": None})
    assert not read.has_sparsity
    assert math.isnan(read.sparsity("dense"))
    assert read.compared == ("b", "a")


@pytest.mark.parametrize(
    ("verdicts", "focus"),
    [
        # The sparsest that does not lose, the next sparser one, the sparsest of all.
        ({"t50": "winning", "t80": "inconclusive", "t90": "losing"}, ("t80", "t90", "t98")),
        ({"t50": "winning"}, ("t50", "t80", "t98")),
        ({}, ("t50", "t80", "t98")),
        (dict.fromkeys(("t50", "t80", "t90", "t95", "t98"), "winning"), ("t90", "t95", "t98")),
    ],
)
def test_the_models_in_focus_are_those_around_the_breaking_point(verdicts, focus):
    sparsities = {"dense": 0.0, "t95": 0.95, "t50": 0.5, "t80": 0.8, "t90": 0.9, "t98": 0.98}
    assert analysis(sparsities, verdicts=verdicts).focus("bbox") == focus


def test_axes_put_sizes_and_class_axes_first_and_crosses_last(analysed_run):
    read = Analysis(analysed_run[1])
    names = list(read.axes("bbox"))
    assert names[:3] == ["size", "frequency", "difficulty"]
    assert names.index("size_x_frequency") < names.index("size_x_occlusion")
    assert all(
        not read.axes("bbox")[name].parts for name in names[: names.index("size_x_frequency")]
    )
    sizes = read.axes("bbox")["size"]
    assert sizes.main_bins == ("small", "medium", "large")
    assert set(sizes.main_bins) | set(sizes.fine_bins) == set(sizes.bins)


def test_axes_with_objects_in_one_bin_only_are_not_drawn(analysed_run):
    raw = json.loads(json.dumps(analysed_run[1]))
    assert "occlusion" in [axis.name for axis in Analysis(raw).plain_axes("bbox")]
    bins = raw["models"]["dense"]["bbox"]["by_occlusion"]
    for name in ("partial", "heavy"):
        bins[name]["objects"] = 0
    assert "occlusion" not in [axis.name for axis in Analysis(raw).plain_axes("bbox")]


@pytest.mark.parametrize("value", [None, "1", True, [1], {}])
def test_what_is_no_number_is_not_a_number(value):
    assert math.isnan(number(value))
    assert all(math.isnan(bound) for bound in interval(value))
    assert part(value, "a", "b") == {}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}', '{"schema_version": 1, "model_order": [], "iou_types": ["bbox"]}'],
)  # fmt: skip
def test_files_that_are_no_analysis_are_named(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"some\.json"):
        read_analysis(path)


def test_a_missing_file_and_a_wrong_value_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json"):
        read_analysis(tmp_path / "gone.json")
    with pytest.raises(InputError, match="the analysis is no analysis"):
        read_analysis({})
