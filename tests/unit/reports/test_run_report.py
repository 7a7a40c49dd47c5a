import csv
import io
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from made_up_overlap import make_early_bird
from made_up_run import edit_results, make_run
from page_check import EVIL, Tags

from lth_det.errors import RunError
from lth_det.reports.run_report import write_run_report


def page_of(folder):
    return write_run_report(folder).read_text(encoding="utf-8")


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def notes_in(page):
    return " ".join(re.findall(r'role="note">([^<]*)<', page))


def test_a_finished_run_has_every_part_and_no_note(finished_report):
    page = (finished_report / "index.html").read_text(encoding="utf-8")
    assert notes_in(page) == ""
    names = {path.name for path in finished_report.iterdir()}
    figures = ("ap_against_sparsity", "ap_by_size", "groups", "layers")
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "svg")} <= names
    tables = ("metrics", "rounds_bbox", "rounds_segm", "groups", "layers", "classes", "timings")
    assert {f"{name}.csv" for name in tables} | {"report.md", "rounds.tex"} <= names
    assert any(name.startswith("image_") for name in names)
    tags = Tags(page)
    assert len(tags.ids) == len(set(tags.ids))


def test_the_page_needs_nothing_from_outside(finished_report):
    page = (finished_report / "index.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r'(?:href|src|action|data)="([^"]*)"', page))
    inside = {a for a in addresses if a.startswith(("#", "data:"))}
    assert all((finished_report / a).exists() for a in addresses - inside)
    targets = {a[1:] for a in inside if a.startswith("#")}
    assert targets <= set(Tags(page).ids)
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|fetch\(", page)


def test_the_csv_files_hold_the_numbers_of_the_run(finished_report):
    results = json.loads((finished_report.parent / "results.json").read_text())
    rows = rows_of(finished_report / "rounds_bbox.csv")
    models = [*results["rounds"], *results["controls"]]
    assert [float(row["AP"]) for row in rows] == [m["metrics"]["bbox/AP"] for m in models]
    assert [float(row["sparsity"]) for row in rows] == [m["sparsity"] for m in models]
    dense = models[0]["metrics"]["bbox/AP"]
    assert rows[0]["AP_change"] == ""
    assert float(rows[3]["AP_change"]) == pytest.approx(models[3]["metrics"]["bbox/AP"] - dense)
    layers = rows_of(finished_report / "layers.csv")
    assert sum(int(row["pruned_parameters"]) for row in layers if row["model"] == "round 2") == sum(
        layer["pruned_parameters"] for layer in models[2]["layers"]
    )


def test_the_summary_names_the_sparsest_matching_and_the_best_ticket(finished_report):
    page = (finished_report / "index.html").read_text(encoding="utf-8")
    cards = re.findall(r'card-label">([^<]*)</div><div class="card-value">([^<]*)<', page)[:4]
    results = json.loads((finished_report.parent / "results.json").read_text())["rounds"]
    dense = results[0]["metrics"]["bbox/AP"]
    good = [r["sparsity"] for r in results[1:] if r["metrics"]["bbox/AP"] >= dense - 1]
    best = max(results[1:], key=lambda r: r["metrics"]["bbox/AP"])
    assert cards == [
        ("Box AP, dense", f"{dense:.1f}"),
        ("Sparsest matching ticket", f"{100 * max(good):.1f} %"),
        ("Best ticket", f"{100 * best['sparsity']:.1f} %"),
        ("Sparsest ticket", f"{100 * results[-1]['sparsity']:.1f} %"),
    ]


def _weak(results):
    for result in results["rounds"]:
        result["metrics"] = {"bbox/AP": 0.5 - 0.1 * result["round"]}


@pytest.mark.usefixtures("no_figures")
def test_no_ticket_matches_a_dense_model_that_finds_next_to_nothing(small_run):
    edit_results(small_run, _weak)
    page = page_of(small_run)
    assert "dense has less than 10 box AP" in page
    assert 'matching ticket</div><div class="card-value">n/a<' in page
    assert re.search(r"round 1: box AP 0\.4 \(-0\.1\)", page)


@pytest.mark.usefixtures("no_figures")
def test_the_analysis_is_recommended_only_where_it_can_read_the_run(small_run):
    assert "tools/analyze_coco.py --run" in page_of(small_run)
    _voc(small_run)
    assert "tools/analyze_coco.py --run" not in page_of(small_run)


@pytest.mark.usefixtures("no_figures")
def test_module_groups_stand_in_the_order_of_the_network(small_run):
    def shuffle(results):
        for result in results["rounds"]:
            groups = {**result["groups"], "custom": result["groups"]["fpn"]}
            result["groups"] = {name: groups[name] for name in sorted(groups)}

    edit_results(small_run, shuffle)
    write_run_report(small_run)
    rows = rows_of(small_run / "report" / "groups.csv")
    names = [row["group"] for row in rows if row["model"] == "round 1"]
    expected = ["stem", "backbone", "fpn", "rpn", "box_head", "mask_head", "predictors", "custom"]
    assert names == expected


@pytest.mark.usefixtures("light_figures")
def test_equal_results_give_equal_bytes_and_replace_the_old_report(small_run):
    contents = []
    for _ in range(2):
        write_run_report(small_run)
        files = sorted((small_run / "report").iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
        (small_run / "report" / "stale.txt").write_text("from an older report")
    assert contents[0] == contents[1]


def _no_ground_truth(folder):
    (folder / "data" / "val.json").unlink()


def _no_images(folder):
    for path in (folder / "data").glob("*.png"):
        path.unlink()


def _no_detections(folder):
    shutil.rmtree(folder / "round_01")


def _null_metrics(folder):
    def change(results):
        for result in results["rounds"]:
            result["metrics"] = dict.fromkeys(result["metrics"])

    edit_results(folder, change)


def _bare_rounds(folder):
    def change(results):
        for result in results["rounds"]:
            for key in ("groups", "layers", "predictions", "ticket", "ticket_sha256"):
                del result[key]
        for key in ("controls", "seed", "versions", "dataset", "rewind", "config_sha256", "task"):
            del results[key]

    edit_results(folder, change)
    (folder / "timings.json").unlink()


def _other_size(folder):
    for path in (folder / "data").glob("*.png"):
        cv2.imwrite(str(path), np.zeros((10, 20, 3), np.uint8))


def _not_complete(folder):
    edit_results(folder, lambda results: results.update(complete=False))


def _voc(folder):
    edit_results(folder, lambda results: results["dataset"].update(json_file=None))


def _dense_only(folder):
    edit_results(folder, lambda results: results["rounds"].pop())


def _no_dense(folder):
    edit_results(folder, lambda results: results["rounds"].pop(0))


def _rst(folder):
    edit_results(folder, lambda results: results.update(method="rst"))
    _no_dense(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_ground_truth, "No pictures: The ground truth"),
        (_no_images, "cannot be read"),
        (_voc, "this data set has another one"),
        (_no_detections, "No pictures: The detections"),
        (_null_metrics, "by class need"),
        (_bare_rounds, "No ticket lists its layers"),
        (_other_size, "20 x 10 pixels, but the ground truth says 160 x 120"),
        (_not_complete, "not finished"),
        (_dense_only, "no ticket yet"),
        (_no_dense, "no dense round yet"),
        (_rst, "A run of method rst trains no dense network"),
    ],
)
@pytest.mark.usefixtures("quick_figures")
def test_what_a_run_lacks_is_named_on_the_page(small_run, damage, words):
    damage(small_run)
    page = page_of(small_run)
    assert words in notes_in(page)
    Tags(page)


@pytest.mark.usefixtures("light_figures")
def test_names_from_files_are_escaped_everywhere(small_run):
    def change(results):
        text = (
            json.dumps(results)
            .replace("circle", "@")
            .replace("backbone", "@")
            .replace("shapes_val", "@")
        )
        results.clear()
        results.update(json.loads(text.replace("@", json.dumps(EVIL)[1:-1])))
        results["task"] = EVIL
        results["versions"] = {EVIL: EVIL}

    edit_results(small_run, change)
    truth = small_run / "data" / "val.json"
    truth.write_text(truth.read_text().replace("circle", json.dumps(EVIL)[1:-1]))
    page = page_of(small_run)
    assert "<script>alert" not in page
    assert Tags(page).names.count("script") == 1


@pytest.mark.usefixtures("quick_figures")
def test_keypoints_are_drawn_with_their_skeleton(tmp_path):
    page = page_of(make_run(tmp_path / "run", rounds=2, images=2, keypoints=True))
    assert "Keypoint AP" in page
    assert re.search(r'<circle class="dot" cx="[\d.]+" cy="[\d.]+"', page)
    assert re.search(r'<path class="bone line" d="M[\d.]+ [\d.]+L', page)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", "{}", '{"rounds": []}', '{"rounds": 3}', '{"rounds": [{}]}', '{"rounds": [null]}', '{"rounds": [{"round": 0, "prune_rate": 0, "sparsity": "much", "metrics": {}}]}',
        '{"rounds": [{"round": 0, "prune_rate": 0, "sparsity": NaN, "metrics": {}}]}',
        '{"rounds": [{"round": 0, "prune_rate": 0, "sparsity": 1.5, "metrics": {}}]}', '{"rounds": [{"round": 0, "prune_rate": 0, "sparsity": 0, "metrics": []}]}'],
)  # fmt: skip
def test_unusable_results_are_named_in_one_sentence_and_the_old_report_stays(tmp_path, content):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("old")
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json") as caught:
        write_run_report(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "report" / "index.html").read_text() == "old"


def test_an_early_bird_record_becomes_a_section(small_run, light_figures):
    assert 'id="early-bird"' not in page_of(small_run)
    (small_run / "early_bird.json").write_text(json.dumps(make_early_bird(stable_at=300)))
    page = page_of(small_run)
    assert "is stable from iteration 300 on, 50 % of the way to the final mask." in page
    assert page.count('<section id="early-bird">') == 1
    assert (small_run / "report" / "early_bird.svg").exists()
