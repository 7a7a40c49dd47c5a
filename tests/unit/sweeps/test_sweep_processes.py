"""Real processes: the command is killed, interrupted and started again while its runs work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
# Says who it is, waits for the file "go", counts its ends, and writes the done-file.
WORKER = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
(folder / "pids.tmp").write_text(f"{os.getpid()} {os.getppid()} {os.environ['OMP_NUM_THREADS']}")
(folder / "pids.tmp").rename(folder / "pids")
while not (folder.parent.parent / "go").exists(): time.sleep(0.02)
with open(folder / "ends", "a") as ends: ends.write("end\\n")
(folder / "done").write_text("")
"""


def write_plan(folder, runs, **execution):
    plan = {"name": "p", "kind": "runs", "output": str(folder / "out"), "runs": runs,
            "execution": {"parallel": 2, **execution}}  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    return folder / "plan.yaml"


def worker(**more):
    return {"commands": [["python", "-c", WORKER, "{folder}"]], "done_file": "done", **more}


def heed_interrupts():
    # A shell's background jobs, such as a test suite started with "&", ignore Ctrl-C, and their children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(plan, *arguments):
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/compare_tickets.py")]
    return subprocess.Popen(
        [*command, "--config-file", str(plan), *arguments], preexec_fn=heed_interrupts,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=plan.parent,
    )  # fmt: skip


def wait_for(condition, what, process=None):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def log_has(folder, words):
    path = folder / "out/sweep.log"
    return path.exists() and words in path.read_text()


@pytest.mark.parametrize(
    "with_wrapper", [False, True], ids=["scheduler", "scheduler and job process"]
)
def test_kill_and_restart_never_runs_a_run_twice(tmp_path, with_wrapper):
    plan = write_plan(tmp_path, {"a": worker(), "b": worker(needs=["a"])})
    first = start(plan)
    pids = tmp_path / "out/runs/a/pids"
    wait_for(pids.exists, "the run does not start", first)
    child, wrapper, threads = pids.read_text().split()
    assert threads == "1"
    first.kill()
    first.wait()
    first.stdout.close()  # its jobs hold the other ends open
    first.stderr.close()
    if with_wrapper:
        os.kill(int(wrapper), signal.SIGKILL)
    assert is_alive(int(child))
    second = start(plan)
    wait_for(lambda: log_has(tmp_path, "a still runs from an earlier start"), "not noticed", second)
    (tmp_path / "out/go").write_text("")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert (tmp_path / "out/runs/a/ends").read_text() == "end\n"
    assert (tmp_path / "out/runs/b/ends").read_text() == "end\n"
    state = json.loads((tmp_path / "out/sweep.json").read_text())
    assert {record["state"] for record in state["runs"].values()} == {"finished"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_children(tmp_path, number):
    plan = write_plan(tmp_path, {"a": worker(), "b": worker()})
    process = start(plan)
    pids = [tmp_path / f"out/runs/{name}/pids" for name in "ab"]
    wait_for(lambda: all(path.exists() for path in pids), "the runs do not start", process)
    children = [int(path.read_text().split()[0]) for path in pids]
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not any(is_alive(child) for child in children)


def test_failures_and_exit_codes(tmp_path):
    fail = [
        "python",
        "-c",
        "import sys; sys.stderr.write('noise\\nerror: No such ticket.\\n'); sys.exit(2)",
    ]
    crash = ["python", "-c", "raise ValueError('odd')"]
    runs = {
        "bad": {"commands": [fail, ["python", "-c", "open('never', 'w')"]]},
        "after": worker(needs=["bad"]),
        "strange": {"commands": [["no-such-program"]], "done_file": "x"},
    }
    process = start(write_plan(tmp_path, runs))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1  # a program that is not there ends with 127, not with 2
    assert "failed: bad: No such ticket. (log: " in errors
    assert "failed: strange: no-such-program cannot be started" in errors
    assert "blocked: after: needs bad" in errors
    assert errors.splitlines()[-1].startswith("error: 3 of 3 runs are not finished")
    assert not (tmp_path / "never").exists()
    del runs["strange"]
    runs["bad"]["commands"] = [fail]
    only_input = start(write_plan(tmp_path, runs), "--executor", "debug")
    _, errors = only_input.communicate(timeout=60)
    assert only_input.returncode == 2, errors
    runs["bad"]["commands"] = [crash]
    crashed = start(write_plan(tmp_path, runs), "--executor", "debug")
    _, errors = crashed.communicate(timeout=60)
    assert crashed.returncode == 1, errors
    assert "failed: bad: ValueError: odd" in errors
