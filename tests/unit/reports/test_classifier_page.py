import csv
import re

import pytest
from made_up_run import edit_results, make_run
from page_check import Tags

from lth_det.reports.run_data import read_run, sparsest_matching
from lth_det.reports.run_plots import score_against_sparsity
from lth_det.reports.run_report import write_run_report

TOP1 = (70.0, 71.5, 69.25, 40.0)


@pytest.fixture
def folder(tmp_path):
    """A run of a classifier: dense, three tickets, one control, accuracies only."""
    made = make_run(tmp_path / "run", rounds=4, images=1)

    def to_classifier(results):
        results["task"] = "shapes_cls"
        results["dataset"] = {
            "name": "shapes_cls",
            "folder": "/data",
            "classes": ["a", "b", "c", "d"],
        }
        for record, top1 in zip(results["rounds"], TOP1, strict=True):
            record["metrics"] = {"top1": top1, "top5": 100.0}
            record["predictions"] = None
        results["controls"][0] |= {"metrics": {"top1": 55.0, "top5": 100.0}, "predictions": None}

    edit_results(made, to_classifier)
    return made


def test_the_page_speaks_of_accuracy(folder, light_figures):
    page = write_run_report(folder).read_text(encoding="utf-8")
    Tags(page)
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert not re.search(r"\bAPs?\b|\bAP50", re.sub(r"<[^>]*>", " ", text))
    assert 'role="note"' not in text
    cards = re.findall(r'card-label">([^<]*)</div><div class="card-value">([^<]*)</div>', page)
    sparsity = [100 * result.sparsity for result in read_run(folder).rounds]
    assert cards == [
        ("Top-1 accuracy, dense", "70.0"),
        ("Sparsest matching ticket", f"{sparsity[2]:.1f} %"),
        ("Best ticket", f"{sparsity[1]:.1f} %"),
        ("Sparsest ticket", f"{sparsity[3]:.1f} %"),
    ]
    assert "accuracy 71.5 (+1.5)" in page
    assert "Accuracy against sparsity" in page
    assert "/data" in page


def test_the_files_hold_accuracies(folder, no_figures):
    report = write_run_report(folder).parent
    rows = list(csv.DictReader((report / "rounds_top1.csv").read_text().splitlines()))
    assert [float(row["top1"]) for row in rows] == [*TOP1, 55.0]
    assert {row["top5"] for row in rows} == {"100.0"}
    assert [row["accuracy_change"] for row in rows] == ["", "1.5", "-0.75", "-30.0", "-15.0"]
    assert (report / "accuracy_against_sparsity.png").exists()
    assert (
        "![Accuracy against sparsity](accuracy_against_sparsity.png)"
        in (report / "report.md").read_text()
    )
    assert "Top-1 accuracy by round." in (report / "rounds.tex").read_text()


def test_the_curve_holds_the_accuracies(folder, quick_figures):
    score_against_sparsity(read_run(folder))
    axes = quick_figures["accuracy_against_sparsity"].axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert lines["tickets"] == list(TOP1)
    assert lines["control: random_layer_ratios"] == [55.0]
    assert axes.get_ylabel() == "top-1 accuracy (%)"


@pytest.mark.parametrize(("classes", "compared"), [(4, True), (1, False), (0, True)])
def test_a_dense_network_near_guessing_matches_nothing(folder, no_figures, classes, compared):
    def fewer(results):
        results["dataset"]["classes"] = [str(number) for number in range(classes)]

    edit_results(folder, fewer)
    found = sparsest_matching(read_run(folder), "top1", tolerance=1.0)
    assert (found is not None) == compared
    page = write_run_report(folder).read_text(encoding="utf-8")
    assert ("dense is less than 10 points above guessing (100.0)" in page) == (not compared)
