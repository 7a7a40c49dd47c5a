"""A study is published from what is there: pages, small figures, every number; no runs and no path of a machine."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lth_det.cli import run_study
from lth_det.errors import ConfigError, RunError
from lth_det.reports.study_figures import Row, answers_figure
from lth_det.reports.study_files import LARGEST, small_png, without_paths
from lth_det.reports.study_page import MARKER
from lth_det.sweeps.study import load_parts, load_study
from lth_det.sweeps.summary import summarise

ROOT = Path(__file__).resolve().parents[3]


def tool(*words):
    return run_study.run(run_study.build_parser().parse_args(list(words)))


def cell(source, rate, seed, value):
    metrics = {"bbox/AP": value, "bbox/AP-size-small": 0.5 * value, "bbox/AP-aspect-tall": 1.0}
    return {
        "source": source, "target": "mask_rcnn", "prune_rate": rate, "seed": seed, "metrics": metrics, "groups": {},
        "sparsity": rate, "total_parameters": 10,
    }  # fmt: skip


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a study of two parts of which one has results: RPN alone is better than dense, all groups are open."""
    monkeypatch.chdir(ROOT)
    file = tmp_path / "study.yaml"
    file.write_text(
        f"name: study\noutput: {tmp_path}/private/out\nquestions: {tmp_path}/questions.yaml\n"
        "parts:\n  modules: configs/study/modules.yaml\n  schedule: configs/study/schedule.yaml\n"
    )
    line = "{what: %s, tickets: [modules/%s], target: mask_rcnn, metric: bbox/AP, where: Table 3, rates: {0.8: [70, 69]}}"
    (tmp_path / "questions.yaml").write_text(
        "name: A study\nabout: [Why it was run.]\nlimits: [What it cannot say.]\nparts: {modules: which module, schedule: how early}\n"
        "questions:\n- {name: free, title: 'Which module is free?', paper: All of them., note: A note., lines: [\n"
        f"  {line % ('RPN', 'rpn')},\n  {line % ('box head', 'box_head')}]}}\n"
    )
    out = tmp_path / "private/out/modules"
    (out / "report").mkdir(parents=True)
    sweep = load_parts(load_study(str(file)))["modules"]
    values = {"dense": [10.0, 10.2, 10.4], "rpn": [12.0, 12.2, 12.5]}
    cells = [
        cell(source, 0.0 if source == "dense" else 0.8, seed, value)
        for source, numbers in values.items()
        for seed, value in enumerate(numbers, 1)
    ]
    matrix = summarise(
        {
            **sweep.facts,
            "name": "s", "kind": "modules", "cells": cells, "complete": False, "plan_sha256": sweep.plan_sha256,
            "missing": [
                {"source": "box_head", "target": "mask_rcnn", "prune_rate": 0.8, "seed": 1,
                 "reason": f"box_head failed: see {tmp_path}/private/out/log.txt"}
            ],
            "commands": {"dense": [["tools/train_net.py", "OUTPUT_DIR", f"{tmp_path}/private/out/modules/runs/dense"]]},
            "versions": {"torch": "2.0"},
        }
    )  # fmt: skip
    (out / "matrix.json").write_text(json.dumps(matrix))
    (out / "report/values.csv").write_text("source,value\ndense,10\n")
    noise = np.random.default_rng(1).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out / "report/modules.png")
    # With one prune rate there is no curve; the figure is left out.
    Image.fromarray(noise).save(out / "report/ap_against_sparsity.png")
    return file


def test_everything_is_there_and_nothing_of_the_machine(study, tmp_path, capsys):
    target = tmp_path / "docs"
    assert tool("--config-file", str(study), "--publish", str(target), "--commit", "abc123") == 0
    assert "README.md" in capsys.readouterr().out
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {
        "README.md", "answers.md", "answers.csv", "modules/values.csv", "modules/cells.csv", "modules/missing.csv",
        "modules/commands.txt", "modules/plan.yaml", "modules/modules.png", "figures/free.png",
    }  # fmt: skip
    for path in target.rglob("*"):
        if path.suffix in (".md", ".csv", ".txt"):
            assert "private" not in path.read_text(), path
            assert str(tmp_path) not in path.read_text(), path
        assert path.is_dir() or path.stat().st_size <= LARGEST
    page = (target / "README.md").read_text()
    assert page.startswith(MARKER)
    assert (
        "**Not all parts are complete** (`modules`: 6 of 7 results; `schedule`: not begun)" in page
    )
    assert "![What is pruned" in page
    assert "commit abc123" in page
    assert "failed: see log.txt: 1" in page
    assert "1 agree, 1 without a result" in page
    answers = (target / "answers.md").read_text()
    assert "RPN: better." in answers
    assert "(figures/free.png)" in answers
    assert "box head: no result yet." in answers
    assert "**agrees**: the whole interval lies above -1" in answers
    rows = list(csv.DictReader(io.StringIO((target / "answers.csv").read_text())))
    assert [row["mark"] for row in rows] == ["agrees", "not decidable with this data"]
    assert float(rows[0]["difference"]) == pytest.approx(2.0333, abs=1e-4)
    cells = list(csv.DictReader(io.StringIO((target / "modules/cells.csv").read_text())))
    assert cells[3]["bbox/AP-size-small"] == "6.00"
    assert "bbox/AP-aspect-tall" not in cells[0]


