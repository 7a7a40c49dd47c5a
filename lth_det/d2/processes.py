"""What Detectron2's trainer lacks when several processes train together: models on the CPU, and one set of buffers."""

import weakref
from typing import Any

import torch
import torch.distributed as dist
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultTrainer
from detectron2.engine.train_loop import AMPTrainer, SimpleTrainer, TrainerBase
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class ProcessesTrainer(DefaultTrainer):
    """``DefaultTrainer`` that also runs as several processes on the CPU.

    ``DefaultTrainer`` always names a device to ``DistributedDataParallel``, which refuses that for a model on the CPU.
    With one process, or on GPUs, this class adds nothing.

    Args:
        cfg: the configuration.
    """

    def __init__(self, cfg: Any) -> None:
        if comm.get_world_size() == 1 or cfg.MODEL.DEVICE != "cpu":
            super().__init__(cfg)
        else:
            self._set_up_on_cpu(cfg)

    def _set_up_on_cpu(self, cfg: Any) -> None:
        # DefaultTrainer.__init__ step by step (the same in 0.6 and in later versions), but for the wrapping.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = kind(wrapped, loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            wrapped, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> Any:
        """Evaluate as Detectron2 does, every process with the buffers of rank 0.

        Detectron2 lets each process keep its own running statistics of batch normalisation and saves those of rank 0:
        without this, the metrics would be of a mixture that is in no checkpoint. Training does not read them.
        """
        share_buffers(model)
        return super().test(cfg, model, evaluators)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Copy the buffers of rank 0 (running statistics) to every process; with one process do nothing."""
    if comm.get_world_size() == 1:
        return
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)
