import json
import shutil
from types import SimpleNamespace

import pytest

from lth_det.cli import report_comparison
from lth_det.cli.report_comparison import main

CELLS = {
    "format_version": 1,
    "name": "small",
    "kind": "transfer",
    "metric": "top1",
    "metrics": ["top1"],
    "targets": [{"name": "t", "label": "target", "metric": "top1"}],
    "sources": [{"name": "a", "label": "A"}, {"name": "b", "label": "B"}],
    "prune_rates": [0.8],
    "seeds": [1, 2],
    "cells": [
        {
            "source": s,
            "target": "t",
            "prune_rate": 0.8,
            "seed": seed,
            "metrics": {"top1": value + seed},
            "sparsity": 0.7,
        }
        for s, value in (("a", 90.0), ("b", 40.0))
        for seed in (1, 2)
    ],
    "missing": [],
    "complete": True,
}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A folder with cells.json, and what was handed to the report, which is not drawn."""
    (tmp_path / "cells.json").write_text(json.dumps(CELLS))
    seen = SimpleNamespace(folder=tmp_path, parts=None)

    def keep(matrix, folder, **parts):
        seen.parts = parts
        return folder / "report" / "index.html"

    monkeypatch.setattr(report_comparison, "write_comparison", keep)
    return seen


def leave_with(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def test_it_prints_the_verdict_and_writes_the_matrix(sweep, capsys):
    assert leave_with("--sweep", sweep.folder) == 0
    out = capsys.readouterr().out
    assert "target, prune rate 0.8: A leads B by 50.0 top1 (95 % interval" in out
    assert str(sweep.folder / "report" / "index.html") in out
    matrix = json.loads((sweep.folder / "matrix.json").read_text())
    assert matrix["verdicts"][0]["winner"] == "a"
    assert sweep.parts == {"early_bird": None, "overlap": None}


def test_json_to_standard_output_is_json_only(sweep, capsys):
    assert leave_with("--sweep", sweep.folder, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["summary"]


def test_overlap_and_early_bird_reach_the_report(sweep):
    (sweep.folder / "overlap.json").write_text('{"names": []}')
    bird = sweep.folder / "early_bird.json"
    bird.write_text('{"points": []}')
    assert leave_with("--sweep", sweep.folder, "--early-bird", bird) == 0
    assert sweep.parts == {"early_bird": {str(bird): {"points": []}}, "overlap": {"names": []}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ("{}", "no list"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(sweep, capsys, content, words):
    path = sweep.folder / "cells.json"
    path.unlink() if content is None else path.write_text(content)
    assert leave_with("--sweep", sweep.folder) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_an_overlap_that_is_no_object_is_refused(sweep, capsys):
    (sweep.folder / "overlap.json").write_text("[]")
    assert leave_with("--sweep", sweep.folder) == 2
    assert "overlap.json holds no JSON object" in capsys.readouterr().err


def test_a_whole_report_is_written_from_cells_alone(tmp_path):
    (tmp_path / "cells.json").write_text(json.dumps(CELLS))
    assert leave_with("--sweep", tmp_path) == 0
    assert "A leads B by 50.0 top1" in (tmp_path / "report" / "index.html").read_text()
    shutil.rmtree(tmp_path / "report")
