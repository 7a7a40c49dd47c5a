"""Zeros, masks and weights of two gloo processes under what large trainings add to a step.

Detectron2 0.6 has neither gradient accumulation nor an EMA, and its AMP needs a GPU: here the steps are written out around
our mask hook, as a trainer that has them would do it. SyncBN runs on GPUs only; BatchNorm and FrozenBatchNorm are here.
"""

import types

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.layers import FrozenBatchNorm2d
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.hooks import MaskHook
from lth_det.testing import BrokenInvariantError, check_files_hold_zeros, check_holds_zeros
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.mask import Mask

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings(
        "ignore:.*broadcast_buffers.*:FutureWarning"
    ),  # as our trainer gives it
    # The children of a fork end before they use a thread of the parent.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
STEPS, GLOBAL_BATCH = 6, 8
CASES = ("momentum", "adamw", "clipping", "accumulation", "skipped", "batch_norm")


def network(case):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4) if case == "batch_norm" else FrozenBatchNorm2d(4)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )


def mask_of(model):
    generator = torch.Generator().manual_seed(1)
    named = dict(model.named_parameters())
    return Mask(
        {
            name: torch.rand(named[name].shape, generator=generator) > 0.6
            for name in ("0.weight", "4.weight")
        }
    )


def batch(step):
    generator = torch.Generator().manual_seed(100 + step)
    images = torch.randn(GLOBAL_BATCH, 2, 4, 4, generator=generator)
    return images, torch.randn(GLOBAL_BATCH, 2, generator=generator)


def optimizer_of(case, model):
    if case == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)


def backward(case, model, step, rank, size):
    """The mean loss of the global batch: in two parts where gradients are accumulated."""
    images, targets = batch(step)
    mine = slice(rank * GLOBAL_BATCH // size, (rank + 1) * GLOBAL_BATCH // size)
    images, targets = images[mine], targets[mine]
    parts = 2 if case == "accumulation" else 1
    for part in range(parts):
        loss = (
            nn.functional.mse_loss(model(images.chunk(parts)[part]), targets.chunk(parts)[part])
            / parts
        )
        if part < parts - 1 and size > 1:
            with model.no_sync():
                loss.backward()
        else:
            loss.backward()


def train(case, rank, size, folder):
    model = network(case)
    mask = mask_of(model)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if size > 1 else model
    hook = MaskHook(mask, mask_gradients=case == "clipping")
    hook.trainer = types.SimpleNamespace(model=wrapped)
    hook.before_train()
    optimizer = optimizer_of(case, model)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(STEPS):
        optimizer.zero_grad()
        backward(case, wrapped, step, rank, size)
        if case == "clipping":
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        if not (case == "skipped" and step % 2):  # as AMP's scaler does when a gradient is infinite
            optimizer.step()
        hook.after_step()
        average.update_parameters(model)
        check_holds_zeros(dict(unwrap(wrapped).named_parameters()), mask)
        check_holds_zeros(average.module.state_dict(), mask, what="the EMA")
    hook.after_train()
    if rank == 0:
        state = {"model": model.state_dict(), "ema": {"module": average.module.state_dict()}}
        torch.save({**state, "mask": mask.sha256()}, folder / f"{case}_{size}.pth")
    return model, mask


def child(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for case in CASES:
        model, mask = train(case, rank, 2, folder)
        seen = [None, None]
        named = {k: v.tolist() for k, v in model.named_parameters()}
        dist.all_gather_object(seen, (mask.sha256(), named))
        if seen[0] != seen[1]:
            raise BrokenInvariantError(f"{case}: the ranks differ")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    # Forked: two new interpreters would import torch for seconds.
    mp.start_processes(child, args=(folder,), nprocs=2, start_method="fork")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_hold_zeros_and_train_what_one_does(folder, case):
    model, mask = train(case, 0, 1, folder)
    two = torch.load(folder / f"{case}_2.pth", weights_only=True)
    assert two["mask"] == mask.sha256()
    check_files_hold_zeros([folder / f"{case}_1.pth", folder / f"{case}_2.pth"], mask)
    start = network(case).state_dict()
    for name, value in model.state_dict().items():
        if case == "batch_norm":
            continue  # each process normalises by its own half of the batch
        assert torch.allclose(two["model"][name], value, rtol=1e-4, atol=1e-6), name
    assert not torch.allclose(two["model"]["0.weight"], start["0.weight"])


def test_an_ema_that_began_before_the_mask_is_noticed_and_can_be_masked():
    model = network("momentum")
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    mask = mask_of(model)
    average.update_parameters(model)
    apply_mask_(dict(model.named_parameters()), mask)
    average.update_parameters(model)
    with pytest.raises(BrokenInvariantError, match=r"the EMA: .* not zero"):
        check_holds_zeros(average.module.state_dict(), mask, what="the EMA")
    apply_mask_(dict(average.module.named_parameters()), mask)
    check_holds_zeros(average.module.state_dict(), mask, what="the EMA")
