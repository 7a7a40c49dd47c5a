"""Fuzz the readers of files from other people for a given time, and keep every input that gives a finding.

Two engines: ``coverage`` (atheris and libFuzzer: mutants are kept when they reach new code of the package) and
``generate`` (hypothesis: it draws which nodes of a valid file become what, and shrinks what fails).

    python tests/fuzz/fuzz_campaign.py --target ticket --engine coverage --seconds 1800 --seed 1 --folder /tmp/fuzz
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1])]
_STATUS_SECONDS = 5.0


class Record:
    """What a campaign did so far, written to ``status.json`` every few seconds."""

    def __init__(self, folder: Path, *, accepted_kinds: str) -> None:
        self.folder = folder
        self.kind = accepted_kinds
        self.executions = self.accepted = 0
        self.findings: dict[str, str] = {}
        self.begin = self.written = time.monotonic()

    def one(self, target: Any, data: bytes) -> None:
        """Try one input; keep it if it gives a finding that no earlier one gave."""
        import fuzz_watch

        self.executions += 1
        try:
            self.accepted += fuzz_watch.check(target.read, data)
        except fuzz_watch.FindingError as error:
            place = _place(error)
            if place not in self.findings:
                self.findings[place] = str(error)[:300]
                name = hashlib.sha256(data).hexdigest()[:12]
                (self.folder / f"finding_{name}.bin").write_bytes(data)
                (self.folder / f"finding_{name}.txt").write_text(
                    "".join(traceback.format_exception(error))[-6000:],
                    encoding="utf-8",
                    errors="replace",
                )
        if time.monotonic() - self.written > _STATUS_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the counts."""
        self.written = time.monotonic()
        content = {
            "executions": self.executions, "accepted": self.accepted, "cpu_seconds": round(time.process_time(), 1),
            "wall_seconds": round(self.written - self.begin, 1), "findings": self.findings,
        }  # fmt: skip
        (self.folder / "status.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _place(error: BaseException) -> str:
    cause = error.__cause__ or error
    frames = [f for f in traceback.extract_tb(cause.__traceback__) if "lth_det/" in f.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else str(error)[:30]
    return f"{type(cause).__name__} at {where}"


def _require_accepted(accepted: bool, number: int) -> None:
    # Reading the valid files first also loads all that is loaded late, before the memory is limited.
    if not accepted:
        sys.exit(
            f"the valid file {number} is refused: nothing behind the first check would be tried"
        )


def run_coverage(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Fuzz with atheris until the time is over; the process ends with it."""
    import atheris

    with atheris.instrument_imports(include=["lth_det"]):
        import fuzz_targets
    import fuzz_watch

    target = fuzz_targets.TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed_{number}").write_bytes(data)
        _require_accepted(fuzz_watch.check(target.read, data), number)
    record = Record(folder, accepted_kinds="coverage")
    fuzz_watch.limit_memory()

    def mutate(data: bytes, most: int, number: int) -> bytes:
        dice = random.Random(number)
        changed = atheris.Mutate(data, most) if dice.random() < 0.3 else target.change(data, dice)
        return changed[:most]

    options = [
        f"-max_total_time={int(seconds)}", f"-seed={seed}", "-max_len=65536", "-timeout=300", "-rss_limit_mb=0",
        "-malloc_limit_mb=0", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *options, str(corpus)],
        lambda data: record.one(target, data),
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def run_generate(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Fuzz with hypothesis until the time is over."""
    import fuzz_targets
    import fuzz_watch
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as hypothesis_seed
    from hypothesis import strategies as st

    target = fuzz_targets.TARGETS[name]
    for number, data in enumerate(target.seeds()):
        _require_accepted(fuzz_watch.check(target.read, data), number)
    record = Record(folder, accepted_kinds="generate")
    fuzz_watch.limit_memory()
    import fuzz_strategies

    files = fuzz_strategies.files_like(name, target)
    batch = 0
    while time.monotonic() - record.begin < seconds:
        batch += 1

        @hypothesis_seed(seed * 1_000_000 + batch)
        @settings(
            max_examples=500,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(files)
        def search(data: bytes) -> None:
            if time.monotonic() - record.begin < seconds:
                record.one(target, data)

        search()
    record.write()
    del st


def _rounds(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Run the engine in processes of their own, a new one after a crash, until the time is over."""
    left, number = float(arguments.seconds), 0
    while left > 5:
        part = folder / f"part_{number}"
        part.mkdir(parents=True)
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            "--child",
            str(part),
            "--target",
            arguments.target,
        ]
        command += [
            "--engine",
            arguments.engine,
            "--seconds",
            str(left),
            "--seed",
            str(arguments.seed + number),
        ]
        begin = time.monotonic()
        with (part / "log.txt").open("wb") as log:
            code = subprocess.run(
                command, stdout=log, stderr=log, check=False, timeout=left + 900
            ).returncode
        status = part / "status.json"
        result = json.loads(status.read_text()) if status.exists() else {"executions": 0}
        yield {**result, "exit_code": code, "log": str(part / "log.txt")}
        left -= time.monotonic() - begin
        number += 1
        if number > 20:
            return


def main() -> int:
    """Run the campaign of the command line; return 1 if there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--engine", choices=["coverage", "generate"], default="coverage")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="an empty folder for inputs that give findings, and the record"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run = run_coverage if arguments.engine == "coverage" else run_generate
        run(arguments.target, arguments.child, arguments.seconds, arguments.seed)
        return 0
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="fuzz_"))
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(_rounds(arguments, folder))
    findings = {key: text for part in parts for key, text in part.get("findings", {}).items()}
    crashes = [part["log"] for part in parts if part["exit_code"] not in (0,)]
    total = {
        "target": arguments.target, "engine": arguments.engine, "seed": arguments.seed,
        "executions": sum(part["executions"] for part in parts),
        "accepted": sum(part.get("accepted", 0) for part in parts),
        "cpu_seconds": round(sum(part.get("cpu_seconds", 0) for part in parts), 1),
        "wall_seconds": round(sum(part.get("wall_seconds", 0) for part in parts), 1),
        "findings": findings, "crashes": crashes,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(total, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(total, indent=1) + "\n")
    return int(bool(findings or crashes))


if __name__ == "__main__":
    sys.exit(main())
