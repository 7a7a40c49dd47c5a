#!/usr/bin/env python
"""Seconds per training iteration of the demo for several thread and worker counts, measured in turn in one run.

    python benchmarks/thread_count.py --threads 1 2 --workers 0 1      # about 90 seconds

Each setting runs in a process of its own; the settings are interleaved over the repetitions, so that a change in the
machine's load meets all of them. Printed: the median time of a step, and its ratio to the first setting.
"""

import argparse
import json
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
    settings = [(threads, workers) for threads in options.threads for workers in options.workers]
    found: dict[tuple[int, int], list[float]] = {setting: [] for setting in settings}
    for _ in range(options.repeat):
        for setting in settings:
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--config-file",
                options.config_file,
            ]
            command += ["--steps", str(options.steps), "--one", *map(str, setting)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[setting].append(json.loads(output.strip().splitlines()[-1]))
    first = statistics.median(found[settings[0]])
    rows = [
        (
            str(threads),
            str(workers),
            f"{statistics.median(seconds):.3f}",
            f"{statistics.median(seconds) / first:.2f}",
        )
        for (threads, workers), seconds in found.items()
    ]
    figures = {
        f"{threads} threads, {workers} workers": seconds
        for (threads, workers), seconds in found.items()
    }
    finish(options, figures, table(("threads", "data workers", "s/iteration", "ratio"), rows))


if __name__ == "__main__":
    main()
