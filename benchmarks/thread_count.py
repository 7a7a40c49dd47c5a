#!/usr/bin/env python
"""Seconds per training iteration of the demo for several thread and worker counts, and of two runs side by side.

    python benchmarks/thread_count.py --threads 1 2 --workers 0 1      # two minutes

Each setting runs in a process of its own; the settings are interleaved over the repetitions, so that a change in the
machine's load meets all of them. Printed: the median time of a step, its ratio to the first setting, and the iterations
per second of all runs together.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import ROOT, finish, parser, table

WARM_UP = 5


def measure(config_file: str, threads: int, workers: int, steps: int) -> float:
    """Train for some steps and return the median seconds of one (in this process)."""
    import torch
    from detectron2.utils.events import EventStorage

    from lth_det.d2.datasets import register_all
    from lth_det.d2.setup_cfg import load_config
    from lth_det.d2.trainer import LotteryTrainer, RoundOptions

    register_all()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(
            config_file, ["OUTPUT_DIR", folder, "DATALOADER.NUM_WORKERS", str(workers)]
        )
        trainer = LotteryTrainer(cfg, RoundOptions(seed=1))
        times = []
        with EventStorage(0):
            for _ in range(WARM_UP + steps):
                start = time.perf_counter()
                trainer.run_step()
                times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def main() -> None:
    """Measure every combination and print a table and JSON."""
    made = parser(__doc__ or "")
    made.add_argument("--config-file", default=str(ROOT / "configs/mask_rcnn_imp.yaml"))
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    made.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--repeat", type=int, default=3)
    made.add_argument(
        "--one", nargs=2, type=int, metavar=("THREADS", "WORKERS"), help=argparse.SUPPRESS
    )
    options = made.parse_args()
    if options.one:
        seconds = measure(options.config_file, *options.one, options.steps)
        print(json.dumps(seconds))
        return
    if options.quick:
        options.config_file = str(ROOT / "configs/quick/mask_rcnn_imp.yaml")
        options.threads, options.workers, options.steps, options.repeat = [1], [0], 1, 1
    # (threads, workers, runs side by side); the last one is how a sweep shares the machine.
    settings = [(t, w, 1) for t in options.threads for w in options.workers]
    settings.append((*settings[0][:2], 2))
    found: dict[tuple[int, int, int], list[float]] = {setting: [] for setting in settings}
    for _ in range(options.repeat):
        for setting in settings:
            found[setting].append(in_processes(options, *setting))
    middle = {setting: statistics.median(seconds) for setting, seconds in found.items()}
    first = middle[settings[0]]
    rows = [
        (
            *map(str, setting),
            f"{seconds:.3f}",
            f"{seconds / first:.2f}",
            f"{setting[2] / seconds:.2f}",
        )
        for setting, seconds in middle.items()
    ]
    names = (
        "threads",
        "data workers",
        "runs side by side",
        "s/iteration",
        "ratio",
        "iterations/s, all runs",
    )
    figures = {
        f"{threads} threads, {workers} workers, {runs} runs": seconds
        for (threads, workers, runs), seconds in found.items()
    }
    finish(options, figures, table(names, rows))


def in_processes(options: argparse.Namespace, threads: int, workers: int, runs: int) -> float:
    """Return the mean seconds of an iteration of as many processes that train at the same time."""
    command = [sys.executable, "-W", "ignore", __file__, "--config-file", options.config_file]
    command += ["--steps", str(options.steps), "--one", str(threads), str(workers)]
    # The threads are set inside; the variable keeps OpenMP from starting more.
    variables = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
        )
        for _ in range(runs)
    ]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{' '.join(command)} failed")
    return statistics.mean(json.loads(output.strip().splitlines()[-1]) for output in outputs)


if __name__ == "__main__":
    main()
