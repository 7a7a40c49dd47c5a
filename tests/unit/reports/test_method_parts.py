"""Sections of the run page for RST, gradual pruning and early bird."""

import json

import pytest

from lth_det.errors import RunError
from lth_det.reports.method_parts import method_sections

CYCLE = {"cycle": 1, "prune_rate": 0.8, "iterations": 540, "planned_iterations": 600, "residual_start": 0.894,
         "residual_end": 0.0123, "residuals": [[0, 0.0, 0.894], [540, 0.1, 0.0123]]}  # fmt: skip
TRANSFORM = {
    "preset": "budget",
    "penalty": "decoupled",
    "ceiling": 0.1,
    "ramp": 333,
    "hold": 267,
    "ratios": "erk",
}


def sections(folder, record):
    (folder / "results.json").write_text(json.dumps({"rounds": [record]}))
    work = folder / "report"
    work.mkdir()
    return method_sections(folder, work)


def test_a_plain_run_has_none(tmp_path):
    assert sections(tmp_path, {"stage": "round_00"}) == []


def test_transformation(tmp_path):
    (part,) = sections(tmp_path, {"transform": {**TRANSFORM, "cycles_done": [CYCLE]}})
    assert part.title == "Transformation"
    for text in ("decoupled penalty up to 0.1", "ratios erk", "0.0123", "540", "80.0%"):
        assert text in part.body
    assert (tmp_path / "report/rst_residual.png").stat().st_size > 1000


def test_gradual_pruning(tmp_path):
    gradual = {"begin": 0.1, "end": 0.7, "period": 5, "prunings": [[1, 0.0], [8, 0.8]]}
    (part,) = sections(tmp_path, {"gradual": gradual})
    assert "2 prunings, one each 5 iterations, from 0.1 to 0.7" in part.body


def test_early_bird_masks_and_a_damaged_file(tmp_path):
    point = {
        "iteration": 2,
        "iou_kept": 0.5,
        "chance_kept": 0.1,
        "iou_pruned": 0.8,
        "chance_pruned": 0.7,
        "kappa": 0.4,
        "groups": {},
    }
    found = {"points": [point], "final_iteration": 2, "stable_at": None, "prune_rate": 0.8}
    (tmp_path / "early_bird.json").write_text(json.dumps(found))
    (part,) = sections(tmp_path, {"stage": "round_00"})
    assert "did not become stable" in part.body
    (tmp_path / "early_bird.json").write_text("{")
    with pytest.raises(RunError, match=r"early_bird\.json is damaged"):
        method_sections(tmp_path, tmp_path / "report")
