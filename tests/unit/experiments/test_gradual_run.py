"""Gradual pruning on a toy: the curve, nested masks, groups with their own rates."""

import dataclasses
import itertools

import pytest
import torch
from test_imp import FACTS, PLAN
from toy_trainer import STEPS, ToyTrainer, initial_state

from lth_det.errors import ConfigError
from lth_det.experiments.gradual_run import GradualPlan, GradualRun
from lth_det.experiments.method_specs import GradualPruning
from lth_det.experiments.protocols import StageResult
from lth_det.experiments.run_dir import RunDir
from lth_det.tickets.apply import apply_mask_, count_revived
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.serialization import load_ticket

PLAN = dataclasses.replace(
    PLAN, prune_rates=(0.75,), group_prune_rates={"fpn": 0.5}, controls=(), rewind_to="final"
)
GRADUAL = GradualPlan(begin=0.0, end=4 / 6, period=2)


@dataclasses.dataclass
class GradualToy(ToyTrainer):
    methods = frozenset({"gradual"})
    masks: list = dataclasses.field(default_factory=list)

    def train(self, stage):
        self.log.append(stage.name)
        stage.folder.mkdir(parents=True, exist_ok=True)
        state, mask = initial_state(stage.seed), None
        for done in range(1, STEPS + 1):
            generator = torch.Generator().manual_seed(done)
            for name in sorted(state):
                state[name] += 0.3 * torch.randn(state[name].shape, generator=generator)
            if mask is not None:
                apply_mask_(state, mask)
            if stage.gradual.due(done, STEPS):
                progress = stage.gradual.progress(done, STEPS)
                mask = stage.gradual.decide(capture_weights(state), progress, mask)
                apply_mask_(state, mask)
                self.masks.append((done, mask))
        weights = stage.folder / "model_final.pth"
        torch.save({"model": state}, weights)
        return StageResult(weights, {"bbox/AP": 1.0}, None, 1.0, iterations=STEPS, mask=mask,
                           details={"prunings": [[d, m.prune_rate] for d, m in self.masks]})  # fmt: skip


def run(folder, trainer=None, *, plan=PLAN, gradual=GRADUAL):
    trainer = trainer or GradualToy()
    return GradualRun(trainer, plan, RunDir(folder), FACTS, gradual=gradual)(), trainer


def test_the_curve_is_that_of_zhu_and_gupta():
    plan = GradualPlan(begin=0.25, end=0.75, period=1, initial=0.2)
    # 0.8 + (0.2 - 0.8) * (1 - t)^3 for t = 0, 1/4, 1/2, 3/4, 1
    expected = [0.2, 0.546875, 0.725, 0.790625, 0.8]
    assert [plan.rate(0.8, p) for p in (0.25, 0.375, 0.5, 0.625, 0.75)] == pytest.approx(expected)
    assert plan.rate(0.8, 0.2) == 0
    assert plan.rate(0.8, 0.9) == 0.8
    assert plan.rate(0.1, 0.25) == 0.1  # a group that ends below the start of the others


def test_moments():
    spec = GradualPruning(begin=0.1, end=0.7, period=3, decide=lambda *_: None)
    assert [done for done in range(13) if spec.due(done, 12)] == [1, 4, 7, 8]  # 0.7 of 12 is 8
    assert spec.progress(1, 12) == 0.1
    assert spec.progress(8, 12) == 0.7
    assert spec.progress(4, 12) == pytest.approx(0.1 + 3 / 7 * 0.6)
    early = GradualPruning(begin=0.0, end=0.01, period=1, decide=lambda *_: None)
    assert [done for done in range(13) if early.due(done, 12)] == [1]
    assert early.progress(1, 12) == 0.01


def test_a_run_ends_at_the_rates_with_nested_masks(tmp_path):
    results, trainer = run(tmp_path)
    (record,) = results["rounds"]
    assert (record["stage"], record["round"], results["complete"]) == ("gradual", 1, True)
    assert [done for done, _ in trainer.masks] == [1, 3, 4]
    masks = [mask for _, mask in trainer.masks]
    for before, after in itertools.pairwise(masks):
        assert after.is_nested_in(before)
        assert after.kept < before.kept
    assert [masks[-1].kept_in(name) for name in ("body.weight", "neck.weight")] == [72, 24]
    # Both groups at the same place of their own curves: two thirds of the way, 1 - (1/3)^3 of the rate.
    share = 1 - (1 / 3) ** 3
    middle = [288 - round(288 * 0.75 * share), 48 - round(48 * 0.5 * share)]
    assert [masks[1].kept_in(name) for name in ("body.weight", "neck.weight")] == middle
    ticket = load_ticket(tmp_path / record["ticket"])
    assert ticket.mask == masks[-1]
    final = torch.load(tmp_path / record["weights"], weights_only=True)["model"]
    assert count_revived(final, ticket.mask) == 0
    assert all(torch.equal(ticket.weights[name], value) for name, value in final.items())
    assert record["gradual"]["prunings"][-1] == [4, ticket.mask.prune_rate]
    again, trainer = run(tmp_path)
    assert (again, trainer.log) == (results, [])


def test_what_cannot_be_done_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot do the method 'gradual'"):
        run(tmp_path, ToyTrainer())
    with pytest.raises(
        ConfigError, match=r"INITIAL is 0\.9, above the prune rate at the end, 0\.75"
    ):
        run(tmp_path, gradual=dataclasses.replace(GRADUAL, initial=0.9))
    with pytest.raises(ConfigError, match="SCOPE sensitivity"):
        run(tmp_path, plan=dataclasses.replace(PLAN, scope="sensitivity"))
    with pytest.raises(ConfigError, match="MASK_FROM start is not for it"):
        run(tmp_path, plan=dataclasses.replace(PLAN, mask_from="start"))
