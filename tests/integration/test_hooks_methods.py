"""The RST penalty in Detectron2's trainer, against a reference of a few lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import SimpleTrainer
from detectron2.engine.hooks import PeriodicCheckpointer
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lth_det.d2.hooks_rst import LOSS_NAME, TransformHook
from lth_det.errors import ScopeError
from lth_det.experiments.method_specs import Transform
from lth_det.pruning.rst import RstSchedule
from lth_det.tickets.mask import Mask

pytestmark = pytest.mark.d2
FOLDER = Path(__file__).parent
SCHEDULE = RstSchedule(ramp=8, hold=4, ceiling=2.0)


class Toy(nn.Module):
    """Two layers and a frozen one, with losses as Detectron2's models give them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, data):
        out = self.frozen(self.second(torch.tanh(self.first(data))))
        return {"loss": ((out - 1) ** 2).mean() * 20} if self.training else out


def mask_for(model, *, frozen=False):
    generator = torch.Generator().manual_seed(5)
    names = ["first.weight", "second.weight", *(["frozen.weight"] if frozen else [])]
    shapes = dict(model.named_parameters())
    return Mask({n: torch.rand(shapes[n].shape, generator=generator) > 0.6 for n in names})


def batches(size=4):
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(size, 6, generator=generator)


def transform(mask, *, decoupled=False, stop=0.0, ceiling=2.0):
    schedule = RstSchedule(ramp=8, hold=4, ceiling=ceiling)
    return Transform(
        mask=mask, schedule=schedule, decoupled=decoupled, stop_residual=stop, check_period=3
    )


def sgd(model, kind=torch.optim.SGD):
    return kind(
        [p for p in model.parameters() if p.requires_grad], lr=0.02, momentum=0.9, weight_decay=1e-2
    )


def trainer_with(model, hooks, *, data=None, kind=torch.optim.SGD):
    trainer = SimpleTrainer(model, data or batches(), sgd(model, kind))
    trainer.register_hooks(hooks)
    return trainer


def reference(*, clip=None, penalty=True, decoupled=False, steps=12):
    """Return the weights after the published update: lambda grows by a step each iteration, is added to the gradient."""
    model, lam = Toy(), 0.0
    mask, optimizer, data = mask_for(model), sgd(model), batches()
    ceiling = 0.5 if decoupled else 2.0
    for _ in range(steps):
        optimizer.zero_grad()
        model(next(data))["loss"].backward()
        lam = min(lam + ceiling / 8, ceiling)
        for name, parameter in model.named_parameters():
            if penalty and not decoupled and name in mask:
                parameter.grad += lam * parameter.data * ~mask[name]
            if clip and parameter.grad is not None:
                nn.utils.clip_grad_norm_([parameter], clip)
        optimizer.step()
        for name, parameter in model.named_parameters():
            if decoupled and name in mask:
                parameter.data *= 1 - lam * (~mask[name]).float()
    return model.state_dict()


def assert_near(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def differs(first, second):
    return any(not torch.allclose(first[name], second[name], atol=1e-3) for name in first)


def test_coupled_penalty_equals_the_published_update_in_detectron2():
    model = Toy()
    names = list(model.state_dict())
    trainer = trainer_with(model, [TransformHook(transform(mask_for(model)))])
    trainer.train(0, 12)
    assert_near(model.state_dict(), reference())
    assert differs(reference(), reference(penalty=False))
    assert list(model.state_dict()) == names
    assert trainer.storage.history(LOSS_NAME).latest() > 0
    # Nothing is left on the model, and evaluation never saw the penalty.
    assert not model._forward_hooks
    assert set(model(next(batches()))) == {"loss"}


def test_evaluation_and_losses_without_gradient_have_no_penalty():
    model = Toy()
    hook = TransformHook(transform(mask_for(model)))
    trainer = trainer_with(model, [hook])
    trainer.start_iter = trainer.iter = 0
    hook.before_train()
    hook.before_step()
    data = next(batches())
    assert set(model(data)) == {"loss", LOSS_NAME}
    with torch.no_grad():
        assert set(model(data)) == {"loss"}
    assert isinstance(model.eval()(data), torch.Tensor)
    hook.after_train()
    assert set(model.train()(data)) == {"loss"}


def test_clipping_sees_the_penalty_once_fresh_and_after_a_reload():
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.3
    model = Toy()
    kind = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    trainer = trainer_with(model, [TransformHook(transform(mask_for(model)))], kind=kind)
    trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())
    trainer.train(0, 12)
    assert_near(model.state_dict(), reference(clip=0.3))
    assert differs(reference(clip=0.3), reference())


def test_loss_scaling_scales_the_penalty_too():
    grads = []
    for scale in (1.0, 1024.0):
        model = Toy()
        hook = TransformHook(transform(mask_for(model)))
        trainer = trainer_with(model, [hook])
        hook.before_train()
        hook.before_step()
        (sum(model(next(batches())).values()) * scale).backward()
        grads.append({n: p.grad / scale for n, p in model.named_parameters() if p.grad is not None})
        hook.after_train()
        del trainer
    assert_near(*grads)


def test_decoupled_shrink_follows_the_step_and_is_in_the_saved_file(tmp_path):
    model = Toy()
    hooks = [
        TransformHook(transform(mask_for(model), decoupled=True, ceiling=0.5)),
        PeriodicCheckpointer(Checkpointer(model, str(tmp_path)), 1),
    ]
    trainer_with(model, hooks).train(0, 12)
    assert_near(model.state_dict(), reference(decoupled=True))
    saved = torch.load(tmp_path / "model_0000004.pth", weights_only=True)["model"]
    assert_near(saved, reference(decoupled=True, steps=5))


@pytest.mark.parametrize("decoupled", [False, True])
def test_extrusion_leaves_the_kept_weights_learning(decoupled):
    model = Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hook = TransformHook(
        transform(mask_for(model), decoupled=decoupled, ceiling=0.5 if decoupled else 20.0)
    )
    trainer_with(model, [hook]).train(0, 12)
    points = hook.details()["residuals"]
    assert [done for done, _, _ in points] == [0, 3, 6, 9, 12]
    strengths = [strength for _, strength, _ in points]
    assert strengths[0] == 0
    assert strengths[3] == strengths[4] == max(strengths)
    assert points[-1][2] < 0.6 * points[0][2]
    mask = mask_for(model)
    after = model.state_dict()
    for name, keep in mask.items():
        assert not torch.equal(after[name][keep], before[name][keep])
        assert bool((after[name][~keep] != 0).all())  # no hard mask yet


def test_frozen_weights_in_the_mask_are_refused():
    model = Toy()
    trainer = trainer_with(model, [TransformHook(transform(mask_for(model, frozen=True)))])
    with pytest.raises(ScopeError, match=r"frozen, so RST cannot empty them: frozen\.weight"):
        trainer.train(0, 1)
    assert not model._forward_hooks


def test_two_processes_count_the_penalty_once(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{FOLDER}:{FOLDER.parents[1]}",
        "PYTHONWARNINGS": "ignore",
    }
    commands = [
        [
            sys.executable,
            "rst_ddp.py",
            str(rank),
            "2",
            str(tmp_path / "meet"),
            str(tmp_path / "out"),
        ]
        for rank in (0, 1)
    ]
    processes = [
        subprocess.Popen(command, cwd=FOLDER, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-2000:]
    first, second = (torch.load(tmp_path / f"out.{rank}", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # Multiplied by the number of processes, or divided by it, it would be another network.
    assert_near(first, reference())
