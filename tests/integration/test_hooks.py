import logging

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.engine.hooks import PeriodicCheckpointer
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lth_det.d2.hooks import MaskHook, RewindPointHook, StepSeedHook
from lth_det.errors import MaskMismatchError, RunError
from lth_det.experiments.snapshot import load_snapshot
from lth_det.tickets.apply import count_revived
from lth_det.tickets.mask import Mask

pytestmark = pytest.mark.d2


class Toy(nn.Module):
    """Two layers and a frozen one; the loss reaches every weight at every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, data):
        return {"loss": (self.frozen(self.second(torch.tanh(self.first(data)))) ** 2).mean() * 50}


def batches():
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(3, 6, generator=generator)


def toy_mask(model):
    generator = torch.Generator().manual_seed(5)
    return Mask(
        {
            name: torch.rand(value.shape, generator=generator) > 0.5
            for name, value in model.named_parameters()
            if name.endswith("weight")
        }
    )


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def trainer_with(model, optimizer, hooks):
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    trainer = SimpleTrainer(model, batches(), optimizer)
    trainer.register_hooks(hooks)
    return trainer


@pytest.mark.parametrize("mask_gradients", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_pruned_weights_are_zero_in_memory_and_in_every_saved_file(tmp_path, kind, mask_gradients):
    model = Toy()
    mask = toy_mask(model)
    optimizer = OPTIMIZERS[kind](model.parameters())
    # Warm the optimizer up without a mask: its momentum would move pruned weights.
    trainer_with(model, optimizer, []).train(0, 3)
    saver = PeriodicCheckpointer(Checkpointer(model, str(tmp_path)), 1)
    trainer_with(model, optimizer, [MaskHook(mask, mask_gradients=mask_gradients), saver]).train(
        0, 5
    )
    assert count_revived(dict(model.named_parameters()), mask) == 0
    files = sorted(tmp_path.glob("model_000*.pth"))
    assert len(files) >= 4
    for file in files:
        assert count_revived(torch.load(file, weights_only=True)["model"], mask) == 0
    kept = mask["first.weight"]
    assert (model.first.weight[kept] != Toy().first.weight[kept]).all()  # the survivors did train


def test_behind_the_checkpointer_the_saved_weights_would_be_wrong(tmp_path):
    # The order is not a matter of taste: this is why the trainer puts the hook first.
    model = Toy()
    mask = toy_mask(model)
    saver = PeriodicCheckpointer(Checkpointer(model, str(tmp_path)), 1)
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    trainer_with(model, optimizer, [saver, MaskHook(mask, mask_gradients=False)]).train(0, 3)
    saved = torch.load(sorted(tmp_path.glob("model_000*.pth"))[-1], weights_only=True)["model"]
    trainable = mask.restricted_to(["first.weight", "second.weight"])
    assert count_revived(saved, trainable) > 0


def test_masked_training_equals_training_a_network_without_the_pruned_connections():
    # Oracle: the same weights, gradients zeroed by hand before a step of plain SGD.
    model, oracle = Toy(), Toy()
    mask = toy_mask(model)
    with torch.no_grad():
        for name, keep in mask.items():
            dict(oracle.named_parameters())[name].mul_(keep)
    optimizer = torch.optim.SGD(oracle.parameters(), lr=0.05)
    data = batches()
    for _ in range(4):
        optimizer.zero_grad()
        oracle(next(data))["loss"].backward()
        for name, keep in mask.items():
            parameter = dict(oracle.named_parameters())[name]
            if parameter.grad is not None:
                parameter.grad.mul_(keep)
        optimizer.step()
    hook = MaskHook(mask, mask_gradients=False)
    trainer_with(model, torch.optim.SGD(model.parameters(), lr=0.05), [hook]).train(0, 4)
    for ours, theirs in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_masked_gradients_do_not_count_in_clipping():
    model = Toy()
    mask = toy_mask(model)
    norms = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(
                [p.grad.clone() for p in self.param_groups[0]["params"] if p.grad is not None]
            )
            return super().step(closure)

    hook = MaskHook(mask, mask_gradients=True)
    trainer_with(model, Spy(model.parameters(), lr=0.01), [hook]).train(0, 2)
    weight_gradient = norms[-1][0]
    assert weight_gradient[~mask["first.weight"]].abs().max() == 0
    assert weight_gradient[mask["first.weight"]].abs().min() > 0
    # The tensor hooks are gone afterwards: training on without the hook moves everything again.
    model(next(batches()))["loss"].backward()
    assert model.first.weight.grad[~mask["first.weight"]].abs().max() > 0


def test_a_mask_of_another_model_is_refused_before_the_first_step():
    model = Toy()
    mask = Mask(
        {"first.weight": torch.ones(6, 6, dtype=torch.bool), "third.weight": torch.ones(2) > 0}
    )
    before = model.first.weight.clone()
    trainer = trainer_with(
        model, torch.optim.SGD(model.parameters(), lr=0.1), [MaskHook(mask, mask_gradients=False)]
    )
    with pytest.raises(MaskMismatchError, match=r"third\.weight"):
        trainer.train(0, 1)
    assert torch.equal(model.first.weight, before)


@pytest.mark.parametrize("iteration", [0, 2])
def test_rewind_snapshot_is_the_state_at_its_iteration_and_a_clone(tmp_path, iteration):
    model, path = Toy(), tmp_path / "rewind.safetensors"
    reference = Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer_with(model, optimizer, [RewindPointHook(path, iteration)]).train(0, 5)
    plain = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    if iteration:
        trainer_with(reference, plain, []).train(0, iteration)
    snapshot = load_snapshot(path)
    assert snapshot.keys() == model.state_dict().keys()
    for name, value in reference.state_dict().items():
        assert torch.equal(snapshot[name], value)
    assert not torch.equal(snapshot["first.weight"], model.first.weight)


def test_a_resumed_run_without_its_snapshot_stops(tmp_path):
    model = Toy()
    hook = RewindPointHook(tmp_path / "round_00" / "rewind.safetensors", 2)
    trainer = trainer_with(model, torch.optim.SGD(model.parameters(), lr=0.1), [hook])
    with pytest.raises(RunError, match=r"rewind\.safetensors is missing"):
        trainer.train(3, 5)


def test_each_step_draws_the_same_numbers_wherever_the_run_started():
    drawn = {}

    class Drawing(Toy):
        def forward(self, data):
            drawn.setdefault(run_name, []).append(float(torch.rand(())))
            return super().forward(data)

    for run_name, start in (("whole", 0), ("resumed", 2)):  # noqa: B007 (read in forward)
        model = Drawing()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer_with(model, optimizer, [StepSeedHook(11)]).train(start, 4)
    assert drawn["whole"][2:] == drawn["resumed"]
    assert len(set(drawn["whole"])) == 4


def test_processes_draw_different_numbers(monkeypatch):
    drawn = []
    for rank in range(3):
        monkeypatch.setattr("lth_det.d2.hooks.comm.get_rank", lambda rank=rank: rank)
        hook = StepSeedHook(11)
        hook.trainer = type("At", (), {"iter": 4})
        hook.before_step()
        drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 3
