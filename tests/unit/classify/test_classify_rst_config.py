"""The section rst of a classifier's configuration: presets, mistakes, the dry run, and what a run's identity holds."""

import dataclasses
import json

import pytest
from tiny_data import RST, tiny_config, tiny_data

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.dry_run import dry_run, dry_run_text
from lth_det.classify.rst import rst_plan, transform_solver
from lth_det.classify.run import run_settings
from lth_det.classify.solver import learning_rate
from lth_det.classify.transfer_run import run_transfer
from lth_det.errors import ConfigError


@pytest.fixture
def config(tmp_path):
    def make(*options):
        return tiny_config(tmp_path, "output", str(tmp_path / "run"), *options, text=RST)

    return make


def test_the_keys_of_rst_are_no_part_of_other_runs(config):
    settings = run_settings(config("method", "imp"), tiny_data())
    assert not [key for key in settings if key == "method" or key.startswith("rst.")]
    assert run_settings(config(), tiny_data())["rst.cycles"] == 2


def test_the_paper_preset_of_classifiers():
    config = ClassifyConfig(method="rst")
    assert rst_plan(config, total=30).schedule.iterations == 30
    assert transform_solver(config) == config.solver
    paper = dataclasses.replace(config, rst=dataclasses.replace(config.rst, preset="paper"))
    solver = transform_solver(paper)
    assert (solver.batch_size, solver.momentum, solver.optimizer) == (64, 0.9, "sgd")
    assert {learning_rate(solver, step, 90_000) for step in (0, 50_000, 89_999)} == {1e-3}
    plan = rst_plan(paper, total=30)
    assert (plan.schedule.ramp, plan.schedule.hold, plan.ratios) == (50_000, 40_000, "published")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["method", "gradual"], "method is 'gradual'; choose one of imp, rst"),
        (["pruning.targets", "[0.5, 0.8]"], "prunes to one rate, but there are 2 rounds"),
        (["controls", "[random_erk]"], "method 'rst' has none"),
        (["transfer.source", "a.yaml"], "a transfer trains given tickets"),
        (["rst.mask", "ticket"], "needs a ticket file"),
        (["rst.ramp", "0.5"], "give both, or -1 for both"),
        (["rst.penalty", "soft"], "rst.penalty is 'soft'; choose one of '', coupled"),
        (["rst.batch_size", "1"], "rst.batch_size is 1"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(config, options, words):
    with pytest.raises(ConfigError) as error:
        config(*options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_penalty_out_of_range_names_our_keys(config):
    with pytest.raises(ConfigError, match=r"^rst\.ceiling is 2\.0, but a decoupled"):
        dry_run(config("rst.ceiling", "2"))
    with pytest.raises(ConfigError, match=r"^rst: Ramp and hold"):
        dry_run(config("rst.ramp", "0.8", "rst.hold", "0.8"))


def test_the_dry_run_shows_the_cycles(config):
    report = dry_run(config())
    assert [row["prune_rate"] for row in report["rounds"]] == pytest.approx([0.5, 0.75], abs=0.01)
    assert (report["transform"]["ramp"], report["transform"]["hold"]) == (3, 3)
    assert "decoupled penalty up to 0.1" in dry_run_text(report)
    epochs = dry_run(config("solver.max_iter", "0", "rst.transform_iter", "0"))
    assert "as long as an ordinary training" in dry_run_text(epochs)
    json.dumps(report)


def test_a_transfer_does_not_take_a_run_of_rst(config, tmp_path):
    source = tmp_path / "source.yaml"
    source.write_text(RST)
    options = ("method", "imp", "transfer.source", str(source))
    with pytest.raises(ConfigError, match="takes rounds of method imp"):
        run_transfer(config(*options), resume=False)
