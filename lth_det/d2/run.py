"""From parsed arguments to a finished run: check the input first, then train or evaluate."""

import contextlib
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from lth_det.d2.checkpoint import load_ticket_into
from lth_det.d2.communicator import Processes
from lth_det.d2.config_methods import method_identity
from lth_det.d2.datasets import register_all
from lth_det.d2.evaluation import flatten_metrics
from lth_det.d2.imports import import_modules
from lth_det.d2.macs import macs_by_layer
from lth_det.d2.plan import imp_plan
from lth_det.d2.plan_methods import (
    check_methods,
    early_bird_plan,
    gradual_plan,
    method_contents,
    rst_plan,
)
from lth_det.d2.preflight import check_inputs, ticket_identity
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.stages import DetectorStages
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.d2.trainer import LotteryTrainer
from lth_det.d2.transfer import input_extra
from lth_det.env import package_versions
from lth_det.errors import RunError
from lth_det.experiments.decide import layer_ratios_identity
from lth_det.experiments.early_bird import EarlyBirdRun
from lth_det.experiments.gradual_run import GradualRun
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.rst_run import RstRun
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.stage_runner import StageRunner
from lth_det.experiments.ticket_run import TicketRun
from lth_det.reports.run_report import write_run_report
from lth_det.reports.terminal import rounds_text
from lth_det.tickets.serialization import load_ticket

logger = logging.getLogger(__name__)

# Settings that change where or how fast a run goes, not what comes out; and the controls, which are stages of their own,
# so that they can be added to a finished run.
_NOT_IDENTITY = (
    "OUTPUT_DIR",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "VIS_PERIOD",
    "LTH.CONTROLS",
    "LTH.CONTROL_ROUNDS",
    "LTH.REPORT",
)


def prepare(arguments: Any) -> Any:
    """Return the checked, frozen configuration of the command line; nothing is written or trained before this passes.

    Args:
        arguments: from Detectron2's ``default_argument_parser``.

    Raises:
        ConfigError: a file, key or value is wrong, or the device is not there.
        DataError: a dataset is not registered, missing or damaged.
        TicketFormatError: ``LTH.TICKET`` is no ticket or damaged.
    """
    cfg = load_config(arguments.config_file, arguments.opts)
    check_inputs(cfg, eval_only=arguments.eval_only)
    if not arguments.eval_only:
        check_methods(cfg)
    cfg.freeze()
    return cfg


def train_or_evaluate(arguments: Any, cfg: Any) -> None:
    """Do what the arguments ask for, on every process; ``cfg`` comes from :func:`prepare`."""
    register_all()  # spawned processes start without it
    import_modules(cfg.LTH.IMPORTS)
    if cfg.LTH.NUM_THREADS:
        torch.set_num_threads(cfg.LTH.NUM_THREADS)
    run = RunDir(cfg.OUTPUT_DIR)
    with contextlib.ExitStack() as stack:
        # One lock for the run; whoever does not get it stops before it writes so much as a log line.
        Processes().on_main(lambda: str(stack.enter_context(run.lock())).encode())
        _main(arguments, cfg, run)


def _main(arguments: Any, cfg: Any, run: RunDir) -> None:
    if arguments.eval_only:
        cfg = _evaluation_cfg(cfg, run)
        _set_up(arguments, cfg)
        evaluate(cfg, resume=arguments.resume)
    elif cfg.LTH.ENABLED:
        digest = Processes().on_main(lambda: run.claim(run_settings(cfg)).encode()).decode()
        _set_up(arguments, cfg)
        run_lottery(cfg, run, digest, resume=arguments.resume)
    else:
        Processes().on_main(lambda: _not_a_run(run))
        _set_up(arguments, cfg)
        trainer = LotteryTrainer(cfg)
        trainer.resume_or_load(resume=arguments.resume)
        trainer.train()


def _evaluation_cfg(cfg: Any, run: RunDir) -> Any:
    """Keep the evaluation of a checkpoint from overwriting the files of a lottery-ticket run."""
    if not run.identity_file.exists():
        return cfg
    copy = cfg.clone()
    copy.defrost()
    copy.OUTPUT_DIR = str(run.root / "evaluation")
    copy.freeze()
    return copy


def _not_a_run(run: RunDir) -> bytes:
    if run.identity_file.exists():
        raise RunError(
            f"{run.root} holds a lottery-ticket run; for plain training (LTH.ENABLED False) choose another OUTPUT_DIR."
        )
    return b""


def _set_up(arguments: Any, cfg: Any) -> None:
    try:
        default_setup(cfg, arguments)
    except OSError as error:
        raise RunError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be written ({error.strerror}); choose another folder."
        ) from error
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="lth_det")


