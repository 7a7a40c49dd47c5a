"""What a run needs, looked at before anything is written or trained: a mistake costs seconds, not the dense round."""

from pathlib import Path
from typing import Any

import torch

from lth_det.d2.datasets import check_dataset_available, register_all
from lth_det.d2.plan import retraining_cfg, start_iteration
from lth_det.d2.transfer import check_required_options
from lth_det.errors import ConfigError, DataError
from lth_det.tickets.serialization import load_ticket, ticket_sha256


def check_inputs(cfg: Any, *, eval_only: bool) -> None:
    """Check device, datasets, weights, retraining options and ticket of a configuration.

    Args:
        cfg: from :func:`lth_det.d2.setup_cfg.load_config`.
        eval_only: nothing will be trained.

    Raises:
        ConfigError: a file, key or value is wrong, or the device is not there.
        DataError: a dataset is not registered, missing or damaged, or none is named.
        TicketFormatError: ``LTH.TICKET`` is no ticket or damaged.
    """
    _check_device(cfg, training=not eval_only)
    _check_datasets(cfg, eval_only=eval_only)
    _check_file("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS)
    if cfg.LTH.TICKET:
        if not (cfg.LTH.ENABLED or eval_only):
            raise ConfigError(
                "LTH.TICKET is set, but LTH.ENABLED is False, so that nothing would be pruned; set LTH.ENABLED True."
            )
        check_required_options(cfg, load_ticket(cfg.LTH.TICKET))
    if cfg.LTH.ENABLED:
        _check_lottery(cfg)


def check_gpus(num_gpus: int, num_machines: int) -> None:
    """Check that Detectron2's ``launch`` can start the processes it is asked for: it needs a GPU for each.

    Raises:
        ConfigError: this machine has fewer.
    """
    found = torch.cuda.device_count()
    if num_gpus * num_machines > 1 and found < num_gpus:
        raise ConfigError(
            f"--num-gpus is {num_gpus}, but torch finds {found} here; give at most that many, or run on the CPU with "
            "torchrun --nproc_per_node."
        )


def ticket_identity(path: str) -> str:
    """Return what identifies the ticket that ``LTH.TICKET`` names, wherever the file lies: its SHA-256."""
    return ticket_sha256(load_ticket(path))


def _check_device(cfg: Any, *, training: bool) -> None:
    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, which is no device of torch; write cuda or cpu."
        ) from error
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not found:
            raise ConfigError(
                f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but torch finds no CUDA device; add MODEL.DEVICE cpu to the command."
            )
        if (device.index or 0) >= found:
            raise ConfigError(
                f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but torch finds {found} CUDA devices, which count from 0."
            )
    elif training and cfg.SOLVER.AMP.ENABLED:
        raise ConfigError(
            f"SOLVER.AMP.ENABLED is on, which needs a GPU, but MODEL.DEVICE is {cfg.MODEL.DEVICE!r}; set it to False (LTH.AUTOCAST "
            "bfloat16 is mixed precision for the CPU)."
        )


def _check_datasets(cfg: Any, *, eval_only: bool) -> None:
    if not cfg.DATASETS.TRAIN and not eval_only:
        raise DataError("DATASETS.TRAIN is empty; name a data set to train on.")
    if not cfg.DATASETS.TEST and (eval_only or cfg.LTH.ENABLED):
        raise DataError("DATASETS.TEST is empty; a lottery-ticket run evaluates each round.")
    register_all()
    for name in (*(() if eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST):
        check_dataset_available(name)


def _check_lottery(cfg: Any) -> None:
    if cfg.SEED < 0:
        raise ConfigError(
            "SEED is negative (random); lottery-ticket runs need a seed of at least 0."
        )
    if cfg.LTH.REWIND.TO == "pretrained":
        _check_file("LTH.REWIND.WEIGHTS", cfg.LTH.REWIND.WEIGHTS)
    last, start = retraining_cfg(cfg).SOLVER.MAX_ITER, start_iteration(cfg.LTH)
    if start >= last:
        raise ConfigError(
            f"LTH.RETRAIN_OPTS sets SOLVER.MAX_ITER to {last}, but retraining starts at LTH.REWIND.ITERATION ({start})."
        )


def _check_file(key: str, path: str) -> None:
    if path and "://" not in path and not Path(path).is_file():
        raise ConfigError(f"{key} names {path}, which does not exist; check the path or use ''.")
