"""Kill runs at random moments and compare the end with an undisturbed run.

A campaign makes one undisturbed run of each scenario, then trials: in each, the same command is started in an empty
folder, killed with SIGKILL, started again with ``--resume``, killed again, and so on; after the kills of the trial it may
finish. Checkpoints, tickets, predictions and results must then equal the undisturbed run's, byte for byte. A kill comes
after a random time, or at a random write of a file: before it takes its name, with half of it written, or right after.

    python benchmarks/crash_campaign.py --kills 100 --seed 1 --json campaign.json
    python benchmarks/crash_campaign.py --scenarios rst,gradual,two_processes --kills 30 --minutes 20

Each run is a process (or two, as ``torchrun`` sets them up) forked from this one, which has imported everything.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
COMPARED = (
    "results.json",
    "*/*.pth",
    "*/*.safetensors",
    "*/inference/*.json",
    "early_bird.json",
)
TINY = (
    "SOLVER.MAX_ITER", "6", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "2", "LTH.REWIND.ITERATION", "3",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip
SCENARIOS = {
    "imp": (1, "configs/quick/faster_rcnn_imp.yaml", ("LTH.TARGETS", "(0.6,)", "LTH.CONTROLS", "('random_erk',)")),
    "rst": (1, "configs/quick/mask_rcnn_rst.yaml", ()),
    "gradual": (1, "configs/quick/mask_rcnn_gradual.yaml", ()),
    "two_processes": (2, "configs/quick/faster_rcnn_imp.yaml", ("LTH.TARGETS", "(0.6,)")),
}  # fmt: skip
KINDS = ("time", "time", "before", "half", "after")
MOST_WRITES = 8
LATEST = 0.35  # of the undisturbed run's time: several kills on the way to its end
PATIENCE = 300.0


class Run:
    """One start of a scenario's command: a process for each rank, killed on demand."""

    def __init__(
        self, scenario: str, folder: Path, *, deadly_write: tuple[str, int] | None
    ) -> None:
        self.processes, config, options = SCENARIOS[scenario]
        arguments = ["train_net.py", "--resume", "--config-file", config, *TINY, *options]
        arguments += ["OUTPUT_DIR", str(folder)]
        port = _free_port()
        self.pids = [
            self._start(rank, port, arguments, folder.with_suffix(".log"), deadly_write)
            for rank in range(self.processes)
        ]
        self.codes: dict[int, int] = {}

    def _start(
        self, rank: int, port: int, arguments: list[str], log: Path, deadly_write: Any
    ) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.setsid()
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.chdir(ROOT)
            if self.processes > 1:
                where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.processes}
                os.environ |= {
                    k: str(v)
                    for k, v in {**where, **ranks, "LOCAL_WORLD_SIZE": self.processes}.items()
                }
            if deadly_write is not None:
                install(*deadly_write)
            sys.argv = arguments
            from lth_det.cli.train_net import main as train_net

            train_net()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:  # noqa: BLE001 (a forked process must end here)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, seconds: float) -> bool:
        """Wait until all processes have ended, or the time is over; return whether they have."""
        end = time.monotonic() + seconds
        while len(self.codes) < self.processes:
            for pid in self.pids:
                if pid not in self.codes:
                    done, status = os.waitpid(pid, os.WNOHANG)
                    if done:
                        self.codes[pid] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def kill(self, pids: list[int]) -> None:
        """Kill processes with their workers."""
        for pid in pids:
            if pid not in self.codes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    @property
    def killed(self) -> bool:
        """Whether a process ended by SIGKILL."""
        return -signal.SIGKILL in self.codes.values()


def install(kind: str, number: int) -> None:
    """Let the ``number``-th file that this process writes be its last."""
    from lth_det import io

    plain, seen = io.atomic_path, 0

    @contextlib.contextmanager
    def deadly(path: Any) -> Any:
        nonlocal seen
        seen += 1
        hit = seen == number
        with plain(path) as temporary:
            yield temporary
            if hit and kind == "half":
                os.truncate(temporary, temporary.stat().st_size // 2)
            if hit and kind != "after":
                os.kill(os.getpid(), signal.SIGKILL)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)

    for name, module in list(sys.modules.items()):
        if name.startswith("lth_det") and getattr(module, "atomic_path", None) is plain:
            module.atomic_path = deadly  # type: ignore[attr-defined] # a name that the module imported