def evaluate(cfg: Any, *, resume: bool = False) -> dict[str, float]:
    """Evaluate ``MODEL.WEIGHTS`` and return Detectron2's metrics, flat.

    With ``LTH.TICKET`` its mask is put on the loaded weights; without ``MODEL.WEIGHTS`` the ticket's own are evaluated.

    Args:
        cfg: the configuration.
        resume: take the last checkpoint in ``OUTPUT_DIR`` if there is one, as Detectron2 does.

    Raises:
        MaskMismatchError: the ticket is of another model.
    """
    model = LotteryTrainer.build_model(cfg)
    StrictCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
        cfg.MODEL.WEIGHTS, resume=resume
    )
    if cfg.LTH.TICKET:
        ticket = load_ticket(cfg.LTH.TICKET)
        if cfg.MODEL.WEIGHTS or resume:
            ticket = dataclasses.replace(ticket, weights=None)
        load_ticket_into(model, ticket)
    results = LotteryTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return flatten_metrics(results)


def run_lottery(cfg: Any, run: RunDir, digest: str, *, resume: bool) -> dict[str, Any]:
    """Run the rounds of ``cfg.LTH``, or train its ticket, write the report, and return the content of ``results.json``."""
    trainer = DetectorStages(cfg, resume=resume)
    experiment = _experiment(cfg, trainer, run, digest)
    trainer.expect_stages(len(experiment.stage_names()) - experiment.finished_stages())
    results = experiment()
    if comm.is_main_process():
        logger.info("Rounds:\n%s", rounds_text(results))
        if cfg.LTH.REPORT:
            logger.info("The report is in %s", write_run_report(run.root))
    return results


def _experiment(cfg: Any, trainer: DetectorStages, run: RunDir, digest: str) -> StageRunner:
    facts = run_facts(cfg, digest)
    parts = trainer, imp_plan(cfg), run, facts, Processes()
    if cfg.LTH.TICKET:
        return TicketRun(*parts, ticket=load_ticket(cfg.LTH.TICKET))
    if cfg.LTH.EARLY_BIRD.ENABLED:
        return EarlyBirdRun(*parts, early=early_bird_plan(cfg))
    if cfg.LTH.METHOD == "imp":
        return ImpRun(*parts)
    # Weights are not rewound: the ticket has those that the method ended with.
    plan = dataclasses.replace(parts[1], rewind_to="final", rewind_iteration=0)
    own = trainer, plan, run, {**facts, "method": cfg.LTH.METHOD}, Processes()
    if cfg.LTH.METHOD == "rst":
        return RstRun(*own, rst=rst_plan(cfg))
    return GradualRun(*own, gradual=gradual_plan(cfg))


def run_settings(cfg: Any) -> dict[str, Any]:
    """Return the flat settings that a run's results depend on."""
    flat = _flatten(cfg, "")
    used = method_identity(flat)
    settings = {key: value for key, value in used.items() if key not in _NOT_IDENTITY}
    # By its content; and a run from before there was this key goes on.
    path = settings.pop("LTH.TICKET")
    if path:
        settings["LTH.TICKET"] = ticket_identity(path)
    if cfg.LTH.SCOPE == "layer":
        settings["LTH.LAYER_RATIOS"] = layer_ratios_identity(cfg.LTH.LAYER_RATIOS)
    settings |= method_contents(cfg)
    if comm.get_world_size() > 1:
        # Each process draws its own random numbers, so that their number shows in the results.
        settings["number of processes"] = comm.get_world_size()
    return settings


def run_facts(cfg: Any, digest: str) -> dict[str, Any]:
    """Return the facts about a run that ``results.json`` carries beside its rounds."""
    name = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(name)
    return {
        "config_sha256": digest,
        "versions": package_versions(),
        "task": ", ".join(cfg.DATASETS.TRAIN),
        "input": input_extra(cfg),
        "layer_macs": _layer_macs(cfg),
        "dataset": {
            "name": name,
            "json_file": _absolute(metadata.get("json_file")),
            "image_root": _absolute(metadata.get("image_root")),
            "train_json_file": _absolute(
                MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("json_file")
            ),
            "classes": list(metadata.get("thing_classes", [])),
        },
    }


def _layer_macs(cfg: Any) -> dict[str, Any]:
    """Return the dense MACs of every layer, counted by one process: a forward pass of a large detector takes seconds."""
    found: dict[str, Any] = json.loads(
        Processes().on_main(lambda: json.dumps(macs_by_layer(cfg)).encode())
    )
    return found


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
