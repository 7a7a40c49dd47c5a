#!/usr/bin/env python
"""Run all benchmarks and put their tables into benchmarks/README.md and docs/scaling.md.

    python benchmarks/run_all.py            # about 12 minutes on 2 cores; `make bench` calls this
    python benchmarks/run_all.py --quick    # small sizes, a minute and a half, changes no document

Every script also runs alone (see its --help). Its figures go to benchmarks/results/NAME.json; its tables replace what
stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` in the documents. A script that fails leaves its old table,
and the exit code is 1. Rare and long campaigns (random kills, fuzzing) are not part of this.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
DOCUMENTS = (ROOT / "benchmarks/README.md", ROOT / "docs/scaling.md")

SCRIPTS: dict[str, list[str]] = {
    "masked_step": [],
    "pruning_decision": [],
    "ticket_size": [],
    "what_it_buys": [],
    "whole_loop": [],
    "thread_count": ["--repeat", "2"],
    "scaling": [],  # after pruning_decision, whose figures it reads
    "analysis_speed": ["--reps", "1"],
}
LIMIT_SECONDS = 600


def run(name: str, folder: Path, *, quick: bool) -> str:
    """Run one script; return "" or why it failed."""
    path = folder / f"{name}.json"
    command = [sys.executable, "-W", "ignore", f"benchmarks/{name}.py", "--json", str(path)]
    command += ["--quick"] if quick else SCRIPTS[name]
    # One thread unless a script says otherwise: more would wait for each other on a shared machine.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | threads,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {LIMIT_SECONDS} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return ""


def put_in(text: str, name: str, markdown: str) -> str:
    """Return a document with the tables of a script between its marks; unchanged if it has no such marks."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}\n{markdown}\n\n{match[2]}", text)


def update_documents(folder: Path, names: list[str]) -> None:
    """Put the tables of these scripts into the documents."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for name in names:
            content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            text = put_in(text, name, content["markdown"])
        document.write_text(text, encoding="utf-8")


def main() -> int:
    """Run the scripts of the command line; return 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; no document changes")
    parser.add_argument("--only", nargs="+", choices=tuple(SCRIPTS), metavar="NAME")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON files")
    arguments = parser.parse_args()
    folder = arguments.results.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    finished, failed = [], []
    for name in arguments.only or SCRIPTS:
        start = time.monotonic()
        problem = run(name, folder, quick=arguments.quick)
        print(f"{name}: {problem or 'done'} ({time.monotonic() - start:.0f} s)", flush=True)
        (failed if problem else finished).append(name)
    if not arguments.quick:
        update_documents(folder, finished)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
