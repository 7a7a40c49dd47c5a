import copy
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from lth_det.reports import analysis_churn, analysis_classes, analysis_curves, analysis_strata
from lth_det.reports.analysis_data import Analysis
from lth_det.reports.analysis_objects import cut_out
from lth_det.reports.style import BLUE, VERMILION


@pytest.fixture
def read(analysed_run):
    """The analysis, as a copy that a test may change."""
    return Analysis(copy.deepcopy(analysed_run[1]))


def classes_of(read, values):
    """Give the classes of t75 made-up changes: name -> (delta, reference AP, objects, significant, thin)."""
    comparison = read.comparison("t75", "bbox")
    comparison["by_category"] = {
        name: {"delta": delta, "reference": ap, "significant": sure, "thin": thin, "interval": None}
        for name, (delta, ap, _, sure, thin) in values.items()
    }
    read.scores("dense", "bbox")["by_category"] = {
        name: {"objects": count} for name, (_, _, count, _, _) in values.items()
    }


def test_class_bars_go_from_rare_to_frequent_and_from_hard_to_easy(read, quick_figures):
    classes_of(
        read,
        {
            "cat": (0.10, 0.3, 50, True, False),
            "dog": (-0.20, 0.7, 9, False, False),
            "owl": (-0.05, 0.1, 30, True, True),
            "gap": (None, 0.2, 1, None, True),
        },
    )
    assert analysis_classes.bars(read, "t75", "bbox").name == "bbox_classes_t75"
    upper, lower = quick_figures["bbox_classes_t75"].axes
    assert [label.get_text() for label in upper.get_xticklabels()] == [
        "dog (9)",
        "owl (30)",
        "cat (50)",
    ]
    assert [label.get_text() for label in lower.get_xticklabels()] == [
        "owl (10)",
        "cat (30)",
        "dog (70)",
    ]
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([-20.0, -5.0, 10.0])
    faded = analysis_classes.FADED
    # Significant: solid. Not significant, or with few objects: pale.
    expected = [to_rgba(VERMILION, faded), to_rgba(VERMILION, faded), to_rgba(BLUE, 1.0)]
    assert [bar.get_facecolor() for bar in upper.patches] == expected
    assert [bool(bar.get_hatch()) for bar in upper.patches] == [False, True, False]


def test_one_class_alone_is_no_figure(read, quick_figures):
    classes_of(read, {"cat": (0.1, 0.3, 50, True, False)})
    assert analysis_classes.bars(read, "t75", "bbox") is None
    assert quick_figures == {}


def test_heatmaps_name_value_objects_and_classes_and_hatch_thin_cells(read, quick_figures):
    cross = read.axes("bbox")["size_x_frequency"]
    cells = read.scores("dense", "bbox")["size_x_frequency"]
    for number, cell in enumerate(cells.values()):
        cell |= {
            "AP": None if number == 0 else 0.1 * number,
            "objects": 10 + number,
            "classes": 2,
            "thin": number == 4,
        }
    drawing = analysis_strata.heatmap(read, "bbox", cross)
    panel = quick_figures[drawing.name].axes[0]
    rows, columns = (
        [label.get_text() for label in labels]
        for labels in (panel.get_yticklabels(), panel.get_xticklabels())
    )
    assert (rows, columns) == (["small", "medium", "large"], ["rare", "common", "frequent"])
    texts = {text.get_position(): text.get_text() for text in panel.texts}
    names = list(cells)
    for (column, row), text in texts.items():
        number = names.index(f"{rows[row]}/{columns[column]}")
        value = "n/a" if number == 0 else f"{10 * number:.1f}"
        assert text == f"{value}\nn {10 + number}, K 2"
    thin_row, thin_column = names[4].split("/")
    hatched = [(p.get_x() + 0.5, p.get_y() + 0.5) for p in panel.patches if p.get_hatch()]
    assert hatched == [(columns.index(thin_column), rows.index(thin_row))]


