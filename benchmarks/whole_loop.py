#!/usr/bin/env python
"""Where the time of a run goes: data loading, training step, masks, evaluation, start-up; and evaluators side by side.

    python benchmarks/whole_loop.py                          # four minutes

The demo's detector, and a Mask R-CNN R-18 FPN of full size on the same images at twice their size, train under a mask for
some iterations with their real data loader and are evaluated once, all in one process; the time of every hook is added up. The same predictions then go through Detectron2's evaluator and ours (which
adds AP by attribute), in turn. Start-up is a process that imports what ``train_net.py`` does and builds nothing.
Options of the step (channels-last, bfloat16 autocast) are tried in turn.
"""

import contextlib
import io
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.utils.events import EventStorage

from benchmarks.common import GPU_NOT_MEASURED, ROOT, finish, interleaved, median, parser, table
from benchmarks.detectors import CONFIGS, images, magnitude_mask
from lth_det.d2.datasets import register_all
from lth_det.d2.evaluation import build_evaluator
from lth_det.d2.hooks import MaskHook
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.trainer import LotteryTrainer, RoundOptions

ONCE = ("data set, found or drawn", "trainer")
IMPORTS = (
    "import warnings; warnings.simplefilter('ignore'); import lth_det.d2.run, lth_det.cli.train_net"
)


def configuration(folder: str, *, quick: bool, iterations: int) -> Any:
    """Return the demo's configuration (or the small one of the smoke test) for so many iterations."""
    name = "configs/quick/mask_rcnn_imp.yaml" if quick else "configs/mask_rcnn_imp.yaml"
    options = ["OUTPUT_DIR", folder, "SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", "()"]
    options += ["TEST.EVAL_PERIOD", "0", "LTH.REWIND.ITERATION", "1"]
    return load_config(str(ROOT / name), options)


def full_size(folder: str, demo: Any, iterations: int) -> Any:
    """Return the configuration of an R-18 on the demo's data sets at 320 px, for so many iterations of two images."""
    options = ["OUTPUT_DIR", folder, "SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", "()"]
    options += [
        "DATASETS.TRAIN",
        str(demo.DATASETS.TRAIN),
        "DATASETS.TEST",
        "('shapes_small_val',)",
    ]
    options += ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", "7"]
    options += [
        "INPUT.MIN_SIZE_TRAIN",
        "(320,)",
        "INPUT.MIN_SIZE_TEST",
        "320",
        "SOLVER.IMS_PER_BATCH",
        "2",
    ]
    options += ["DATALOADER.NUM_WORKERS", "0", "TEST.EVAL_PERIOD", "0", "LTH.REWIND.ITERATION", "1"]
    return load_config(str(ROOT / CONFIGS["R-18"]), options)


def profile(cfg: Any) -> dict[str, float]:
    """Train a masked round and evaluate it; return seconds by part."""
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        DatasetCatalog.get(name)  # drawn when it is used for the first time on a machine
    seconds[ONCE[0]] = time.perf_counter() - start
    start = time.perf_counter()
    trainer = LotteryTrainer(cfg, RoundOptions(seed=1))
    mask = magnitude_mask(cfg, trainer.model, density=0.2)
    ours = MaskHook(mask, mask_gradients=False)
    trainer.register_hooks([ours])
    trainer._hooks.insert(1, trainer._hooks.pop())  # its place in a run
    _add_up(trainer, "run_step", seconds, "data and step")
    _add_up(trainer, "test", seconds, "evaluation")
    for hook in trainer._hooks:
        part = "masks" if hook is ours else f"hook {type(hook).__name__}"
        for moment in ("before_train", "before_step", "after_step", "after_train"):
            _add_up(hook, moment, seconds, part)
    seconds[ONCE[1]] = time.perf_counter() - start
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    total = time.perf_counter() - start
    seconds["data loading"] = sum(v for v, _ in trainer.storage.history("data_time").values())
    seconds["forward, backward, optimizer"] = seconds.pop("data and step") - seconds["data loading"]
    # The evaluation runs inside Detectron2's EvalHook, the files are written by the other hooks.
    hooks = sum(seconds.pop(name) for name in list(seconds) if name.startswith("hook "))
    seconds["other hooks (writers, checkpoints, sparsity)"] = max(hooks - seconds["evaluation"], 0)
    seconds["all of the above and the rest"] = total
    return seconds


def _add_up(owner: Any, name: str, seconds: dict[str, float], part: str) -> None:
    function = getattr(owner, name)
    seconds.setdefault(part, 0.0)

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds[part] += time.perf_counter() - start

    vars(owner)[name] = timed


