"""The scheduler: order, places, failures, resume. Jobs are fakes that end after some polls."""

import fcntl
import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_makers import FakeExecutor, make_run, make_sweep, run_sweep

from lth_det.errors import RunError
from lth_det.sweeps.state import SweepState


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 8))
    needs = {
        k: draw(st.sets(st.integers(0, k - 1), max_size=3)) if k else set() for k in range(count)
    }
    turns = {f"r{k}": draw(st.integers(1, 4)) for k in range(count)}
    codes = {f"r{k}": draw(st.sampled_from([0, 0, 0, 1])) for k in range(count)}
    return needs, turns, codes


@settings(max_examples=60)
@given(graphs(), st.integers(1, 3))
def test_order_places_and_blocking(graph, parallel):
    needs, turns, codes = graph
    # Flushing sweep.json to disk takes longer than all the rest.
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(SweepState, "save"):
        # Listed backwards, so that the order of the plan is no topological one.
        runs = [
            make_run(folder, f"r{k}", [f"r{n}" for n in sorted(needs[k])]) for k in reversed(needs)
        ]
        executor = FakeExecutor(runs, turns=turns, codes=codes)
        state, _ = run_sweep(make_sweep(folder, runs), executor, parallel)
    assert executor.most <= parallel
    assert len(set(executor.started)) == len(executor.started)
    bad = {name for name, code in codes.items() if code}
    blocked = set()
    for k in needs:
        if any(f"r{n}" in bad | blocked for n in needs[k]):
            blocked.add(f"r{k}")
    states = {name: record["state"] for name, record in state.records.items()}
    for name in codes:
        want = "blocked" if name in blocked else "failed" if name in bad else "finished"
        assert states[name] == want
    assert set(executor.started) == set(codes) - blocked


def diamond(root):
    return [
        make_run(root, "a"),
        make_run(root, "b", "a"),
        make_run(root, "c", "a"),
        make_run(root, "d", "bc"),
    ]


def test_all_places_are_used(tmp_path):
    runs = [make_run(tmp_path, name) for name in "abc"]
    executor = FakeExecutor(runs, turns=dict.fromkeys("abc", 5))
    run_sweep(make_sweep(tmp_path, runs), executor, 3)
    assert executor.most == 3


def test_a_second_time_nothing_is_started(tmp_path):
    runs = diamond(tmp_path)
    run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))
    again = FakeExecutor(runs)
    state, _ = run_sweep(make_sweep(tmp_path, runs), again)
    assert again.started == []
    assert {record["state"] for record in state.records.values()} == {"finished"}


def test_a_failure_is_told_with_its_sentence_and_log_and_tried_again(tmp_path):
    runs = diamond(tmp_path)
    state, told = run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs, codes={"b": 2}))
    assert any("b FAILED: no luck today." in line and "err.log" in line for line in told)
    assert any("d is blocked: it needs b" in line for line in told)
    assert state.records["b"]["exit_code"] == 2
    again = FakeExecutor(runs)
    state, _ = run_sweep(make_sweep(tmp_path, runs), again)
    assert again.started == ["b", "d"]
    assert state.records["d"]["state"] == "finished"
    assert "reason" not in state.records["d"]


def test_a_done_file_of_other_commands_does_not_count(tmp_path):
    runs = [make_run(tmp_path, "a")]
    run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))
    changed = [make_run(tmp_path, "a", commands=[("y",)]), make_run(tmp_path, "b", "a")]
    with pytest.raises(RunError, match=r"differently \(a: 'x', now 'y'\).*--redo-changed"):
        run_sweep(make_sweep(tmp_path, changed), FakeExecutor(changed))
    # In a dry run nothing is claimed.
    assert SweepState.load(tmp_path).state_of(changed[0]) == "pending"
    executor = FakeExecutor(changed)
    run_sweep(make_sweep(tmp_path, changed), executor, redo_changed=True)
    assert executor.started == ["a", "b"]


def test_what_needs_a_changed_run_is_done_again_too(tmp_path):
    runs = [*diamond(tmp_path), make_run(tmp_path, "e")]
    run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))
    changed = [
        run if run.name != "b" else make_run(tmp_path, "b", "a", identity={"c": "1"})
        for run in runs
    ]
    executor = FakeExecutor(changed)
    run_sweep(make_sweep(tmp_path, changed), executor, redo_changed=True)
    assert executor.started == ["b", "d"]


def test_a_run_whose_done_file_was_deleted_runs_again(tmp_path):
    runs = [make_run(tmp_path, "a"), make_run(tmp_path, "b")]
    run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))
    (Path(runs[1].folder) / "done").unlink()
    executor = FakeExecutor(runs)
    run_sweep(make_sweep(tmp_path, runs), executor)
    assert executor.started == ["b"]