def kill_once(scenario: str, folder: Path, seconds: float, chance: random.Random) -> str | None:
    """Start the scenario's command and kill it; return how and where, ``None`` if it had finished before."""
    kind = chance.choice(KINDS)
    deadly = None if kind == "time" else (kind, chance.randint(1, MOST_WRITES))
    run = Run(scenario, folder, deadly_write=deadly)
    moment = chance.uniform(0.02, LATEST) * seconds if deadly is None else PATIENCE
    ended = run.wait(moment)
    how = "after a time" if deadly is None else f"{kind} a write"
    if not ended:
        # Of several processes now and then only one is killed; the others have to notice.
        alone = run.processes > 1 and chance.random() < 0.5
        run.kill([chance.choice(run.pids)] if alone else run.pids)
        how += ", one rank" if alone else ""
        if not run.wait(PATIENCE):
            run.kill(run.pids)
            run.wait(PATIENCE)
            raise RuntimeError(f"{folder}: a rank went on without the one that was killed.")
    if not run.killed:
        if any(run.codes.values()):
            raise RuntimeError(f"{folder.with_suffix('.log')}: ended with {run.codes.values()}.")
        return None
    return f"{how}: {position(folder)}"


def finish(scenario: str, folder: Path) -> float:
    """Run the command to its end; return the seconds it took."""
    begin = time.monotonic()
    run = Run(scenario, folder, deadly_write=None)
    if not run.wait(20 * PATIENCE) or any(run.codes.values()):
        run.kill(run.pids)
        raise RuntimeError(f"{folder.with_suffix('.log')}: ended with {run.codes.values()}.")
    return time.monotonic() - begin


def position(folder: Path) -> str:
    """Return in words how far the killed run was."""
    if not (folder / "run.json").exists():
        return "starting"
    results = folder / "results.json"
    if results.exists() and json.loads(results.read_text())["complete"]:
        return "report"
    stages = [path for path in folder.iterdir() if path.is_dir() and path.name != "report"]
    if not stages:
        return "before the first stage"
    last = max(stages, key=lambda path: path.stat().st_mtime_ns)
    written = next(last.rglob(".*.tmp"), None)
    if written is not None:
        return f"{last.name}, writing {re.sub(r'^[.]|[.][^.]*[.]tmp$', '', written.name)}"
    if (last / "stage.json").exists():
        return f"after {last.name}"
    newest = last / "last_checkpoint"
    return f"{last.name}, after {newest.read_text() if newest.exists() else 'no checkpoint'}"


def differences(whole: Path, cut: Path) -> list[str]:
    """Return the files that differ between two finished runs; and ``report`` when only one has it."""
    names = {
        path.relative_to(run).as_posix()
        for run in (whole, cut)
        for pattern in COMPARED
        for path in run.glob(pattern)
    }
    different = sorted(name for name in names if _bytes(whole / name) != _bytes(cut / name))
    left = [path.name for path in cut.rglob(".*.tmp")]
    pages = [(run / "report" / "index.html").exists() for run in (whole, cut)]
    return different + left + ([] if pages[0] == pages[1] else ["report"])


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def campaign(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Do the campaign below ``folder``; return its record."""
    chance = random.Random(arguments.seed)
    end = time.monotonic() + 60 * arguments.minutes
    scenarios = arguments.scenarios.split(",")
    seconds = {name: finish(name, folder / f"whole_{name}") for name in scenarios}
    print(
        "undisturbed runs, s:",
        {name: round(value, 1) for name, value in seconds.items()},
        flush=True,
    )
    trials: list[dict[str, Any]] = []
    kills = number = 0
    while kills < arguments.kills and time.monotonic() < end:
        scenario = scenarios[number % len(scenarios)]
        cut = folder / f"trial_{number:03d}"
        places: list[str] = []
        for _ in range(arguments.kills_per_trial):
            place = kill_once(scenario, cut, seconds[scenario], chance)
            if place is None:
                break
            places.append(place)
        finish(scenario, cut)
        different = differences(folder / f"whole_{scenario}", cut)
        trials.append({"scenario": scenario, "killed": places, "different": different})
        kills += len(places)
        number += 1
        print(
            f"trial {number}: {kills} kills, {len(different)} files differ, {scenario}: {'; '.join(places)}",
            flush=True,
        )
        if not different:
            shutil.rmtree(cut)
    failed = sum(bool(trial["different"]) for trial in trials)
    print(f"{kills} kills in {len(trials)} trials; {failed} trials differ from the undisturbed run")
    return {"seed": arguments.seed, "kills": kills, "failed": failed, "trials": trials}


def main() -> int:
    """Run the campaign of the command line; return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="some of %(default)s")
    parser.add_argument("--kills", type=int, default=20, help="kills in all, at least")
    parser.add_argument("--kills-per-trial", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no trial after these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for the record")
    parser.add_argument(
        "--keep", type=Path, help="an empty folder for the runs that differ, and the logs"
    )
    arguments = parser.parse_args()
    import lth_det.d2.run  # before the forks: importing takes seconds
    import lth_det.reports.run_report  # noqa: F401

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        record = campaign(arguments, folder.resolve())
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(record["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
