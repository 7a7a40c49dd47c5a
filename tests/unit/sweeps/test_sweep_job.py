"""One job: commands in order, logs, outcome, lock, and what is executed."""

import json
import sys
from pathlib import Path

from lth_det.sweeps.job import Job, argv, is_locked, read_outcome, run_job, sentence


def job(tmp_path, *codes, env=None):
    commands = tuple(("python", "-c", code) for code in codes)
    return Job(
        name="j", commands=commands, folder=str(tmp_path / "job"), cwd=str(tmp_path), env=env or {}
    )


def test_commands_run_in_order_until_one_fails(tmp_path):
    one = job(
        tmp_path, "open('one','w')", "import sys; print('two'); sys.exit(3)", "open('three','w')"
    )
    assert run_job(one) == 3
    assert (tmp_path / "one").exists()
    assert not (tmp_path / "three").exists()
    assert read_outcome(one)["exit_code"] == 3
    assert one.log.read_text().splitlines()[-1] == "two"
    assert sentence(one, 3) == "exit code 3"
    assert not is_locked(Path(one.folder) / ".lock")


def test_the_environment_is_changed_and_variables_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("GONE", "1")
    code = "import os, json; json.dump([os.environ.get('SET'), os.environ.get('GONE')], open('env', 'w'))"
    run_job(job(tmp_path, code, env={"SET": "x", "GONE": None}))
    assert json.loads((tmp_path / "env").read_text()) == ["x", None]


def test_the_lock_is_held_while_a_command_runs(tmp_path):
    lock = tmp_path / "job" / ".lock"
    code = (
        "import fcntl, sys\n"
        f"h = open({str(lock)!r})\n"
        "try: fcntl.flock(h, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except OSError: sys.exit(0)\n"
        "sys.exit(1)"
    )
    assert run_job(job(tmp_path, code)) == 0


def test_the_sentence_of_a_failure(tmp_path):
    one = job(
        tmp_path,
        "import sys; sys.stderr.write('x\\nerror: Mend it.\\nWARNING later\\n'); sys.exit(2)",
    )
    assert sentence(one, run_job(one)) == "Mend it."
    two = job(tmp_path, "1 / 0")
    assert sentence(two, run_job(two)) == "ZeroDivisionError: division by zero"
    three = job(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert "signal 9" in sentence(three, run_job(three))


def test_what_is_executed(tmp_path):
    here = str(tmp_path)
    assert argv(("python", "-V"), here) == [sys.executable, "-V"]
    tool = argv(("tools/train_net.py", "--help"), here)
    assert tool[0] == sys.executable
    assert Path(tool[1]).exists()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/train_net.py").write_text("")
    assert argv(("tools/train_net.py",), here)[1] == str(tmp_path / "tools/train_net.py")
    assert argv(("ls", "-l"), here) == ["ls", "-l"]
