#!/usr/bin/env python
"""Speed of the analysis beside plain faster-coco-eval (and hotcoco) passes over the same made-up files.

Every job runs in a fresh process on one CPU; figures are CPU time (user + system, so a shared machine disturbs little)
and peak memory, medians of ``--reps``. Times include imports' work only where stated: the clock starts after importing.

    pip install faster-coco-eval==1.8.0 hotcoco==1.3.0
    python benchmarks/analysis_speed.py --data /tmp/coco5k
"""

import argparse
import contextlib
import io
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.analysis_data import write
from benchmarks.common import finish

IMAGES, MODELS, REPLICATES = 5000, 10, 1000


def sizes() -> None:
    """Take the numbers of images, models and replicates from the environment, if they are there."""
    global IMAGES, MODELS, REPLICATES
    if "ANALYSIS_SPEED_SIZES" in os.environ:
        IMAGES, MODELS, REPLICATES = map(int, os.environ["ANALYSIS_SPEED_SIZES"].split())


def library_pass(name: str, truth: str, results: list[str]) -> dict[str, float]:
    """One plain pass of another evaluator over one result file: read both files, evaluate, accumulate."""
    if name == "faster":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluator
    else:
        from hotcoco import COCO
        from hotcoco import COCOeval as Evaluator
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(truth)
        evaluation = Evaluator(gt, gt.loadRes(results[0]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        spent = time.process_time() - start
        evaluation.summarize()
    return {"cpu": spent, "ap": float(evaluation.stats[0])}


def library_groups(name: str, truth: str, results: list[str]) -> dict[str, float]:
    """Evaluate and accumulate 4 and 64 area ranges with another evaluator, files read before."""
    from faster_coco_eval import COCO
    from faster_coco_eval import COCOeval_faster as Evaluator

    spent = {}
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(truth)
        found = gt.loadRes(results[0])
        for number in (4, 64):
            edges = group_edges(truth, number)
            start = time.process_time()
            evaluation = Evaluator(gt, found, "bbox")
            evaluation.params.areaRng = [[0, 1e10], *([a, b] for a, b in edges)]
            evaluation.params.areaRngLbl = ["all", *(str(i) for i in range(len(edges)))]
            evaluation.evaluate()
            evaluation.accumulate()
            spent[f"groups_{number}"] = time.process_time() - start
    return spent | {"cpu": sum(spent.values())}


def group_edges(truth: str, number: int) -> list[tuple[float, float]]:
    """Return ``number - 1`` area ranges with equally many objects each."""
    area = np.array([a["area"] for a in json.loads(Path(truth).read_text())["annotations"]])
    edges = [0.0, *np.quantile(area, np.linspace(0, 1, number)[1:-1]).tolist(), 1e10]
    return list(pairwise(edges))


def many_models(backend: str, truth: str, results: list[str]) -> dict[str, float]:
    """The product: all result files over all default groups and class axes, no bootstrap, no error types."""
    from lth_det.analysis.analyze import analyze
    from lth_det.analysis.options import Options

    models: dict[str, Any] = {Path(r).stem: r for r in results}
    start = time.process_time()
    options = Options(replicates=0, errors=False, backend=backend)
    value = analyze(truth, models, options=options).to_dict()
    spent = time.process_time() - start
    axes = value["axes"]["bbox"]
    bins = sum(len(a["bins"]) for a in axes.values())
    return {"cpu": spent, "ap": value["models"]["dt_00"]["bbox"]["AP"], "bins": bins}


def prepared(truth: str, result: str, backend: str, edges: list[tuple[float, float]] | None) -> Any:
    """Return (setting, detections) ready to match; ``edges`` replace the default attributes by area bins."""
    from lth_det.analysis.attributes import Attribute, edges_to_bins
    from lth_det.analysis.backends import get_backend
    from lth_det.analysis.cells import sort_truth
    from lth_det.analysis.coco_io import read_ground_truth
    from lth_det.analysis.evaluate import DETECTION_LIMITS, Setting
    from lth_det.analysis.groups import group_table, make_groups
    from lth_det.analysis.results_io import detections_of, load_results

    columns, chosen = read_ground_truth(truth), get_backend(backend)
    names = tuple(f"a{i}" for i in range(len(edges or ())))
    attributes = []
    if edges:
        limits = (edges[0][0], *(b for _, b in edges))
        bins = edges_to_bins(names, limits)
        attributes = [Attribute("a", "a", "px^2", "", bins, lambda t: t.area, lambda _, d: d.area)]
    cells = sort_truth(columns, "bbox")
    table = group_table(make_groups(attributes, ()), columns, cells)
    setting = Setting("bbox", columns, cells, table, chosen, DETECTION_LIMITS["bbox"])
    loaded = load_results(result, name="a", backend=chosen)
    return setting, detections_of(loaded, columns, iou_type="bbox")


def our_groups(backend: str, truth: str, results: list[str]) -> dict[str, float]:
    """Overlaps, matching and scores of 4 and 64 groups, files read before."""
    from lth_det.analysis.evaluate import match_file, score

    spent = {}
    for number in (4, 64):
        setting, found = prepared(truth, results[0], backend, group_edges(truth, number))
        start = time.process_time()
        score(setting, match_file(setting, found))
        spent[f"groups_{number}"] = time.process_time() - start
    return spent | {"cpu": sum(spent.values())}


def bootstrap(backend: str, truth: str, results: list[str]) -> dict[str, float]:
    """Paired replicates of AP, AP50, AP75 and every class, all images and both halves of cross-fitting, all models."""
    from lth_det.analysis.bootstrap import bootstrap_file, draw
    from lth_det.analysis.evaluate import match_file
    from lth_det.analysis.prepare import image_halves

    spent = 0.0
    draws = draw(IMAGES, REPLICATES, seed=1)
    for result in results:
        setting, found = prepared(truth, result, backend, None)
        matched = match_file(setting, found)
        start = time.process_time()
        bootstrap_file(setting, matched, draws, groups=(0,), halves=image_halves(IMAGES, 1))
        spent += time.process_time() - start
    return {"cpu": spent}


def errors(backend: str, truth: str, results: list[str]) -> dict[str, float]:
    """TIDE error types of one model, over the default groups."""
    from lth_det.analysis.attributes import default_attributes
    from lth_det.analysis.groups import group_table, make_groups
    from lth_det.analysis.tide import find_errors
    from lth_det.analysis.tide_ap import file_errors

    setting, found = prepared(truth, results[0], backend, None)
    table = group_table(make_groups(default_attributes("bbox"), ()), setting.truth, setting.cells)
    setting = type(setting)(**(vars(setting) | {"table": table}))
    start = time.process_time()
    file_errors(setting, found, find_errors(setting, found))
    return {"cpu": time.process_time() - start}


JOBS: dict[str, tuple[Callable[[str, str, list[str]], dict[str, float]], str]] = {
    "faster-coco-eval, one plain pass": (library_pass, "faster"),
    "hotcoco, one plain pass": (library_pass, "hotcoco"),
    "ours, 10 models, compiled": (many_models, "compiled"),
    "ours, 10 models, NumPy": (many_models, "numpy"),
    "faster-coco-eval, 4 and 64 groups": (library_groups, "faster"),
    "ours, 4 and 64 groups, compiled": (our_groups, "compiled"),
    "ours, 4 and 64 groups, NumPy": (our_groups, "numpy"),
    "ours, 1,000 replicates, 10 models": (bootstrap, "compiled"),
    "ours, error types, one model": (errors, "compiled"),
}


def run_job(name: str, truth: Path, results: list[Path]) -> dict[str, float] | None:
    """Run one job in a fresh process on one CPU; return its figures."""
    command = [sys.executable, __file__, "--job", name, "--files", str(truth), *map(str, results)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | threads
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        if "No module named" in reason:  # the other evaluators are not part of the set-up
            print(f"{name}: left out ({reason})", file=sys.stderr)
            return None
        raise SystemExit(f"{name}: {reason}")
    value: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return value


def work(name: str, files: list[str]) -> None:
    """Do one job in this process and print its figures."""
    sizes()
    function, argument = JOBS[name]
    value = function(argument, files[0], files[1:])
    value["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(value))


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Return the Markdown table."""
    lines = ["| job | CPU s | (min-max) | peak MiB | further |", "|---|---|---|---|---|"]
    for name, rows in figures.items():
        cpu = [r["cpu"] for r in rows]
        further = [
            f"{k} {statistics.median(r[k] for r in rows):.4g}"
            for k in rows[0]
            if k not in ("cpu", "mib")
        ]
        lines.append(
            f"| {name} | {statistics.median(cpu):.2f} | {min(cpu):.2f}-{max(cpu):.2f} | "
            f"{statistics.median(r['mib'] for r in rows):.0f} | {', '.join(further)} |"
        )
    return "\n".join(lines)


def ratios(figures: dict[str, list[dict[str, float]]]) -> str:
    """Return the targets of the project and what was measured."""

    def median(job: str, key: str = "cpu") -> float:
        return statistics.median(r[key] for r in figures[job]) if job in figures else float("nan")

    ten = MODELS * median("faster-coco-eval, one plain pass")
    memory = median("faster-coco-eval, one plain pass", "mib")
    groups = [median("ours, 4 and 64 groups, compiled", f"groups_{n}") for n in (64, 4)]
    theirs = [median("faster-coco-eval, 4 and 64 groups", f"groups_{n}") for n in (64, 4)]
    rows = [
        ("10 models, all groups, compiled / ten faster-coco-eval passes", median("ours, 10 models, compiled") / ten, "0.35"),
        ("10 models, all groups, NumPy / ten faster-coco-eval passes", median("ours, 10 models, NumPy") / ten, "1.1"),
        ("10 models, all groups, compiled / ten hotcoco passes", median("ours, 10 models, compiled") / (MODELS * median("hotcoco, one plain pass")), "2"),
        ("64 groups / 4 groups, compiled", groups[0] / groups[1], "2"),
        ("64 groups / 4 groups, faster-coco-eval", theirs[0] / theirs[1], ""),
        ("1,000 replicates, 10 models, CPU s", median("ours, 1,000 replicates, 10 models"), "60"),
        ("peak memory, 10 models, compiled / one faster-coco-eval pass", median("ours, 10 models, compiled", "mib") / memory, "0.5"),
    ]  # fmt: skip
    lines = ["| ratio | measured | target, at most |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {n} | {_figure(v)} | {t} |" for n, v, t in rows)])


def _figure(value: float) -> str:
    # A library that is not there was left out.
    return "not installed" if math.isnan(value) else f"{value:.3g}"


def main() -> None:
    """Run all jobs and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "lth_det_coco5k",
        help="folder for the made-up files (about 300 MB)",
    )
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--json", metavar="PATH", help="also write the figures and the tables here")
    parser.add_argument("--quick", action="store_true", help="small files, to see that it runs")
    parser.add_argument("--only", nargs="*", help="substrings of the jobs to run")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        work(arguments.job, arguments.files)
        return
    if arguments.quick:
        # The jobs are processes of their own and read their sizes from here.
        os.environ["ANALYSIS_SPEED_SIZES"] = "60 2 20"
        arguments.data, arguments.reps = arguments.data.with_name("lth_det_coco60"), 1
        sizes()
    truth, results = write(arguments.data, IMAGES, MODELS)
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.reps):  # interleaved, so that a busy minute hits every job
        for name in JOBS:
            if not arguments.only or any(part in name for part in arguments.only):
                value = run_job(name, truth, results)
                if value is not None:
                    figures.setdefault(name, []).append(value)
                print(name, value, file=sys.stderr)
    finish(arguments, figures, f"{table(figures)}\n\n{ratios(figures)}")


if __name__ == "__main__":
    main()
