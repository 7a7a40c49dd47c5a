"""Tables of a study: what is printed beside a mark does not contradict it, and limits know how many seeds there are."""

import pytest

from lth_det.cli.publish_tables import answer_row
from lth_det.sweeps.study_answers import AS_GOOD, OPEN, answers, judge
from lth_det.sweeps.study_contrasts import Contrast
from lth_det.sweeps.study_marks import AGREES, Answer, Claim, mark_of
from lth_det.sweeps.study_questions import Line
from lth_det.sweeps.summary import summarise


def test_an_end_of_the_interval_near_the_margin_is_not_rounded_onto_it():
    line = Line("backbone", (("p", "s"),), "dense", "t", "bbox/AP", (), "margin", "Table 3", {0.8: (69.3, 69.7)})  # fmt: skip
    claim = Claim(above=True, threshold=-1.0)
    measured = Contrast("p", "s", seeds=3, mean=0.83, low=-0.96, high=2.62, std=1.3, df=20)
    mark, reason = mark_of(claim, measured)
    assert mark == AGREES
    row = answer_row(Answer(line, 0.8, measured, -0.4, claim, "as good", mark, reason))
    assert row[3] == "+0.83 (-0.96 to +2.62)"


def test_limits_without_a_common_seed_know_that_dense_has_one_seed():
    def cell(source, rate, seed, value):
        return {"source": source, "target": "t", "prune_rate": rate, "seed": seed, "metrics": {"AP": value}}  # fmt: skip

    cells = [cell("own", 0.8, seed, 50.0 + seed) for seed in (1, 2, 3)]
    matrix = summarise(
        {
            "metric": "AP",
            "metrics": ["AP"],
            "targets": [{"name": "t", "metric": "AP"}],
            "sources": [{"name": "own"}],
            "cells": [*cells, cell("dense", 0.0, 9, 50.0)],
        }
    )
    (row,) = [row for row in matrix["summary"] if row["source"] == "own"]
    assert row["vs_dense"]["paired"] is False
    # A deviation of 1 with 2 degrees of freedom, t(0.95, 2) = 2.9199856, three seeds against one.
    found = answers(matrix, 2.0)[0]["rates"][0.8]
    assert found["low"] == pytest.approx(2.0 - 2.9199856 * (1 / 3 + 1) ** 0.5, rel=1e-6)
    noise = matrix["noise"]["t"]["AP"]
    assert judge(row, noise, 1.4) == AS_GOOD
    assert judge(row, noise, 1.3) == OPEN