def test_heatmaps_leave_out_empty_rows_and_keep_the_order_of_bins(read, quick_figures):
    cross = read.axes("bbox")["size_x_frequency"]
    for name, cell in read.scores("dense", "bbox")["size_x_frequency"].items():
        cell["objects"] = 0 if name.startswith("medium/") or name == "small/common" else 5
    drawing = analysis_strata.heatmap(read, "bbox", cross)
    panel = quick_figures[drawing.name].axes[0]
    labels = panel.get_yticklabels(), panel.get_xticklabels()
    rows, columns = ([label.get_text() for label in texts] for texts in labels)
    assert (rows, columns) == (["small", "large"], ["rare", "common", "frequent"])


def test_heatmaps_centre_their_colours_on_no_change(read, quick_figures):
    drawing = analysis_strata.heatmap(read, "bbox", read.axes("bbox")["size_x_frequency"])
    for panel in quick_figures[drawing.name].axes[1:]:
        low, high = panel.images[0].get_clim()
        assert low == -high < 0


def test_curves_hold_the_changes_and_their_intervals(read, quick_figures):
    axis = read.axes("bbox")["size"]
    analysis_curves.changes(read, "bbox", [axis], name="x")
    panel = quick_figures["x"].axes[0]
    small = panel.lines[1]
    deltas = [read.comparison(m, "bbox")["by_size"]["small"]["delta"] for m in ("t50", "t75")]
    assert list(small.get_xdata()) == pytest.approx([0.0, 1.0, 2.0])
    assert list(small.get_ydata()) == pytest.approx([0.0, *(100 * delta for delta in deltas)])
    low, high = read.comparison("t75", "bbox")["by_size"]["small"]["interval"]
    band = panel.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() <= 100 * low + 1e-9
    assert any(np.isclose(band[:, 1], 100 * high))


def test_models_without_sparsity_are_not_joined_by_lines(read, quick_figures):
    for entry in read.raw["inputs"]["models"].values():
        entry["sparsity"] = None
    analysis_curves.changes(read, "bbox", [read.axes("bbox")["size"]], name="x")
    panel = quick_figures["x"].axes[0]
    assert {line.get_linestyle() for line in panel.lines[1:]} == {"None"}
    assert [label.get_text() for label in panel.get_xticklabels()] == list(read.models)


def test_the_overall_curve_leaves_out_controls_and_the_reference(read, quick_figures):
    analysis_curves.overall(read)
    lines = {
        line.get_label(): list(line.get_ydata())
        for line in quick_figures["ap_overall"].axes[0].lines
    }
    scores = {name: 100 * read.scores(name, "bbox")["AP"] for name in read.models}
    assert lines["dense"] == pytest.approx([scores["dense"]] * 2)
    assert lines["tickets"] == pytest.approx([scores["t50"], scores["t75"]])
    assert lines["control: random_layer_ratios"] == pytest.approx([scores["random"]])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [({"both": 5, "lost": 3, "gained": 1, "neither": 1}, (0.3, 0.1)), ({"both": 0, "lost": 0, "gained": 0, "neither": 0}, None), ({}, None)],
)  # fmt: skip
def test_lost_and_gained_are_shares_of_all_objects(counts, expected):
    lost, gained = analysis_churn.shares(counts)
    if expected is None:
        assert math.isnan(lost)
        assert math.isnan(gained)
    else:
        assert (lost, gained) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("box", "corner", "shape"),
    [
        ((100.0, 100.0, 100.0, 50.0), (55, 30), (190, 190)),
        # Small objects keep some context; at the border the cut-out moves inside.
        ((200.0, 150.0, 4.0, 4.0), (166, 116), (72, 72)),
        ((0.0, 0.0, 10.0, 10.0), (0, 0), (72, 72)),
        ((390.0, 290.0, 10.0, 10.0), (328, 228), (72, 72)),
        # An object as large as the image shows all of it.
        ((0.0, 0.0, 400.0, 300.0), (0, 0), (300, 400)),
    ],
)
def test_cut_outs_surround_the_object_and_stay_inside_the_image(box, corner, shape):
    part, found = cut_out(np.zeros((300, 400, 3), np.uint8), box)
    assert (found, part.shape[:2]) == (corner, shape)
