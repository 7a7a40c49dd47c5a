"""Times and disk: what a simulated schedule takes, where estimates come from, what --dry-run says."""

import json
from pathlib import Path

import pytest
from sweep_makers import EXECUTION, FakeExecutor, make_run, make_sweep, run_sweep, work

from lth_det.errors import RunError
from lth_det.sweeps.estimate import Costs, measure, read_costs
from lth_det.sweeps.executors import environment
from lth_det.sweeps.listing import dry_run_text, progress_text
from lth_det.sweeps.simulate import makespan, tails
from lth_det.sweeps.state import SweepState


def runs_of(root):
    return [
        make_run(root, "a"),
        make_run(root, "b"),
        make_run(root, "c", "a"),
        make_run(root, "d", "bc"),
    ]


SECONDS = {"a": 10.0, "b": 4.0, "c": 5.0, "d": 1.0}


def test_tails_are_the_longest_ways_to_the_end():
    assert tails(runs_of("x"), SECONDS) == {"a": 16, "b": 5, "c": 6, "d": 1}


@pytest.mark.parametrize(("slots", "want"), [(1, 20), (2, 16), (None, 16)])
def test_makespan(slots, want):
    assert makespan(runs_of("x"), SECONDS, slots) == want


def test_makespan_counts_what_runs_already_and_leaves_out_what_is_finished():
    left = {"c": 5.0, "d": 1.0}
    assert makespan(runs_of("x"), left, 2) == 6
    assert makespan(runs_of("x"), left, 2, running={"c": 3.0}) == 3
    assert makespan(runs_of("x"), left, 2, running={"c": 30.0}) == 1  # late: due now
    three = [make_run("x", name) for name in "abc"]
    assert makespan(three, dict.fromkeys("abc", 4.0), 2) == 8


PLAN = {
    "seconds_per_iteration": 0.5,
    "evaluation_seconds": 2.0,
    "disk_mb": 3.0,
    "command_seconds": 1.0,
    "by_config": {"other": {"seconds_per_iteration": 1.0, "iterations": 7}},
}


def test_constants_of_the_plan():
    costs = Costs({}, {}, PLAN)
    found = costs.of(make_run("x", "a", work=(work("k", 10), work("k", 4))))
    assert (found.seconds, found.megabytes, found.basis) == (
        10 * 0.5 + 4 * 0.5 + 4 + 1,
        6.0,
        "plan",
    )
    # A config of its own, whose number of iterations only the plan knows.
    assert costs.of(make_run("x", "a", work=(work("other", None),))).seconds == 7 + 2 + 1
    assert costs.of(make_run("x", "a", work=(work("k", None),))).basis == "unknown"
    assert costs.of(make_run("x", "a")).seconds is None


def finished(tmp_path):
    run = make_run(tmp_path, "a", work=(work("k", 10), work("k", 5)))
    again = make_run(tmp_path, "b", work=(work("k", 20),))
    sweep = make_sweep(tmp_path, [run, again], estimate=PLAN)
    run_sweep(make_sweep(tmp_path, [run], estimate=PLAN), FakeExecutor([run]))
    times = {
        "rounds": [{"train_seconds": 20.0, "eval_seconds": 1.0}],
        "controls": [{"train_seconds": 10.0, "eval_seconds": 2.0}],
    }
    (Path(run.folder) / "timings.json").write_text(json.dumps(times))
    (Path(run.folder) / "big").write_bytes(b"x" * 4_000_000)
    return sweep


def test_measured_times_of_finished_runs_come_first(tmp_path):
    sweep = finished(tmp_path)
    state = SweepState.load(tmp_path)
    state.records["a"].pop("disk_mb")
    measured = measure(sweep, state)["k"]
    assert measured["seconds_per_iteration"] == pytest.approx(30 / 15)
    assert measured["evaluation_seconds"] == pytest.approx(1.5)
    assert measured["disk_mb"] == pytest.approx(2.0, abs=0.01)
    found = Costs({"k": measured}, {}, PLAN).of(sweep.runs[1])
    assert found.seconds == pytest.approx(20 * 2 + 1.5 + 1)
    assert found.basis == "measured"
    assert Costs({}, {"k": measured}, PLAN).of(sweep.runs[1]).basis == "measured elsewhere"


def test_times_of_another_sweep(tmp_path):
    (tmp_path / "sweep.json").write_text(
        json.dumps({"costs": {"k": {"seconds_per_iteration": 1.0}}})
    )
    assert read_costs(str(tmp_path)) == read_costs(str(tmp_path / "sweep.json"))
    (tmp_path / "sweep.json").write_text("{}")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="no measured times"):
            read_costs(str(path))


def test_a_dry_run_lists_every_run_with_its_command_and_says_where_times_come_from(tmp_path):
    sweep = finished(tmp_path)
    state = SweepState.load(tmp_path)
    text = dry_run_text(sweep, state, Costs(measure(sweep, state), {}, PLAN), 2)
    assert "a: finished; 2 trainings" in text
    assert "b: pending; 1 training, 42 s" in text
    assert text.count("\n    x\n") == 2
    assert "Left: 1 of 2 runs, 1 trainings, 42 s of work" in text
    assert "1 from times measured in this sweep" in text


def test_the_progress_line():
    text = progress_text({"a": "finished", "b": "running", "c": "blocked", "d": "failed"}, 130.0)
    assert text == "1 of 4 runs finished, 1 failed, 1 blocked | ETA 2 min | b"


def test_each_place_has_its_gpu_and_threads(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    execution = {**EXECUTION, "threads": 3, "gpus": [0, 2]}
    assert environment(execution, 1)["CUDA_VISIBLE_DEVICES"] == "2"
    assert environment(execution, 0)["OMP_NUM_THREADS"] == "3"
    assert environment(EXECUTION, 0)["CUDA_VISIBLE_DEVICES"] == "5"
    assert "CUDA_VISIBLE_DEVICES" not in environment({**EXECUTION, "executor": "slurm"}, 0)
