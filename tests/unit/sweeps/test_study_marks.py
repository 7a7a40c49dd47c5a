"""Marks of the study's answers: claims from published numbers, intervals from seeds, and the questions of the repository."""

import math
from pathlib import Path

import pytest
import yaml

from lth_det.errors import ConfigError
from lth_det.sweeps.study import load_parts, load_study
from lth_det.sweeps.study_contrasts import Contrast, contrast
from lth_det.sweeps.study_marks import (
    AGREES,
    AS_GOOD,
    BETTER,
    DIFFERS,
    NO_CLAIM,
    NO_DATA,
    OPEN,
    UNDECIDED,
    WORSE,
    Answer,
    answer,
    claim_of,
    counts,
    finding_of,
    in_words,
    mark_of,
    overall,
)
from lth_det.sweeps.study_questions import Line, Question, load_questions
from lth_det.sweeps.summary_values import Key, Values

ROOT = Path(__file__).resolve().parents[3]


def line(**changes):
    values = {
        "what": "boxes", "tickets": (("p", "own"),), "against": "dense", "target": "t", "metric": "bbox/AP", "bins": (),
        "claim": "margin", "where": "Table 1", "rates": {0.8: (30.0, 30.5), 0.9: (28.0, 30.5), 0.95: None},
    }  # fmt: skip
    return Line(**{**values, **changes})


def values_of(**seeds):
    """Return values of target ``t``: ``name@rate/metric`` -> list over the seeds 1, 2, ..."""
    found = Values()
    for name, numbers in seeds.items():
        source, rate, metric = name.split("__")
        key = Key(source, "t", float(rate), metric.replace("_", "/", 1).replace("_", "-"))
        found.by_key[key] = dict(enumerate(numbers, 1))
        found.sparsity[source, "t", float(rate)] = [float(rate)]
    return found


def measured(low, high, seeds=3):
    return Contrast("p", "own", seeds, (low + high) / 2, low, high, 1.0, 4)


def test_a_published_difference_becomes_a_claim_about_the_margin():
    assert claim_of(line(), 0.8, 1.0).text() == "> -1"  # 0.5 lost: less than the margin
    assert claim_of(line(), 0.9, 1.0).text() == "< -1"
    assert claim_of(line(), 0.9, 3.0).text() == "> -3"
    assert claim_of(line(), 0.95, 1.0) is None
    assert claim_of(line(claim="sign"), 0.8, 1.0).text() == "< 0"
    assert claim_of(line(claim="above"), 0.95, 1.0).text() == "> 0"


@pytest.mark.parametrize(
    ("rate", "low", "high", "mark"),
    [
        (0.8, -0.9, 0.4, AGREES),  # claimed above -1
        (0.8, -1.1, 0.4, UNDECIDED),
        (0.8, -3.0, -1.1, DIFFERS),
        (0.9, -3.0, -1.1, AGREES),  # claimed below -1
        (0.9, -1.1, 0.0, UNDECIDED),
        (0.9, -0.9, 2.0, DIFFERS),
        (0.95, -0.9, 2.0, NO_CLAIM),
    ],
)
def test_the_mark_is_where_the_whole_interval_lies(rate, low, high, mark):
    assert mark_of(claim_of(line(), rate, 1.0), measured(low, high))[0] == mark


def test_without_seeds_or_interval_nothing_is_decided():
    claim = claim_of(line(), 0.8, 1.0)
    assert mark_of(claim, Contrast("p", "own")) == (UNDECIDED, "no seed has both results")
    unknown = Contrast("p", "own", 2, 5.0)
    assert mark_of(claim, unknown) == (UNDECIDED, "no interval: no cell has two seeds")
    assert finding_of(unknown, 1.0) == OPEN
    alone = measured(4.0, 6.0, seeds=1)
    assert mark_of(claim, alone) == (UNDECIDED, "one seed alone decides nothing")
    assert finding_of(alone, 1.0) == OPEN
    assert finding_of(Contrast("p", "own"), 1.0) == NO_DATA


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [(0.1, 1.0, BETTER), (-0.9, 1.0, AS_GOOD), (-1.1, 1.0, OPEN), (-3.0, -1.1, WORSE)],
)
def test_what_an_interval_shows(low, high, want):
    assert finding_of(measured(low, high), 1.0) == want


def test_a_contrast_is_paired_and_has_one_sided_limits_of_the_pooled_noise():
    # Cell deviations 1 and 1 with 2 degrees of freedom each: s = 1, df = 4, t(4) = 2.132 one-sided.
    numbers = {"own__0.8__bbox_AP": [11, 12, 13], "dense__0.0__bbox_AP": [10, 11, 12]}
    parts = {"p": values_of(**numbers)}
    found = contrast(parts, line(), 0.8)
    half = 2.1318 * math.sqrt(2 / 3)
    assert (found.seeds, found.mean, found.df) == (3, 1.0, 4)
    assert found.low == pytest.approx(1.0 - half, abs=1e-3)
    assert found.high == pytest.approx(1.0 + half, abs=1e-3)
    only_two = {
        "p": values_of(**{"own__0.8__bbox_AP": [11, 12], "dense__0.0__bbox_AP": [10, 14, 12]})
    }
    assert contrast(only_two, line(), 0.8).mean == pytest.approx(-0.5)
    assert contrast(parts, line(), 0.9).seeds == 0