def evaluators(cfg: Any, repeats: int) -> dict[str, float]:
    """Return median seconds of inference, and of Detectron2's evaluator and ours on the same predictions."""
    name = cfg.DATASETS.TEST[0]
    model = LotteryTrainer.build_model(cfg).eval()
    loader = LotteryTrainer.build_test_loader(cfg, name)
    start = time.perf_counter()
    with torch.no_grad():
        found = [(inputs, model(inputs)) for inputs in loader]
    seconds = {"inference": time.perf_counter() - start}
    folder = Path(cfg.OUTPUT_DIR)
    ours = cfg.clone()
    ours.defrost()
    ours.LTH.ATTRIBUTE_AP = True

    def job(make: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            evaluator = make()
            evaluator.reset()
            for inputs, outputs in found:
                evaluator.process(inputs, outputs)
            with contextlib.redirect_stdout(io.StringIO()):
                evaluator.evaluate()

        return run

    jobs = {
        "Detectron2's COCOEvaluator": job(
            lambda: COCOEvaluator(name, output_dir=str(folder / "plain"), use_fast_impl=False)
        ),
        "ours, with AP by attribute": job(
            lambda: build_evaluator(ours, name, str(folder / "attributes"))
        ),
    }
    interleaved(jobs, 1)
    return seconds | {key: median(values) for key, values in interleaved(jobs, repeats).items()}


def options(cfg: Any, repeats: int, side: int) -> dict[str, float]:
    """Return median seconds of a training step with each option."""
    batch = images(cfg.SOLVER.IMS_PER_BATCH, side)

    def step(*keys: Any) -> Callable[[], None]:
        changed = cfg.clone()
        changed.merge_from_list(list(keys))
        torch.manual_seed(0)
        model = LotteryTrainer.build_model(changed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)

        def run() -> None:
            torch.manual_seed(1)
            with EventStorage(0):
                loss = sum(model(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    jobs = {
        "default (float32)": step(),
        "`LTH.CHANNELS_LAST True`": step("LTH.CHANNELS_LAST", True),
        "`LTH.AUTOCAST bfloat16`": step("LTH.AUTOCAST", "bfloat16"),
        "both": step("LTH.CHANNELS_LAST", True, "LTH.AUTOCAST", "bfloat16"),
    }
    interleaved(jobs, 1)
    return {key: median(values) for key, values in interleaved(jobs, repeats).items()}


def start_up(repeats: int) -> float:
    """Return median seconds of a process that imports what a run does."""
    command = [sys.executable, "-c", IMPORTS]

    def run() -> None:
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)

    return median(interleaved({"import": run}, repeats)["import"])


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    profiles = []
    for name, parts in figures["profiles"].items():
        total = parts["all of the above and the rest"]
        rows = [
            (part, f"{value:.2f}", f"{100 * value / total:.1f} %")
            for part, value in parts.items()
            if part not in ONCE
        ]
        profiles += [f"{name}:", table(("part", "s", "share"), rows)]
    first = next(iter(figures["profiles"].values()))
    once = [
        ("start-up: imports", f"{figures['start_up']:.2f}"),
        *((f"start-up: {part}", f"{first[part]:.2f}") for part in ONCE),
    ]
    found = figures["evaluators"]
    plain = found["Detectron2's COCOEvaluator"]
    ours = found["ours, with AP by attribute"]
    whole = found["inference"]
    steps = figures["options"]
    base = steps["default (float32)"]
    return "\n\n".join(
        [
            *profiles,
            table(("once for each process", "s"), once),
            "Evaluation of a round:",
            table(
                ("part", "s", "ratio"),
                [
                    ("inference", f"{whole:.2f}", ""),
                    ("Detectron2's COCOEvaluator", f"{plain:.3f}", "1.00"),
                    ("ours, with AP by attribute", f"{ours:.3f}", f"{ours / plain:.2f}"),
                    (
                        "inference + ours / inference + Detectron2's",
                        "",
                        f"{(whole + ours) / (whole + plain):.3f}",
                    ),
                ],
            ),
            "With `LTH.ATTRIBUTE_AP False` our evaluator is Detectron2's own. Options of the training step:",
            table(
                ("step", "s", "ratio"),
                [(name, f"{value:.3f}", f"{value / base:.2f}") for name, value in steps.items()],
            ),
            f"On a GPU: {GPU_NOT_MEASURED}.",
        ]
    )


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--iterations", type=int, default=150)
    made.add_argument("--threads", type=int, default=1)
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.INFO)
    quick = arguments.quick
    iterations = 6 if quick else arguments.iterations
    repeats = 1 if quick else 5
    register_all()
    with tempfile.TemporaryDirectory() as folder:
        cfg = configuration(folder, quick=quick, iterations=iterations)
        validation = len(DatasetCatalog.get(cfg.DATASETS.TEST[0]))
        demo = (
            f"Demo, {iterations} iterations under a mask, and an evaluation of {validation} images"
        )
        profiles = {demo: profile(cfg)}
        if not quick:
            large = full_size(folder, cfg, 20)
            number = len(DatasetCatalog.get(large.DATASETS.TEST[0]))
            name = (
                f"R-18, 20 iterations of 2 images of 320 px, and an evaluation of {number} images"
            )
            profiles[name] = profile(large)
        figures = {
            "iterations": iterations,
            "profiles": profiles,
            "evaluators": evaluators(cfg, repeats),
            "options": options(cfg, repeats, side=64 if quick else 128),
            "start_up": start_up(1 if quick else 3),
        }
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
