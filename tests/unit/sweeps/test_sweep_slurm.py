"""SLURM by stand-ins for sbatch, srun and sacct that run the job on this machine: what is asked of it, and how it ends."""

import os
import re
import stat
from pathlib import Path

from sweep_makers import make_run, make_sweep, run_sweep

from lth_det.sweeps.executors import SlurmExecutor, make_executor

OPTIONS = {
    "partition": "gpu",
    "minutes": 90,
    "gpus": 2,
    "cpus": None,
    "memory_gb": 16,
    "more": {"account": "x"},
}
SBATCH = """#!/bin/bash
cp "$1" "$FAKE_SLURM/script.sh"
SLURM_JOB_ID=4242 nohup bash "$1" > "$FAKE_SLURM/log" 2>&1 &
echo "Submitted batch job 4242"
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here
exec "$@"
"""


def fake_slurm(folder, monkeypatch):
    programs = {
        "sbatch": SBATCH,
        "srun": SRUN,
        "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'\necho '4242|RUNNING|here'\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))


def test_a_run_goes_through_slurm_with_the_parameters_of_the_plan(tmp_path, monkeypatch):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    fake_slurm(bin_folder, monkeypatch)
    code = "import os, pathlib, sys; d = pathlib.Path(sys.argv[1]); d.mkdir(parents=True); (d / 'done').write_text(os.environ['SLURM_JOB_ID'])"
    run = make_run(tmp_path, "a", commands=[("python", "-c", code, str(tmp_path / "runs/a"))])
    execution = {
        "executor": "slurm",
        "threads": 6,
        "gpus": [],
        "env": {},
        "parallel": None,
        "slurm": OPTIONS,
    }
    sweep = make_sweep(tmp_path, [run], execution=execution)
    executor = make_executor(execution, tmp_path / "jobs/submitit")
    assert isinstance(executor, SlurmExecutor)
    state, told = run_sweep(sweep, executor)
    assert state.records["a"]["state"] == "finished", told
    assert state.records["a"]["job_id"] == "4242"
    assert Path(run.folder, "done").read_text() == "4242"
    script = (bin_folder / "script.sh").read_text()
    asked = dict(re.findall(r"#SBATCH --([a-z-]+)=(\S+)", script))
    assert asked["partition"] == "gpu"
    assert asked["time"] == "90"
    assert asked["gpus-per-node"] == "2"
    assert asked["cpus-per-task"] == "6"
    assert asked["account"] == "x"
    assert asked["mem"] == "16GB"
    assert "array" not in asked
