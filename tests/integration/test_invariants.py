"""The invariant pack passes on our code, and each of its checks fails on an implementation that is broken in its way."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lth_det.d2.checkpoint import unwrap
from lth_det.d2.hooks import MaskHook
from lth_det.d2.trainer import LotteryTrainer
from lth_det.errors import MaskMismatchError
from lth_det.testing import BrokenInvariantError, invariants
from lth_det.testing.detector import Detector
from lth_det.testing.plugin import make_detector
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable

pytestmark = [
    pytest.mark.d2,
    # Detectron2 leaves its writers' files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
SMALL = ("SOLVER.IMS_PER_BATCH", "2", "INPUT.MIN_SIZE_TRAIN", "(64,)")


class MaskAfterTheCheckpointer(LotteryTrainer):
    def build_hooks(self):
        hooks = super().build_hooks()
        masks = [hook for hook in hooks if isinstance(hook, MaskHook)]
        return [hook for hook in hooks if hook not in masks] + masks


class NoMask(LotteryTrainer):
    """Only the gradients are masked: momentum and decay bring the weights back."""

    def build_hooks(self):
        hooks = super().build_hooks()
        for hook in hooks:
            if isinstance(hook, MaskHook):
                hook.after_step = lambda: None
        return hooks

    def before_train(self):
        super().before_train()
        for group in self.optimizer.param_groups:
            for value in group["params"]:
                self.optimizer.state[value]["momentum_buffer"] = torch.ones_like(value)


class OtherRate(LotteryTrainer):
    @classmethod
    def build_optimizer(cls, cfg, model):
        optimizer = super().build_optimizer(cfg, model)
        for group in optimizer.param_groups:
            group["lr"] *= 1.0001
        return optimizer


class ForgetsTheOptimizer(LotteryTrainer):
    """What Detectron2 0.6 does."""

    def load_state_dict(self, state_dict):
        self.iteration = state_dict["iteration"]
        self.iter = state_dict["iteration"]


class MovesFrozen(LotteryTrainer):
    def after_train(self):
        for value in unwrap(self.model).parameters():
            if not value.requires_grad:
                value.data.add_(1.0)
        super().after_train()


class WithTrainer(Detector):
    def __init_subclass__(cls, trainer, **_):
        cls.trainer_type = trainer


class BehindTheCheckpointer(WithTrainer, trainer=MaskAfterTheCheckpointer):
    pass


class NeverHeld(WithTrainer, trainer=NoMask):
    pass


class FrozenMoves(WithTrainer, trainer=MovesFrozen):
    pass


class ChangesTraining(WithTrainer, trainer=OtherRate):
    pass


class ResumesWithoutMomentum(WithTrainer, trainer=ForgetsTheOptimizer):
    pass


class AliasedSnapshot(Detector):
    def capture(self, state):
        return dict(state)  # the predecessor's bug: the snapshot trains along


class RewindsToCopies(Detector):
    def rewind(self, model, snapshot):
        for name, value in snapshot.items():
            if name in dict(model.named_parameters()):
                owner, _, last = name.rpartition(".")
                setattr(model.get_submodule(owner), last, torch.nn.Parameter(value.clone()))
            else:
                model.get_buffer(name).copy_(value)


class NotNested(Detector):
    def decide(self, model, prune_rate, previous=None):
        return super().decide(model, prune_rate)


class TooMany(Detector):
    def decide(self, model, prune_rate, previous=None):
        return super().decide(model, min(1.0, prune_rate + 0.01), previous)


class CountsTwice(Detector):
    def build_model(self):
        model = super().build_model()
        model.alias = model.roi_heads.box_head.fc1  # a head that is used twice
        return model

    def decide(self, model, prune_rate, previous=None):
        return Mask.ones_like({"alias.weight": model.alias.weight})

    def table(self, model):
        table = super().table(model)
        twin = [e for e in table if e.name.endswith("fc1.weight")]
        return ParameterTable(
            [*table, *(dataclasses.replace(e, name="alias.weight") for e in twin)]
        )


class LenientLoading(Detector):
    def load_ticket(self, model, ticket):
        parameters = dict(model.named_parameters())
        for name in ticket.mask:
            if name in parameters and parameters[name].shape == ticket.mask.shapes[name]:
                parameters[name].data[~ticket.mask[name]] = 0.0


class NamesTheFirstOnly(Detector):
    def load_ticket(self, model, ticket):
        name = next(iter(ticket.mask))
        raise MaskMismatchError(f"{name} does not fit.", [name])


class HalfLoaded(Detector):
    def load_ticket(self, model, ticket):
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
        super().load_ticket(model, ticket)


def zeros(detector):
    invariants.test_zeros_stay_zeros_in_memory_and_in_every_file(detector, "momentum")


BROKEN = {
    BehindTheCheckpointer: (zeros, r"model_\d+\.pth.*pruned weights are not zero"),
    NeverHeld: (zeros, "after the last step: .* not zero"),
    FrozenMoves: (zeros, "moved frozen parameters"),
    ChangesTraining: (
        invariants.test_with_lth_disabled_training_equals_plain_detectron2,
        "Plain Detectron2's training and ours differ",
    ),
    ResumesWithoutMomentum: (
        invariants.test_resumed_training_equals_unbroken_training,
        "Unbroken and resumed training differ",
    ),
    AliasedSnapshot: (invariants.test_the_rewind_state_is_a_clone, "shares its memory"),
    RewindsToCopies: (invariants.test_the_rewind_state_is_a_clone, "replaced parameters"),
    NotNested: (invariants.test_masks_are_nested, "keeps weights that mask 0 pruned"),
    TooMany: (invariants.test_masks_are_nested, "has the prune rate"),
    CountsTwice: (
        invariants.test_shared_parameters_are_counted_and_masked_once,
        "one tensor twice",
    ),
    LenientLoading: (
        invariants.test_a_ticket_of_another_model_is_refused_with_all_differences,
        "A ticket of another model was loaded",
    ),
    NamesTheFirstOnly: (
        invariants.test_a_ticket_of_another_model_is_refused_with_all_differences,
        "does not name not_there",
    ),
    HalfLoaded: (
        invariants.test_a_ticket_of_another_model_is_refused_with_all_differences,
        "before and after the refusal differ",
    ),
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_each_check_fails_on_what_it_is_there_for(kind, tmp_path):
    check, words = BROKEN[kind]
    options = ("MODEL.BACKBONE.FREEZE_AT", "2") if kind is FrozenMoves else ()
    detector = kind(
        str(ROOT / "configs/quick/faster_rcnn_imp.yaml"),
        tmp_path,
        options=(*SMALL, *options),
        steps=3,
    )
    with pytest.raises(BrokenInvariantError, match=words):
        check(detector)


def test_the_pytest_run_passes_on_a_configuration():
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
    ]
    command += [
        "-W",
        "ignore",
        "-p",
        "lth_det.testing.plugin",
        "--pyargs",
        "lth_det.testing.invariants",
    ]
    command += [
        "--lth-config",
        str(ROOT / "configs/quick/faster_rcnn_imp.yaml"),
        "--lth-steps",
        "2",
    ]
    done = subprocess.run(
        [*command, "--lth-options", " ".join(SMALL)], cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "10 passed" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"--lth-config": None, "--lth-steps": 4}, "--lth-config is missing"),
        ({"--lth-config": "x.yaml", "--lth-steps": 1}, "at least 2"),
    ],
)
def test_a_run_without_its_options_says_so(options, words, tmp_path):
    class Settings:
        getoption = options.get

    with pytest.raises(pytest.UsageError, match=words):
        make_detector(Settings(), tmp_path)
