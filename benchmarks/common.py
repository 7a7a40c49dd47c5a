"""What the benchmark scripts share: facts about the machine, interleaved timing, tables, ``--json`` and ``--quick``."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GPU_NOT_MEASURED = "not measured (no GPU was available)"


def machine() -> dict[str, Any]:
    """Return what a reader needs to place the figures: processor, cores, load, versions."""
    import numpy as np
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text(encoding="utf-8").splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def machine_line(facts: Mapping[str, Any]) -> str:
    """Return the facts as one line of text."""
    return (
        f"{facts['cores']} cores of {facts['processor']}, load {facts['load_1_minute']}, Python {facts['python']}, "
        f"torch {facts['torch']} ({facts['threads']} thread{'s' if facts['threads'] != 1 else ''}), "
        f"NumPy {facts['numpy']}, GPU: {facts['gpu'] or 'none'}, {facts['date']}"
    )


def interleaved(jobs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return wall seconds of each job, run in turn ``repeats`` times, so that a change of load meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def least(values: Sequence[float]) -> float:
    """Return the least of some times: the one that other processes disturbed least."""
    return min(values)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every script has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    made.add_argument("--json", metavar="PATH", help="also write the figures and the tables here")
    return made


def finish(arguments: argparse.Namespace, figures: Mapping[str, Any], markdown: str) -> None:
    """Print the tables with the machine, and write both with the figures to ``--json``."""
    facts = machine()
    quick = " --quick: not for comparison." if arguments.quick else ""
    markdown = f"{machine_line(facts)}.{quick}\n\n{markdown}"
    print(markdown)
    if arguments.json:
        content = {
            "command": " ".join(["python", *_relative(sys.argv)]),
            "machine": facts,
            "figures": figures,
            "markdown": markdown,
        }
        path = Path(arguments.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _relative(words: Sequence[str]) -> list[str]:
    # The command as a reader would type it, without this machine's folders and without --json.
    script, *options = words
    shown = [Path(script).resolve().relative_to(ROOT).as_posix()]
    skip = False
    for word in options:
        if not skip and word != "--json":
            shown.append(word)
        skip = word == "--json"
    return shown
