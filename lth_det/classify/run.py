"""From a configuration to a finished run: rounds, controls, results, report."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.config_file import flatten
from lth_det.classify.data.images import ClassificationData
from lth_det.classify.data.registry import load_data
from lth_det.classify.key_names import own_key_names
from lth_det.classify.models import architecture_options
from lth_det.classify.plan import imp_plan
from lth_det.classify.rst import method_identity, rst_plan, without_rewinding
from lth_det.classify.stages import ClassifierStages
from lth_det.env import package_versions
from lth_det.errors import ConfigError
from lth_det.experiments.decide import check_plan
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.rst_run import STAGE, RstRun
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.stage_runner import StageRunner
from lth_det.reports.run_report import write_run_report

logger = logging.getLogger(__name__)

# Settings that change where or how fast a run goes, not what comes out; and the controls, which can be added later.
_NOT_IDENTITY = (
    "output",
    "data.root",
    "data.workers",
    "solver.checkpoint_period",
    "solver.eval_batch_size",
    "controls",
    "control_rounds",
)


def provenance_extra(config: ClassifyConfig, data: ClassificationData) -> dict[str, str]:
    """Return what a classifier's ticket says about itself, so that it can be transferred to a detector.

    ``architecture``, ``architecture_options`` (JSON), ``preprocessing`` (JSON: channel order, mean and std on the 0-255
    scale), ``stride_in_1x1`` (false: torchvision has the stride in the 3x3 convolution), ``classes`` (JSON).
    """
    preprocessing = {
        "format": "RGB",
        "mean": list(config.data.mean),
        "std": list(config.data.std),
    }
    return {
        "architecture": config.model.name,
        "architecture_options": architecture_options(config.model),
        "preprocessing": json.dumps(preprocessing, sort_keys=True),
        "stride_in_1x1": "false",
        "classes": json.dumps(list(data.classes)),
    }


@own_key_names()
def run_classifier(config: ClassifyConfig, *, resume: bool) -> dict[str, Any]:
    """Run the rounds (or the transformation) of ``config``, or go on; return the content of ``results.json``.

    Everything is in ``config.output`` as for detectors: ``round_00`` (dense, with ``rewind.safetensors``), ``round_01``
    (``ticket.safetensors``, ``model_final.pth``), ..., ``results.json``, ``report/``. With ``method: rst`` the stages are
    ``rst/transform_01``, ... and ``rst`` (see :mod:`lth_det.experiments.rst_run`).

    Args:
        config: the configuration.
        resume: also go on inside an unfinished stage, from its last checkpoint.

    Raises:
        LthDetError: the input is wrong, or the folder holds another run.
    """
    set_up(config)
    run = RunDir(config.output)
    with run.lock():
        data = load_data(config.data)
        digest = run.claim(run_settings(config, data))
        trainer = ClassifierStages(config, data, resume=resume)
        experiment = _experiment(config, data, trainer, run, digest)
        trainer.expect_iterations(_iterations_left(experiment, trainer.iterations))
        results = experiment()
        logger.info("The report is in %s", write_run_report(run.root))
    return results


def _experiment(
    config: ClassifyConfig,
    data: ClassificationData,
    trainer: ClassifierStages,
    run: RunDir,
    digest: str,
) -> StageRunner:
    plan = imp_plan(config, images=len(data.train.labels), total=trainer.iterations)
    facts = run_facts(config, data, digest)
    if config.method == "imp":
        return ImpRun(trainer, plan, run, facts)
    check_plan(trainer.table, plan)
    rst = rst_plan(config, total=trainer.iterations)
    return RstRun(trainer, without_rewinding(plan), run, {**facts, "method": "rst"}, rst=rst)


def _iterations_left(experiment: StageRunner, total: int) -> int:
    """Return the steps of the stages that are not finished; ``total`` are those of an ordinary training."""
    left = [name for name in experiment.stage_names() if experiment.run.record(name) is None]
    if not isinstance(experiment, RstRun):
        return len(left) * total
    length = experiment.rst.schedule.iterations
    return sum(total if name == STAGE else length for name in left)


def set_up(config: ClassifyConfig) -> None:
    """Set the number of threads and check the device.

    Raises:
        ConfigError: a CUDA device is asked for that is not there.
    """
    if config.device.startswith("cuda"):
        index = torch.device(config.device).index or 0
        count = torch.cuda.device_count()
        if index >= count:
            raise ConfigError(
                f"device is {config.device!r}, but this machine has {count} CUDA devices; use device cpu or auto."
            )
    if config.threads:
        torch.set_num_threads(config.threads)


def run_settings(config: ClassifyConfig, data: ClassificationData) -> dict[str, Any]:
    """Return the flat settings that a run's results depend on."""
    flat = {key: value for key, value in flatten(config).items() if key not in _NOT_IDENTITY}
    # The data by what is in it, so that its folder may move.
    content = hashlib.sha256(json.dumps(data.classes).encode())
    for split in (data.train, data.val):
        content.update(split.labels.tobytes())
    return method_identity(config, flat) | {"labels sha256": content.hexdigest()}


def run_facts(config: ClassifyConfig, data: ClassificationData, digest: str) -> dict[str, Any]:
    """Return the facts about a run that ``results.json`` carries beside its rounds."""
    return {
        "config_sha256": digest,
        "versions": package_versions(),
        "task": config.data.name,
        "input": provenance_extra(config, data),  # goes into every ticket
        "architecture": config.model.name,
        "dataset": {
            "name": data.name,
            "folder": str(Path(data.folder).resolve()),
            "train_images": len(data.train.labels),
            "val_images": len(data.val.labels),
            "classes": list(data.classes),
        },
    }
