"""Several processes started by ``torchrun``, with NCCL on GPUs and gloo on the CPU."""

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from detectron2.utils import comm


@contextlib.contextmanager
def under_torchrun() -> Iterator[None]:
    """Join the process group that ``torchrun`` describes in the environment, and leave it at the end.

    Detectron2's ``launch`` starts its own processes and needs GPUs; this is for processes that exist already.
    """
    use_gpu = torch.cuda.is_available()
    if use_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if use_gpu else "gloo")
    try:
        _make_local_group()
        comm.synchronize()
        yield
    finally:
        dist.destroy_process_group()


def _make_local_group() -> None:
    """Tell Detectron2 which processes share this machine."""
    local_size = int(os.environ["LOCAL_WORLD_SIZE"])
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
