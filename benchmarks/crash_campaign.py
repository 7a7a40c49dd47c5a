"""Kill a training at random moments and compare the end with an undisturbed run.

A campaign makes one undisturbed run, then trials: in each, the same command is started in an empty folder, killed with
SIGKILL after a random time, started again with ``--resume``, killed again, and so on; after the kills of the trial it
may finish. Checkpoints, tickets, predictions and results must then equal the undisturbed run's, byte for byte.

    python benchmarks/crash_campaign.py --trials 10 --kills 3 --seed 1 --json campaign.json
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ("results.json", "round_*/*.pth", "round_*/*.safetensors", "round_*/inference/*.json")
TINY = (
    "SOLVER.MAX_ITER", "12", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "2", "LTH.REWIND.ITERATION", "3",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip


def start(arguments: argparse.Namespace, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the command in a session of its own, with its output in a file beside the folder."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/train_net.py"), "--resume"]
    command += ["--config-file", arguments.config_file, *(arguments.opts or TINY)]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [*command, "OUTPUT_DIR", str(folder)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finish(arguments: argparse.Namespace, folder: Path) -> float:
    """Run the command to its end; return the seconds it took."""
    begin = time.monotonic()
    code = start(arguments, folder).wait()
    if code:
        sys.exit(f"{folder.with_suffix('.log')}: the command ended with exit code {code}.")
    return time.monotonic() - begin


def kill_after(arguments: argparse.Namespace, folder: Path, seconds: float) -> str | None:
    """Run the command for a time and kill it; return where it was, ``None`` when it had finished before."""
    process = start(arguments, folder)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return position(folder)
    return None


def position(folder: Path) -> str:
    """Return in words how far the killed run was."""
    if not (folder / "run.json").exists():
        return "starting"
    results = folder / "results.json"
    if results.exists() and json.loads(results.read_text())["complete"]:
        return "report"
    stages = sorted(path for path in folder.glob("round_*") if path.is_dir())
    if not stages:
        return "before the first stage"
    last = stages[-1]
    if (last / "stage.json").exists():
        return f"after {last.name}"
    if list(last.rglob(".*.tmp")):
        return f"{last.name}, writing {re.sub(r'^[.]|[.][^.]*[.]tmp$', '', next(last.rglob('.*.tmp')).name)}"
    newest = last / "last_checkpoint"
    return f"{last.name}, after {newest.read_text() if newest.exists() else 'no checkpoint'}"


def differences(whole: Path, cut: Path) -> list[str]:
    """Return the files that differ between two finished runs."""
    names = {
        path.relative_to(run).as_posix()
        for run in (whole, cut)
        for pattern in COMPARED
        for path in run.glob(pattern)
    }
    return sorted(name for name in names if _bytes(whole / name) != _bytes(cut / name))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def campaign(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Do the campaign below ``folder``; return its record."""
    chance = random.Random(arguments.seed)
    whole = folder / "whole"
    seconds = finish(arguments, whole)
    print(f"undisturbed run: {seconds:.1f} s")
    trials = []
    for number in range(arguments.trials):
        cut = folder / f"trial_{number:03d}"
        places = []
        for _ in range(arguments.kills):
            begin = time.monotonic()
            place = kill_after(arguments, cut, chance.uniform(0.1, 0.9) * seconds)
            if place is None:
                # It was faster than the undisturbed run: the next times are drawn from what it took.
                seconds = min(seconds, time.monotonic() - begin)
                break
            places.append(place)
        finish(arguments, cut)
        different = differences(whole, cut)
        trials.append({"killed": places, "different": different})
        print(f"trial {number}: {len(different)} files differ  |  killed: {'; '.join(places)}")
    kills = sum(len(trial["killed"]) for trial in trials)
    failed = sum(bool(trial["different"]) for trial in trials)
    print(f"{kills} kills in {len(trials)} trials; {failed} trials differ from the undisturbed run")
    return {"seed": arguments.seed, "kills": kills, "failed": failed, "trials": trials}


def main() -> int:
    """Run the campaign of the command line; return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default="configs/quick/faster_rcnn_imp.yaml")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3, help="kills in each trial, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for the record")
    parser.add_argument("--keep", type=Path, help="an empty folder for the runs, kept afterwards")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config options of the runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        record = campaign(arguments, folder.resolve())
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(record["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