def test_incomplete_results_are_not_finished(tmp_path):
    run = make_run(tmp_path, "a", done_file="results.json")
    state, told = run_sweep(make_sweep(tmp_path, [run]), FakeExecutor([run]))
    assert state.records["a"]["state"] == "failed"
    assert any("missing or incomplete" in line for line in told)
    (Path(run.folder) / "results.json").write_text(json.dumps({"complete": True}))
    assert run.is_done()


def test_results_of_a_command_that_failed_afterwards_are_not_finished(tmp_path):
    runs = [make_run(tmp_path, "a")]
    Path(runs[0].folder).mkdir(parents=True)
    (Path(runs[0].folder) / "done").write_text("")
    state, _ = run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs, codes={"a": 1}))
    assert state.records["a"]["state"] == "failed"
    again = FakeExecutor(runs)
    run_sweep(make_sweep(tmp_path, runs), again)
    assert again.started == ["a"]


@pytest.mark.parametrize(
    ("commands", "state"), [([("x",)], "finished"), ([("x",), ("y",)], "failed")]
)
def test_without_an_outcome_a_done_file_may_be_that_of_an_earlier_command(
    tmp_path, commands, state
):
    run = make_run(tmp_path, "a", commands=commands)
    Path(run.folder).mkdir(parents=True)
    (Path(run.folder) / "done").write_text("")
    executor = FakeExecutor([run], codes={"a": None})
    found, _ = run_sweep(make_sweep(tmp_path, [run]), executor)
    assert found.records["a"]["state"] == state
    # Also where the scheduler was killed before it could look.
    found.records["a"]["state"] = "running"
    found.save(make_sweep(tmp_path, [run]))
    assert found.state_of(run) == ("finished" if state == "finished" else "running")
    again = FakeExecutor([run])
    run_sweep(make_sweep(tmp_path, [run]), again)
    assert again.started == ([] if state == "finished" else ["a"])


def test_a_failure_behind_the_back_of_a_killed_scheduler_is_tried_again(tmp_path):
    runs = [make_run(tmp_path, "a")]
    run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))
    state = SweepState.load(tmp_path)
    state.records["a"]["state"] = "running"
    state.save(make_sweep(tmp_path, runs))
    assert state.state_of(runs[0]) == "finished"
    (state.job_folder("a") / "outcome.json").write_text('{"exit_code": 1, "seconds": 1}')
    again = FakeExecutor(runs)
    run_sweep(make_sweep(tmp_path, runs), again)
    assert again.started == ["a"]


def test_an_interrupt_ends_the_running_jobs_and_the_next_start_goes_on(tmp_path):
    runs = diamond(tmp_path)
    executor = FakeExecutor(runs, turns={"b": 100}, interrupt_after=2)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(make_sweep(tmp_path, runs), executor)
    assert executor.stopped == ["b"]
    states = {n: r["state"] for n, r in SweepState.load(tmp_path).records.items()}
    assert states["a"] == "finished"
    assert states["b"] == "pending"
    again = FakeExecutor(runs)
    run_sweep(make_sweep(tmp_path, runs), again)
    assert sorted(again.started) == ["b", "c", "d"]


def test_the_longest_chain_goes_first(tmp_path):
    runs = [make_run(tmp_path, name) for name in ("a", "b")]
    runs += [make_run(tmp_path, "c"), make_run(tmp_path, "d", "c"), make_run(tmp_path, "e", "d")]
    executor = FakeExecutor(runs)
    run_sweep(make_sweep(tmp_path, runs), executor, 1)
    assert executor.started[:2] == ["c", "d"]


def test_a_folder_in_use_is_waited_for(tmp_path):
    run = make_run(tmp_path, "a")
    Path(run.folder).mkdir(parents=True)
    handle = (Path(run.folder) / ".lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    turns, executor = [], FakeExecutor([run])

    def turn(_):
        turns.append(list(executor.started))
        if len(turns) == 3:
            handle.close()

    _, told = run_sweep(make_sweep(tmp_path, [run]), executor, on_turn=turn)
    assert turns[:3] == [[], [], []]
    assert executor.started == ["a"]
    assert sum("in use by another process" in line for line in told) == 1


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    runs = [make_run(tmp_path, "a")]
    with SweepState.load(tmp_path).lock(), pytest.raises(RunError, match="in use by another sweep"):
        run_sweep(make_sweep(tmp_path, runs), FakeExecutor(runs))


def test_a_damaged_state_is_told(tmp_path):
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        SweepState.load(tmp_path)


def test_the_report_waits_until_the_next_runs_have_started(tmp_path):
    runs = [make_run(tmp_path, "a"), make_run(tmp_path, "b", "a")]
    executor, seen = FakeExecutor(runs, turns={"b": 3}), []
    run_sweep(
        make_sweep(tmp_path, runs),
        executor,
        1,
        on_finished=lambda: seen.append(list(executor.started)),
    )
    assert seen == [["a", "b"], ["a", "b"]]
