import copy
import csv
import io
import json
import re

import pytest
from made_up_analysis import make_analysis
from page_check import EVIL, Tags

from lth_det.errors import InputError
from lth_det.io import to_json
from lth_det.reports.analysis_report import write_analysis_report


def notes_in(page):
    return " ".join(re.findall(r'role="note">([^<]*)<', page))


def test_a_finished_report_has_every_part(finished_analysis, analysed_run):
    page = (finished_analysis / "index.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert len(tags.ids) == len(set(tags.ids))
    names = {path.name for path in finished_analysis.iterdir()}
    figures = {"verdicts", "ap_overall"} | {
        f"{task}_{name}"
        for task in ("bbox", "keypoints")
        for name in ("changes", "by_bin", "errors", "precision_recall", "sensitivity", "lost_gained", "size_x_occlusion")
    }  # fmt: skip
    figures |= {"bbox_classes_t75", "bbox_size_x_frequency", "keypoints_by_keypoint"}
    assert {f"{name}.{kind}" for name in figures for kind in ("svg", "png")} <= names
    tables = {
        f"bbox_{name}.csv"
        for name in ("verdict", "bins", "crosses", "classes", "errors", "objects", "lost")
    }
    assert tables | {"long.csv", "analysis.json", "report.md", "tables.tex"} <= names
    assert any(name.startswith("bbox_lost_t75_") for name in names)
    assert json.loads((finished_analysis / "analysis.json").read_text()) == json.loads(
        to_json(analysed_run[1])
    )


def test_the_page_needs_nothing_from_outside(finished_analysis):
    page = (finished_analysis / "index.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r'(?:href|src|action|data)="([^"]*)"', page))
    inside = {a for a in addresses if a.startswith(("#", "data:"))}
    assert all((finished_analysis / a).exists() for a in addresses - inside)
    assert {a[1:] for a in inside if a.startswith("#")} <= set(Tags(page).ids)
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|fetch\(", page)


def test_rules_bins_and_files_are_printed(finished_analysis, analysed_run):
    page = (finished_analysis / "index.html").read_text(encoding="utf-8")
    raw = analysed_run[1]
    size = raw["axes"]["bbox"]["size"]
    for text in (
        size["rule"],
        size["bins"][0]["definition"],
        raw["inputs"]["gt"]["sha256"],
        raw["statistics"]["method"],
    ):
        assert text.replace("'", "&#x27;").replace("<", "&lt;") in page


def test_equal_analyses_give_equal_bytes(analysed_run, tmp_path, no_figures):
    folder, raw = analysed_run
    contents = []
    for name, order in (("a", list(raw)), ("b", list(reversed(raw)))):
        target = tmp_path / name
        write_analysis_report({key: raw[key] for key in order}, target, image_root=folder / "data")
        files = sorted((target / "report").iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_only_the_folder_report_is_touched(analysed_run, tmp_path, no_figures):
    (tmp_path / "mine.txt").write_text("mine")
    path = tmp_path / "analysis.json"
    path.write_text(json.dumps(analysed_run[1]))
    assert write_analysis_report(path, tmp_path) == tmp_path / "report" / "index.html"
    assert {entry.name for entry in tmp_path.iterdir()} == {"mine.txt", "analysis.json", "report"}
    assert "folder of the images" in notes_in((tmp_path / "report" / "index.html").read_text())


def test_one_model_alone_is_reported_without_comparison(analysed_run, tmp_path, quick_figures):
    raw = make_analysis(analysed_run[0], models=("t50",))
    page = write_analysis_report(raw, tmp_path).read_text()
    assert "A verdict needs a reference and another model" in notes_in(page)
    assert "bbox_by_bin" in quick_figures
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "long.csv").read_text())))
    assert {row["model"] for row in rows} == {"t50"}


def _without(*keys):
    def change(raw):
        for key in keys:
            raw.pop(key)

    return change


def _without_sparsity(raw):
    for entry in raw["inputs"]["models"].values():
        entry["sparsity"] = None


def _without_parts_of_models(raw):
    for model in raw["models"].values():
        for key in (
            "errors",
            "curves",
            "sensitivity",
            "seeds",
            "intervals",
            "by_category",
            "ap_by_threshold",
        ):
            for scores in model.values():
                scores[key] = None


def _only_nulls(raw):
    def nulls(value):
        if isinstance(value, dict):
            return {key: nulls(item) for key, item in value.items()}
        return (
            [nulls(item) for item in value]
            if isinstance(value, list)
            else None
            if isinstance(value, int | float)
            else value
        )

    for key in ("models", "comparisons", "inputs", "dataset", "statistics", "parameters"):
        raw[key] = nulls(raw[key])


@pytest.mark.parametrize(
    "change",
    [
        _without("statistics", "parameters", "warnings", "difficulty_source", "dataset"),
        _without("comparisons"),
        _without("axes", "inputs"),
        _without("models"),
        _without_sparsity,
        _without_parts_of_models,
        _only_nulls,
    ],
)  # fmt: skip
def test_missing_parts_never_break_the_report(analysed_run, tmp_path, quick_figures, change):
    raw = copy.deepcopy(analysed_run[1])
    raw["iou_types"] = ["bbox"]
    change(raw)
    Tags(write_analysis_report(raw, tmp_path, image_root=tmp_path).read_text())


def test_names_from_files_are_escaped_everywhere(analysed_run, tmp_path, no_figures):
    text = json.dumps(analysed_run[1])
    for name in ("t75", "circle", "random_layer_ratios", "val.json", "000001.png"):
        text = text.replace(name, json.dumps(EVIL)[1:-1])
    page = write_analysis_report(
        json.loads(text), tmp_path, image_root=analysed_run[0] / "data"
    ).read_text()
    assert "<script>alert" not in page
    assert Tags(page).names.count("script") == 1


def test_a_damaged_analysis_is_named_and_the_old_report_stays(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("old")
    (tmp_path / "analysis.json").write_text("{")
    with pytest.raises(InputError, match=r"analysis\.json"):
        write_analysis_report(tmp_path / "analysis.json", tmp_path)
    assert (tmp_path / "report" / "index.html").read_text() == "old"
