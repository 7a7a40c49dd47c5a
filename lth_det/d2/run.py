"""From parsed arguments to a finished run: check the input first, then train or evaluate."""

import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from lth_det.d2.communicator import Processes
from lth_det.d2.datasets import check_dataset_available, register_all
from lth_det.d2.evaluation import flatten_metrics
from lth_det.d2.plan import imp_plan
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.stages import DetectorStages
from lth_det.d2.trainer import LotteryTrainer
from lth_det.env import package_versions
from lth_det.errors import ConfigError, DataError, RunError
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.run_dir import RunDir
from lth_det.reports.run_report import write_run_report
from lth_det.reports.terminal import rounds_text

logger = logging.getLogger(__name__)

# Settings that change where or how fast a run goes, not what comes out.
_NOT_IDENTITY = ("OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD", "VIS_PERIOD")


def prepare(arguments: Any) -> Any:
    """Return the checked, frozen configuration of the command line; nothing is written or trained before this passes.

    Args:
        arguments: from Detectron2's ``default_argument_parser``.

    Raises:
        ConfigError: a file, key or value is wrong, or the device is not there.
        DataError: a dataset is not registered, missing or damaged.
    """
    cfg = load_config(arguments.config_file, arguments.opts)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but torch finds no CUDA device; add MODEL.DEVICE cpu to the command."
        )
    register_all()
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        check_dataset_available(name)
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not Path(weights).is_file():
        raise ConfigError(
            f"MODEL.WEIGHTS names {weights}, which does not exist; check the path or use ''."
        )
    if cfg.LTH.ENABLED and cfg.SEED < 0:
        raise ConfigError(
            "SEED is negative (random); lottery-ticket runs need a seed of at least 0."
        )
    cfg.freeze()
    return cfg


def train_or_evaluate(arguments: Any, cfg: Any) -> None:
    """Do what the arguments ask for, on every process; ``cfg`` comes from :func:`prepare`."""
    register_all()  # spawned processes start without it
    if cfg.LTH.NUM_THREADS:
        torch.set_num_threads(cfg.LTH.NUM_THREADS)
    run = RunDir(cfg.OUTPUT_DIR)
    if not comm.is_main_process():
        _main(arguments, cfg, run)
        return
    with run.lock():
        _main(arguments, cfg, run)


def _main(arguments: Any, cfg: Any, run: RunDir) -> None:
    if arguments.eval_only:
        _set_up(arguments, cfg)
        evaluate(cfg)
    elif cfg.LTH.ENABLED:
        digest = ""
        if comm.is_main_process():
            digest = run.claim(run_settings(cfg))
        _set_up(arguments, cfg)
        run_lottery(cfg, run, digest, resume=arguments.resume)
    else:
        _set_up(arguments, cfg)
        trainer = LotteryTrainer(cfg)
        trainer.resume_or_load(resume=arguments.resume)
        trainer.train()


def _set_up(arguments: Any, cfg: Any) -> None:
    try:
        default_setup(cfg, arguments)
    except OSError as error:
        raise RunError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be written ({error.strerror}); choose another folder."
        ) from error
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="lth_det")


def evaluate(cfg: Any) -> dict[str, float]:
    """Evaluate ``MODEL.WEIGHTS`` and return Detectron2's metrics, flat."""
    model = LotteryTrainer.build_model(cfg)
    DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
        cfg.MODEL.WEIGHTS, resume=False
    )
    results = LotteryTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return flatten_metrics(results)


def run_lottery(cfg: Any, run: RunDir, digest: str, *, resume: bool) -> dict[str, Any]:
    """Run the rounds of ``cfg.LTH``, write the report, and return the content of ``results.json``."""
    plan = imp_plan(cfg)
    stages = 1 + len(plan.prune_rates) + len(plan.controls) * max(1, len(plan.control_rounds))
    trainer = DetectorStages(cfg, stages=stages, resume=resume)
    imp = ImpRun(trainer, plan, run, run_facts(cfg, digest), Processes())
    trainer.skipped(imp.finished_stages())
    results = imp()
    if comm.is_main_process():
        page = write_run_report(run.root)
        logger.info("Rounds:\n%s", rounds_text(results))
        logger.info("The report is in %s", page)
    return results


def run_settings(cfg: Any) -> dict[str, Any]:
    """Return the flat settings that a run's results depend on."""
    flat = _flatten(cfg, "")
    return {key: value for key, value in flat.items() if key not in _NOT_IDENTITY}


def run_facts(cfg: Any, digest: str) -> dict[str, Any]:
    """Return the facts about a run that ``results.json`` carries beside its rounds."""
    if not cfg.DATASETS.TEST:
        raise DataError("DATASETS.TEST is empty; a lottery-ticket run evaluates each round.")
    name = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(name)
    return {
        "config_sha256": digest,
        "versions": package_versions(),
        "task": ", ".join(cfg.DATASETS.TRAIN),
        "dataset": {
            "name": name,
            "json_file": _absolute(metadata.get("json_file")),
            "image_root": _absolute(metadata.get("image_root")),
            "classes": list(metadata.get("thing_classes", [])),
        },
    }


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _flatten(node: Any, prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if hasattr(value, "items"):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
