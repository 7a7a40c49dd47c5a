import pytest

from lth_det.reports.analysis_data import Analysis
from lth_det.reports.analysis_lists import errors_table, lost_table, objects_table, totals
from lth_det.reports.analysis_tables import bins_table, classes_table, long_table, verdict_table


@pytest.fixture(scope="module")
def read(analysed_run):
    return Analysis(analysed_run[1])


def records(table):
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in table.rows]


def test_the_long_table_holds_every_number_of_the_analysis_once(read):
    rows = records(long_table(read))
    keys = ("model", "seed", "task", "axis", "bin", "metric")
    found = {tuple(row[key] for key in keys): row for row in rows}
    assert len(found) == len(rows)
    for model in read.models:
        for task in read.iou_types:
            scores = read.scores(model, task)
            for metric in ("AP", "AP50", "AP75"):
                row = found[model, "mean", task, "all", "all", metric]
                assert row["value"] == scores[metric]
                assert [row["lo"], row["hi"]] == scores["intervals"][metric]
                assert (row["n"], row["K"]) == (scores["objects"], scores["classes"])
            for name, cell in scores["size_x_occlusion"].items():
                row = found[model, "mean", task, "size_x_occlusion", name, "AR"]
                assert row["value"] == cell["AR"] or cell["AR"] is None
                assert row["n"] == cell["objects"]
    delta = read.comparison("t75", "bbox")["by_size"]["small"]
    row = found["t75", "mean", "bbox", "size", "small", "AP_change"]
    assert (row["value"], row["lo"], row["hi"]) == (delta["delta"], *delta["interval"])
    assert row["sparsity"] == 0.75
    assert ("dense", "mean", "bbox", "size", "small", "AP_change") not in found


def test_the_verdict_table_starts_with_the_reference_and_ends_with_controls(read):
    rows = records(verdict_table(read, "bbox"))
    assert [row["model"] for row in rows] == ["dense", "t50", "t75", "random"]
    assert rows[0]["verdict"] == "reference"
    comparison = read.comparison("t75", "bbox")
    assert comparison["verdict"] in rows[2]["verdict"]
    assert rows[2]["change"] == pytest.approx(100 * comparison["metrics"]["AP"]["delta"])
    assert rows[2]["size:small"] == pytest.approx(
        100 * read.scores("t75", "bbox")["by_size"]["small"]["AP"]
    )


def test_bins_and_crosses_are_in_tables_of_their_own(read):
    plain, crosses = (records(bins_table(read, "bbox", crosses=flag)) for flag in (False, True))
    assert {row["axis"] for row in plain}.isdisjoint(row["axis"] for row in crosses)
    assert {"size", "frequency", "occlusion"} <= {row["axis"] for row in plain}
    assert all("_x_" in row["axis"] for row in crosses)
    medium = next(
        r for r in plain if (r["model"], r["axis"], r["bin"]) == ("t50", "size", "medium")
    )
    cell = read.scores("t50", "bbox")["by_size"]["medium"]
    assert (medium["objects"], medium["AP"]) == (cell["objects"], pytest.approx(100 * cell["AP"]))


def test_every_class_of_every_model_has_a_row(read):
    rows = records(classes_table(read, "bbox"))
    names = set(read.scores("dense", "bbox")["by_category"])
    assert {(row["model"], row["class"]) for row in rows} == {
        (m, n) for m in read.models for n in names
    }


def test_objects_are_counted_in_all_and_by_bin(read):
    rows = records(objects_table(read, "bbox"))
    counts = read.comparison("t75", "bbox")["objects"]
    whole = next(row for row in rows if row["model"] == "t75" and row["bin"] == "all")
    kinds = ("both", "lost", "gained", "neither")
    assert [whole[kind] for kind in kinds] == [counts[kind] for kind in kinds]
    sizes = [
        row for row in rows if row["model"] == "t75" and row["bin"] in ("small", "medium", "large")
    ]
    assert sum(row["lost"] for row in sizes) == counts["lost"]
    assert [row["model"] for row in records(totals(objects_table(read, "bbox")))] == [
        "t50",
        "t75",
        "random",
    ]


def test_lost_objects_are_listed_in_the_order_of_the_analysis(read):
    rows = [row for row in records(lost_table(read, "bbox")) if row["model"] == "t75"]
    listed = read.comparison("t75", "bbox")["lost_objects"]
    assert rows
    assert [row["annotation_id"] for row in rows] == [item["annotation_id"] for item in listed]


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        ("bbox", {"cls", "loc", "both", "dupe", "bkg", "miss"}),
        ("keypoints", {"good", "jitter", "inversion", "swap", "miss"}),
    ],
)
def test_error_types_are_listed_in_all_and_by_bin(read, task, kinds):
    rows = records(errors_table(read, task))
    assert kinds <= {row["type"] for row in rows if row["bin"] == "all"}
    assert kinds <= {row["type"] for row in rows if row["axis"] == "size"}
