"""SIGKILL at defined points of a run; run again with --resume, the end is the same to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lth_det.experiments.run_dir import RunDir

pytestmark = pytest.mark.d2
ROOT = Path(__file__).resolve().parents[2]
TRAIN = (
    "--config-file", "configs/quick/faster_rcnn_imp.yaml", "--resume", "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.CHECKPOINT_PERIOD", "2", "LTH.REWIND.ITERATION", "1", "LTH.TARGETS", "(0.6,)", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64", "OUTPUT_DIR",
)  # fmt: skip
# In the order of a run. Each run goes on after the kill before it, until its own: the last one has survived them all.
KILLS = (
    ("half", "round_00/rewind.safetensors", 1),
    ("after", "round_00/model_0000001.pth", 1),  # last_checkpoint is not there yet
    ("half", "round_00/model_0000003.pth", 1),
    (
        "before",
        "round_00/model_final.pth",
        1,
    ),  # the last periodic checkpoint is of the same iteration
    ("before", "round_00/stage.json", 1),  # trained and evaluated, but not noted
    ("call", "lth_det.experiments.imp:decide_mask", 1),
    ("half", "round_01/ticket.safetensors", 1),
    ("after", "round_01/ticket.safetensors", 1),
    ("after", "round_01/last_checkpoint", 1),
    ("half", "results.json", 2),
    ("call", "lth_det.reports.run_report:_write_tables", 1),
)


def drive(folder, points):
    """Run the command once for each point; return the exit codes and what the runs printed."""
    log = folder.with_suffix(".log")
    driver = [sys.executable, "-W", "ignore", "tests/integration/crash_driver.py", str(log)]
    done = subprocess.run(
        [*driver, *TRAIN, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(points),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), log.read_text()


def contents(folder):
    """Return the bytes of everything that must not differ; times, logs and pictures may."""
    files = [
        "results.json",
        "round_0?/*.pth",
        "round_0?/*.safetensors",
        "round_0?/inference/*.json",
    ]
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for name in files
        for path in folder.glob(name)
    }
    for path in folder.glob("round_0?/stage.json"):
        record = json.loads(path.read_text())
        found[str(path.relative_to(folder))] = {
            key: value for key, value in record.items() if not key.endswith("_seconds")
        }
    return found


def test_killed_at_every_kind_of_moment_a_run_ends_as_if_nothing_had_been(tmp_path):
    codes, _ = drive(tmp_path / "whole", [None])
    assert codes == [0]
    codes, log = drive(tmp_path / "cut", [*KILLS, None])
    assert codes == [-9] * len(KILLS) + [0], log[-3000:]
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert len(whole) == 13
    assert {name for name in whole if whole[name] != cut.get(name)} == set()
    assert set(cut) == set(whole)
    assert (tmp_path / "cut/report/index.html").exists()
    # A log, not a result: its losses are medians since the process started, and the last one can be missing.
    for path in (tmp_path / "cut").glob("round_0?/metrics.json"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        iterations = [row["iteration"] for row in rows]
        assert iterations == sorted(set(iterations))
        assert "bbox/AP" in rows[-1]
    # The kills did interrupt training: it went on from the middle and from the end of a round.
    assert "Starting training from iteration 2" in log
    assert "Starting training from iteration 4" in log
    assert list((tmp_path / "cut").rglob(".*.tmp")) == []
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


def test_leftovers_of_a_killed_process_go_and_other_files_stay(tmp_path):
    stage = tmp_path / "round_00"
    stage.mkdir()
    left = [stage / ".model_final.pth.ab_12cd9.tmp", tmp_path / ".results.json.abcdefgh.tmp"]
    others = [tmp_path / ".notes.txt.abcdefgh.tmp", stage / "mine.tmp", tmp_path / "data.tmp"]
    for path in (*left, *others):
        path.write_text("x")
    with RunDir(tmp_path).lock():
        pass
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
