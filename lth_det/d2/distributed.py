"""Several processes started by ``torchrun``, with NCCL on GPUs and gloo on the CPU."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.distributed.rendezvous import rendezvous

from lth_det.errors import ConfigError, LthDetError, ReportedElsewhereError


def is_torchrun() -> bool:
    """Whether ``torchrun`` (or something that sets the same variables) started this process."""
    return all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))


def run_under_torchrun(prepare: Callable[[], Any], work: Callable[[Any], None]) -> None:
    """Check the input, join the process group that ``torchrun`` describes in the environment, work, and leave it.

    Detectron2's ``launch`` starts its own processes and needs GPUs; this is for processes that exist already. A process
    that fails leaves without waiting for the others, and ``torchrun`` stops those.

    Args:
        prepare: returns the checked configuration; its ``MODEL.DEVICE`` decides between NCCL and gloo.
        work: is called with the configuration, inside the group.

    Raises:
        LthDetError: from the process that failed first, so that the message appears once.
        ReportedElsewhereError: from every other process that fails, or that loses another one.
    """
    store, rank, size = next(rendezvous("env://"))
    try:
        cfg = prepare()
        _join(cfg.MODEL.DEVICE, store, rank, size)
        work(cfg)
    except ReportedElsewhereError:
        raise
    except LthDetError as error:
        if _is_first(store):
            raise
        raise ReportedElsewhereError(str(error)) from error
    except RuntimeError as error:
        if is_lost_process(error):
            raise ReportedElsewhereError(str(error)) from error
        raise
    # Only after success: a process that failed must not wait for operations that will never end. All leave together: one
    # that ends while another still talks to it can abort instead.
    comm.synchronize()
    dist.destroy_process_group()


def is_lost_process(error: RuntimeError) -> bool:
    """Whether a collective operation failed because another process is gone."""
    text = str(error)
    gloo = "gloo" in text.lower() and any(
        word in text for word in ("closed by peer", "reset by peer", "Broken pipe")
    )
    return isinstance(error, dist.DistNetworkError | dist.DistBackendError) or gloo


def _is_first(store: Any) -> bool:
    # The store lives in torchrun's own process. Without it (another launcher) a sentence may appear twice.
    with contextlib.suppress(RuntimeError):
        return bool(store.add("lth_det/failed", 1) == 1)
    return True


def _join(device: str, store: Any, rank: int, size: int) -> None:
    use_gpu = device.startswith("cuda")
    if use_gpu:
        _take_gpu()
    dist.init_process_group("nccl" if use_gpu else "gloo", store=store, rank=rank, world_size=size)
    _make_local_group()
    comm.synchronize()


def _take_gpu() -> None:
    rank, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= there:
        raise ConfigError(
            f"torchrun started at least {rank + 1} processes on a machine with {there} GPUs; lower --nproc_per_node "
            "or add MODEL.DEVICE cpu."
        )
    torch.cuda.set_device(rank)


def _make_local_group() -> None:
    """Tell Detectron2 which processes share this machine."""
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    create = getattr(comm, "create_local_process_group", None)
    if create is not None:
        create(local_size)
        return
    # Detectron2 0.6 keeps the group in a module variable that its own launcher sets the same way.
    world = dist.get_world_size()
    for first in range(0, world, local_size):
        ranks = list(range(first, first + local_size))
        group = dist.new_group(ranks)
        if dist.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group