def test_again_gives_the_same_files_and_takes_back_what_is_gone(study, tmp_path):
    target = tmp_path / "docs"

    def published():
        tool("--config-file", str(study), "--publish", str(target))
        return {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    first = published()
    (target / "modules/old.png").write_bytes(b"old")
    assert published() == first


def test_a_study_without_results_says_so(study, tmp_path):
    target = tmp_path / "docs"
    tool("--config-file", str(study), "--output", str(tmp_path / "none"), "--publish", str(target))
    page = (target / "README.md").read_text()
    assert "**It has not been run.**" in page
    assert "2 without a result" in page
    assert not list(target.rglob("*.png"))
    assert not (tmp_path / "none").exists()


def test_a_plan_that_has_changed_since_is_told(study, tmp_path):
    matrix = tmp_path / "private/out/modules/matrix.json"
    matrix.write_text(matrix.read_text().replace('"plan_sha256": "', '"plan_sha256": "0'))
    tool("--config-file", str(study), "--publish", str(tmp_path / "docs"))
    assert "The plan has changed since it was run" in (tmp_path / "docs/README.md").read_text()


def test_files_of_somebody_else_are_not_replaced(study, tmp_path):
    target = tmp_path / "docs"
    (target / "modules").mkdir(parents=True)
    (target / "modules/thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"holds thesis\.tex"):
        tool("--config-file", str(study), "--publish", str(target))
    assert (target / "modules/thesis.tex").read_text() == "mine"
    (target / "README.md").write_text("# Mine\n")
    with pytest.raises(RunError, match=r"README\.md was not generated"):
        tool("--config-file", str(study), "--publish", str(target))


@pytest.mark.parametrize("more", [["--dry-run"], ["--only", "modules"]])
def test_publishing_is_for_the_whole_study(study, tmp_path, more):
    with pytest.raises(ConfigError, match="--publish is for the whole study"):
        tool("--config-file", str(study), "--publish", str(tmp_path / "d"), *more)


def test_paths_are_cut_and_addresses_are_kept():
    assert without_paths("in /data/a b/x.yaml: ~/c/d.txt") == "in a b/x.yaml: d.txt"
    for kept in (
        "../../configs/a.yaml",
        "output/study/runs",
        "https://github.com/x/y",
        "1/2",
        "a / b",
    ):
        assert without_paths(kept) == kept


def test_a_figure_gets_smaller_until_it_fits():
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    handle = io.BytesIO()
    Image.fromarray(noise).save(handle, "PNG")
    small = small_png(handle.getvalue(), largest=10_000)
    assert 1_000 < len(small) <= 10_000
    assert max(Image.open(io.BytesIO(small)).size) < 200
    with pytest.raises(RunError, match="no image"):
        small_png(b"nothing")


def test_a_figure_of_answers_shows_marks_and_published_values():
    rows = [
        Row("agreeing", 1.0, 0.5, 1.5, 0.7, "agrees"),
        Row("differing", -2.0, -3.0, -1.5, 0.7, "differs"),
        Row("alone", 0.3, math.nan, math.nan, None, "nothing published"),
    ]
    drawing = answers_figure("free", rows, unit="points of AP", threshold=-1.0)
    for text in ("agreeing", "differs", "not decidable, or no claim", "published", "points of AP"):
        assert text in drawing.svg
    plain = answers_figure("free", rows[2:], unit="points of AP", threshold=0.0)
    assert ">published<" not in plain.svg
    assert ">agrees<" not in plain.svg