def test_the_place_with_the_most_seeds_is_taken():
    few = values_of(**{"own__0.8__bbox_AP": [1], "dense__0.0__bbox_AP": [2]})
    many = values_of(**{"all__0.8__bbox_AP": [5, 6], "dense__0.0__bbox_AP": [4, 5]})
    places = line(tickets=(("p", "own"), ("q", "all"), ("absent", "own")))
    assert contrast({"p": few, "q": many}, places, 0.8).part == "q"
    assert contrast({"p": few}, places, 0.8).part == "p"


def test_bins_are_compared_by_their_change_in_percent():
    bins = line(metric="", bins=("bbox/AP-small", "bbox/AP-large"), claim="sign")
    values = values_of(
        **{
            "own__0.8__bbox_AP_small": [5, 8], "dense__0.0__bbox_AP_small": [10, 10],
            "own__0.8__bbox_AP_large": [40, 45], "dense__0.0__bbox_AP_large": [50, 50],
        }
    )  # fmt: skip
    found = contrast({"p": values}, bins, 0.8)
    # Small: -50 and -20 %; large: -20 and -10 %.
    assert found.mean == pytest.approx(-20.0)
    assert found.std == pytest.approx(math.sqrt(200.0))
    assert found.df == 1
    # A dense AP near nothing has no change in percent.
    tiny = values_of(
        **{
            "own__0.8__bbox_AP_small": [5], "dense__0.0__bbox_AP_small": [0.5],
            "own__0.8__bbox_AP_large": [40], "dense__0.0__bbox_AP_large": [50],
        }
    )  # fmt: skip
    assert contrast({"p": tiny}, bins, 0.8).seeds == 0


def answers_of(*marks):
    claim = claim_of(line(), 0.8, 1.0)
    return [
        Answer(
            line(), 0.8, measured(0, 1), 0.0, None if mark == NO_CLAIM else claim, OPEN, mark, ""
        )
        for mark in marks
    ]


def test_a_question_agrees_when_all_claims_do_and_differs_when_one_does():
    assert overall(answers_of(AGREES, AGREES, NO_CLAIM)) == AGREES
    assert overall(answers_of(AGREES, UNDECIDED)) == UNDECIDED
    assert overall(answers_of(AGREES, UNDECIDED, DIFFERS)) == DIFFERS
    assert overall(answers_of(NO_CLAIM)) == NO_CLAIM
    assert counts(answers_of(AGREES, DIFFERS, AGREES, NO_CLAIM)) == "2 agree, 1 differ"


def test_sentences_group_prune_rates_and_do_not_repeat_a_comparison():
    values = {
        "p": values_of(
            **{
                "own__0.8__bbox_AP": [14.9, 15.0, 15.1], "own__0.9__bbox_AP": [4.9, 5.0, 5.1],
                "dense__0.0__bbox_AP": [9.9, 10.0, 10.1],
            }
        )
    }  # fmt: skip
    twice = Question("q", "?", "", "", (line(), line(what="again", where="Table 2")))
    found = answer(twice, values, 1.0)
    assert [one.mark for one in found] == [AGREES, AGREES, NO_CLAIM] * 2
    assert in_words(found) == ["boxes: better at 80 %; worse at 90 %; no result yet at 95 %."]


def test_the_questions_of_the_repository_name_what_the_plans_have(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study("configs/study/study.yaml")
    questions = load_questions(study.questions)
    plans = load_parts(study)
    assert set(questions.parts) == set(study.parts)
    for question in questions.questions:
        for one in question.lines:
            for part, source in one.tickets:
                cells = {
                    (cell.source, cell.target, round(cell.prune_rate, 9))
                    for cell in plans[part].cells
                }
                known = {
                    rate for name, target, rate in cells if (name, target) == (source, one.target)
                }
                assert known, (question.name, one.what, part, source)
                assert part != one.tickets[0][0] or set(one.rates) <= known, one.what
                assert one.against in {name for name, target, _ in cells if target == one.target}, (
                    one
                )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tickets": ["own"]}, "tickets must be a list of PART/SOURCE"),
        ({"metric": None}, "give either metric or bins"),
        ({"rates": {0.8: [1.0]}}, "rates must map prune rates to two published numbers"),
        ({"where": None}, "where is missing"),
        ({"tickets": ["other/own"]}, "names other, which is not among parts"),
        ({"claim": "up"}, "choose one of margin, sign, above, below"),
    ],
)
def test_a_wrong_question_is_one_sentence(tmp_path, change, sentence):
    one = {
        "what": "boxes",
        "tickets": ["p/own"],
        "target": "t",
        "metric": "bbox/AP",
        "where": "T",
        "rates": {0.8: [1, 2]},
    }
    question = {"name": "q", "title": "?", "paper": "p", "lines": [{**one, **change}]}
    file = tmp_path / "q.yaml"
    file.write_text(
        yaml.safe_dump({"name": "s", "about": ["a"], "parts": {"p": "x"}, "questions": [question]})
    )
    with pytest.raises(ConfigError, match=sentence):
        load_questions(str(file))
