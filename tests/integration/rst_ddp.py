"""One process of a data-parallel transformation of a toy: ``rst_ddp.py RANK WORLD RENDEZVOUS OUTPUT``."""

import sys

import torch
import torch.distributed as dist
from test_hooks_methods import Toy, batches, mask_for, trainer_with, transform
from torch.nn.parallel import DistributedDataParallel

from lth_det.d2.hooks_rst import TransformHook


def main():
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world
    )
    model = Toy()
    # Each process sees its half of every batch.
    halves = (batch[rank::world] for batch in batches(4))
    trainer = trainer_with(
        DistributedDataParallel(model), [TransformHook(transform(mask_for(model)))], data=halves
    )
    trainer.train(0, 12)
    torch.save(model.state_dict(), f"{sys.argv[4]}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
