"""Warm starts: a forked command ends, logs and is stopped as a new program is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lth_det.errors import ConfigError
from lth_det.sweeps import executors, warm
from lth_det.sweeps.executors import LocalExecutor, make_executor
from lth_det.sweeps.job import BUSY, Job, is_locked, read_outcome, run_job, sentence
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.plan_keys import read_head
from lth_det.sweeps.warm import WarmStart, is_warm
from lth_det.sweeps.warm_imports import NAMES

# All tests of a process share its fork server.
PRELOAD = ("lth_det.sweeps.warm", "random", "numpy", "no_such_module")
WHO = "import os, sys\nprint(os.getpid(), os.getppid(), os.getpgrp(), flush=True)\n"
# Says that it is there, waits for the file "go", and leaves "end".
WAITS = """
import os, pathlib, time
pathlib.Path("here.tmp").write_text(f"{os.getpid()} {os.getppid()}")
os.rename("here.tmp", "here")
while not os.path.exists("go"): time.sleep(0.02)
pathlib.Path("end").write_text("")
"""


@pytest.fixture(autouse=True)
def _no_environment_of_this_test(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)


def start_of(tmp_path):
    return WarmStart(tools=tmp_path / "tools", preload=PRELOAD)


def tool(tmp_path, source, name="t.py"):
    path = tmp_path / "tools" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    return path


def job_of(tmp_path, source, *words, folder="job", env=None):
    tool(tmp_path, source)
    return Job(
        name="j", commands=(("tools/t.py", *words),), folder=str(tmp_path / folder),
        cwd=str(tmp_path), env=env or {},
    )  # fmt: skip


def run_warm(tmp_path, job):
    handle = start_of(tmp_path).start(job)
    handle.process.join()
    assert handle.done()
    return read_outcome(job)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


PROGRAMS = {
    "ends": "import sys\nprint('out', sys.argv[1:], __name__)\nsys.stderr.write('err\\n')\n",
    "unflushed": "import sys\nsys.stdout.write('no newline')\nopen('held', 'w').write('x')\n",
    "input is wrong": "import sys\nsys.stderr.write('error: Mend it.\\n')\nsys.exit(2)\n",
    "large code": "import sys\nsys.exit(259)\n",
    "says why": "import sys\nsys.exit('a sentence')\n",
    "raises": "def f():\n    1 / 0\n\nf()\n",
    "syntax": "def f(:\n",
    "interrupted": "raise KeyboardInterrupt\n",
    "signal": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "interrupt": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n",
    "killed": "import os\nos.kill(os.getpid(), 9)\n",
    "atexit": "import atexit\natexit.register(print, 'bye')\nprint('end')\n",
    "thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\n",
    "held": "import helper\nhelper.file = open('kept', 'w')\nhelper.file.write('kept')\n",
    "cycle": "class A:\n    def __del__(self): print('gone', flush=True)\na = A()\na.a = a\ndel a\n",
    "beside": "import helper\nprint(helper.__name__)\n",
    "places": "import os, sys\nprint(os.getcwd(), sys.path[0], sys.argv, __file__, sys.stdin.read())\n"
    "print(os.getpgrp() == os.getpid() == os.getsid(0))\n",
    "child": "import multiprocessing as m, os\nprint(m.current_process().name, m.parent_process())\n"
    "m.set_start_method('fork')\np = m.Process(target=print, args=('x',))\np.start(); p.join()\n"
    "print(p.exitcode, p.name)\n",
    "spawned": "import multiprocessing as m\ndef f(): print('from', __name__)\n"
    "if __name__ == '__main__':\n    m.set_start_method('spawn')\n    p = m.Process(target=f)\n"
    "    p.start(); p.join()\n    print(p.exitcode)\n",
    "variables": "import os\nprint(os.environ.get('SET'), os.environ.get('HOME'))\n"
    "print(os.popen('echo $SET $HOME').read())\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_warm_command_ends_and_logs_as_a_cold_one(tmp_path, name):
    # The cold command must heed Ctrl-C, also where a shell started this test with "&".
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    tool(tmp_path, "", "helper.py")
    changes = {"SET": "x", "HOME": None}
    cold = job_of(tmp_path, PROGRAMS[name], "a", "b c", folder="cold", env=changes)
    run_job(cold)
    (tmp_path / "kept").unlink(missing_ok=True)
    one = job_of(tmp_path, PROGRAMS[name], "a", "b c", folder="warm", env=changes)
    outcome = run_warm(tmp_path, one)
    assert outcome["exit_code"] == read_outcome(cold)["exit_code"]
    assert one.log.read_text() == cold.log.read_text()
    assert one.errors.read_text() == cold.errors.read_text()
    assert sentence(one, outcome["exit_code"]) == sentence(cold, outcome["exit_code"])
    assert not is_locked(tmp_path / "warm" / ".lock")
    assert name != "held" or (tmp_path / "kept").read_text() == "kept"


def test_a_tool_is_forked_and_other_commands_are_not(tmp_path):
    code = (
        "import random, sys; print('random' in sys.modules, 'lth_det.sweeps.warm' in sys.modules)"
    )
    tool(tmp_path, code)
    one = Job(
        name="j", commands=(("tools/t.py",), ("python", "-c", code.partition("; ")[0] + "; print(1)"), ("python", "-c", code.replace("random, ", ""))),
        folder=str(tmp_path / "job"), cwd=str(tmp_path),
    )  # fmt: skip
    run_warm(tmp_path, one)
    lines = [line for line in one.log.read_text().splitlines() if not line.startswith("$")]
    assert lines == ["True True", "1", "False False"]


def test_which_commands_are_warm(tmp_path):
    path = tool(tmp_path, "")
    tools = tmp_path / "tools"
    assert is_warm([sys.executable, str(path), "x"], tools)
    assert not is_warm([sys.executable, "-c", "x.py"], tools)
    assert not is_warm([sys.executable], tools)
    assert not is_warm([str(path)], tools)
    assert not is_warm([sys.executable, str(tools / "absent.py")], tools)
    assert not is_warm([sys.executable, str(path)], tmp_path)


def test_a_job_that_wants_another_environment_starts_cold(tmp_path, monkeypatch):
    start = start_of(tmp_path)
    threads = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"}
    first = job_of(tmp_path, "", env=threads)
    monkeypatch.setattr(warm, "_served", None)
    assert start.takes(first)
    warm._remember(first)
    assert start.takes(job_of(tmp_path, "", env=threads | {"CUDA_VISIBLE_DEVICES": "1"}))
    assert start.takes(job_of(tmp_path, "", env=threads | {"CUDA_VISIBLE_DEVICES": None}))
    assert not start.takes(job_of(tmp_path, "", env=threads | {"OMP_NUM_THREADS": "2"}))
    assert not start.takes(job_of(tmp_path, "", env=threads | {"DETECTRON2_DATASETS": "x"}))
    other = Job(name="j", commands=(("python", "-V"),), folder="f", cwd=str(tmp_path), env=threads)
    assert not start.takes(other)


def test_two_jobs_draw_different_numbers(tmp_path):
    source = "import random, numpy\nprint(random.random(), numpy.random.random())\n"
    drawn = set()
    for name in ("a", "b"):
        one = job_of(tmp_path, source, folder=name)
        run_warm(tmp_path, one)
        drawn.update(one.log.read_text().splitlines()[-1].split())
    assert len(drawn) == 4


def test_the_server_starts_in_the_environment_of_the_jobs(tmp_path):
    # What torch reads when the server imports it: before any job.
    source = (
        "import json, os, sys\n"
        "from lth_det.sweeps.job import Job\n"
        "from lth_det.sweeps.warm import WarmStart\n"
        f"job = Job(name='j', commands=(('tools/t.py',),), folder={str(tmp_path / 'job')!r}, "
        f"cwd={str(tmp_path)!r}, env={{'OMP_NUM_THREADS': '3', 'CUDA_VISIBLE_DEVICES': '7'}})\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"os.environ['PYTHONPATH'] = {str(tmp_path)!r}\n"
        f"start = WarmStart(tools=__import__('pathlib').Path({str(tmp_path / 'tools')!r}), preload=('looks',))\n"
        "start.start(job).process.join()\n"
        "print(os.environ.get('OMP_NUM_THREADS'))\n"
    )
    (tmp_path / "looks.py").write_text(
        "import os\nSEEN = os.environ.get('OMP_NUM_THREADS'), os.environ.get('CUDA_VISIBLE_DEVICES')\n"
    )
    tool(tmp_path, "import looks, os\nprint(*looks.SEEN, os.environ['CUDA_VISIBLE_DEVICES'])\n")
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    }
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "None\n", done.stderr
    assert (tmp_path / "job/out.log").read_text().splitlines()[-1] == "3 None 7"


def test_a_stop_ends_it(tmp_path):
    one = job_of(tmp_path, WAITS)
    handle = start_of(tmp_path).start(one)
    wait_for((tmp_path / "here").exists)
    assert not handle.done()
    pid = int((tmp_path / "here").read_text().split()[0])
    assert json.loads((tmp_path / "job/process.json").read_text())["group"] == pid
    handle.stop()
    handle.process.join()
    assert not is_locked(tmp_path / "job/.lock")
    assert not (tmp_path / "end").exists()


def test_a_job_is_not_started_twice_and_is_attached_by_its_lock(tmp_path):
    one = job_of(tmp_path, WAITS)
    first = start_of(tmp_path).start(one)
    wait_for((tmp_path / "here").exists)
    second = start_of(tmp_path).start(one)
    second.process.join()
    assert read_outcome(one) is None
    assert run_job(one) == BUSY
    # The job's process dies; its command keeps the lock.
    os.kill(int((tmp_path / "here").read_text().split()[1]), signal.SIGKILL)
    first.process.join()
    attached = LocalExecutor(tmp_path).attach(one, first.job_id)
    assert not attached.done()
    (tmp_path / "go").write_text("")
    wait_for(attached.done)
    assert (tmp_path / "end").exists()


def test_a_job_outlives_its_scheduler_and_hears_no_interrupt(tmp_path):
    one = job_of(tmp_path, WAITS)
    source = (
        "import pathlib, signal, sys\n"
        "from lth_det.sweeps.job import Job\n"
        "from lth_det.sweeps.warm import WarmStart\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"start = WarmStart(tools=pathlib.Path({str(tmp_path / 'tools')!r}), preload=())\n"
        f"handle = start.start({one!r})\n"
        "try:\n    print('started', flush=True); signal.pause()\n"
        "except KeyboardInterrupt: print('interrupted', flush=True); signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with parent:
        assert parent.stdout.readline() == "started\n"
        wait_for((tmp_path / "here").exists)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted\n"
        os.killpg(parent.pid, signal.SIGKILL)  # the fork server too
    assert is_locked(tmp_path / "job/.lock")
    (tmp_path / "go").write_text("")
    wait_for(lambda: read_outcome(one) is not None)
    assert read_outcome(one)["exit_code"] == 0
    assert (tmp_path / "end").exists()


def test_without_a_server_jobs_start_cold(tmp_path, monkeypatch, caplog):
    def fail(self, job):
        raise EOFError("unexpected EOF")

    class Submitted:
        job_id = 5

    class Submitit:
        def update_parameters(self, **_):
            pass

        def submit(self, function, job):
            function(job)
            return Submitted()

    monkeypatch.setattr(WarmStart, "start", fail)
    monkeypatch.setattr(WarmStart, "takes", lambda self, job: True)
    monkeypatch.setattr(executors, "_submitit", lambda *_: Submitit())
    one = job_of(tmp_path, "print(1)")
    executor = LocalExecutor(tmp_path, start_of(tmp_path))
    assert executor.start(one).job_id == "5"
    assert read_outcome(one)["exit_code"] == 0
    assert executor.warm is None
    assert "without warm imports" in caplog.text


def execution_of(**execution):
    return read_head(Keys("p", {"name": "n", "kind": "runs", "execution": execution}), None)


def test_the_key_of_plans(tmp_path):
    def executor_of(**execution):
        return make_executor(execution_of(**execution).execution, tmp_path)

    assert executor_of().warm == WarmStart()
    assert executor_of(warm=False).warm is None
    assert not hasattr(executor_of(executor="debug"), "warm")
    with pytest.raises(ConfigError, match="warm is 'x', but must be true or false"):
        execution_of(warm="x")


def test_the_modules_that_are_preloaded_exist():
    root = Path(__file__).resolve().parents[3]
    assert root / "tools" == warm.TOOLS
    for name in NAMES:
        if name.startswith("lth_det."):
            assert (root / (name.replace(".", "/") + ".py")).exists(), name
    assert warm.PRELOAD == ("lth_det.sweeps.warm_server",)
    assert (root / "lth_det/sweeps/warm_server.py").exists()
