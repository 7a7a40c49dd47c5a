"""Early-bird masks: when they are stable, and how they compare with the final one."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from test_imp import FACTS, PLAN
from toy_trainer import GROUPS, STEPS, ToyTrainer, initial_state

from lth_det.errors import ConfigError
from lth_det.experiments.decide import decide_mask
from lth_det.experiments.early_bird import (
    EarlyBirdPlan,
    EarlyBirdRun,
    early_bird_record,
    is_stable,
    mask_distance,
)
from lth_det.experiments.protocols import StageResult
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.snapshot import save_snapshot
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.serialization import load_ticket

EARLY = EarlyBirdPlan(period=1, prune_rate=None, patience=2, threshold=0.2, stop=False)
PLAN = dataclasses.replace(PLAN, prune_rates=(0.75,), group_prune_rates={}, controls=())


def mask(*bits):
    return Mask({"a": torch.tensor(bits, dtype=torch.bool)})


@dataclasses.dataclass
class EarlyToy(ToyTrainer):
    """Its weights move less and less, so that the mask becomes stable."""

    methods = frozenset({"early_bird"})

    def train(self, stage):
        if stage.early_bird is None:
            return super().train(stage)
        self.log.append(stage.name)
        stage.folder.mkdir(parents=True, exist_ok=True)
        state, done = initial_state(stage.seed), 0
        while done < STEPS:
            if done == stage.snapshot_iteration:
                save_snapshot(stage.snapshot, capture_weights(state), iteration=done)
            done += 1
            generator = torch.Generator().manual_seed(done)
            for name in sorted(state):
                state[name] += 2.0 / 4**done * torch.randn(state[name].shape, generator=generator)
            spec = stage.early_bird
            if done % spec.period == 0 or done == STEPS:
                stable = spec.record(state, done)
                if stable and spec.stop and done >= spec.earliest:
                    break
        torch.save({"model": state}, stage.folder / "model_final.pth")
        return StageResult(
            stage.folder / "model_final.pth", {"bbox/AP": 1.0}, None, 1.0, iterations=done
        )


def run(folder, trainer=None, *, plan=PLAN, **changes):
    trainer = trainer or EarlyToy()
    early = dataclasses.replace(EARLY, **changes)
    results = EarlyBirdRun(trainer, plan, RunDir(folder), FACTS, early=early)()
    return results, json.loads((folder / "early_bird.json").read_text())


def test_distance_is_the_share_of_elements_that_differ():
    assert mask_distance(mask(1, 1, 0, 0), mask(1, 0, 1, 0)) == 0.5
    assert mask_distance(mask(1, 0), mask(1, 0)) == 0
    assert mask_distance(mask(1, 0), mask(0, 1)) == 1


def test_stable_means_near_to_each_of_the_last_masks():
    far, near, same = mask(0, 0, 1, 1), mask(1, 0, 0, 1), mask(1, 1, 0, 0)
    assert not is_stable([same, same], patience=2, threshold=0.1)  # not enough of them
    assert is_stable([same, same, same], patience=2, threshold=0.1)
    assert not is_stable([far, same, same], patience=2, threshold=0.1)
    assert is_stable([far, same, same, same], patience=2, threshold=0.1)  # far has left the queue
    assert not is_stable([near, same, same], patience=2, threshold=0.5)  # 0.5 is not below 0.5
    assert is_stable([near, same, same], patience=2, threshold=0.51)


def test_record_against_counting():
    generator = np.random.default_rng(0)
    arrays = [generator.random(1000) < 0.2 for _ in range(3)]
    masks = {10 * (i + 1): Mask({"a": torch.from_numpy(x)}) for i, x in enumerate(arrays)}
    record = early_bird_record(masks, {"a": "fpn"}, patience=1, threshold=0.01)
    assert (record["final_iteration"], record["stable_at"]) == (30, None)
    first, _, last = record["points"]
    for name, one, two in (("kept", arrays[0], arrays[2]), ("pruned", ~arrays[0], ~arrays[2])):
        iou = (one & two).sum() / (one | two).sum()
        p, q = one.mean(), two.mean()
        chance = p * q / (p + q - p * q)
        assert first[f"iou_{name}"] == pytest.approx(iou)
        assert first[f"chance_{name}"] == pytest.approx(chance)
        if name == "kept":
            assert first["kappa"] == pytest.approx((iou - chance) / (1 - chance))
    # Random masks of this density: the pruned sets look alike, and are not.
    assert first["iou_pruned"] > 0.6
    assert abs(first["kappa"]) < 0.1
    assert first["iou_previous"] is None
    assert last["iou_kept"] == last["kappa"] == 1
    assert last["distance_previous"] == pytest.approx((arrays[1] != arrays[2]).mean())
    assert first["groups"]["fpn"]["kappa"] == first["kappa"]
    assert first["to"] == "final"


def test_a_run_writes_the_masks_and_goes_on_with_its_rounds(tmp_path):
    results, found = run(tmp_path)
    assert [record["stage"] for record in results["rounds"]] == ["round_00", "round_01"]
    assert found["prune_rate"] == 0.75
    assert found["final_iteration"] == STEPS
    assert [point["iteration"] for point in found["points"]] == [1, 2, 3, 4, 5, 6]
    # The last mask is the one that the round was pruned to.
    last = load_ticket(tmp_path / found["points"][-1]["ticket"])
    assert last.mask == load_ticket(tmp_path / "round_01/ticket.safetensors").mask
    assert last.weights is None
    kappas = [point["kappa"] for point in found["points"]]
    assert kappas[-1] == 1 > kappas[0]
    masks = [load_ticket(tmp_path / point["ticket"]).mask for point in found["points"]]
    expected = next(i + 1 for i in range(6) if is_stable(masks[: i + 1], patience=2, threshold=0.2))
    assert found["stable_at"] == expected
    assert (
        set(found["points"][0]["groups"])
        == {"backbone", "fpn"}
        == set(GROUPS.values()) - {"predictors"}
    )
    assert run(tmp_path, trainer := EarlyToy()) == (results, found)
    assert trainer.log == []


def test_stopping_draws_the_ticket_where_the_mask_is_stable(tmp_path):
    _, whole = run(tmp_path / "whole")
    results, found = run(tmp_path / "stopped", stop=True)
    assert found["final_iteration"] == found["stable_at"] == whole["stable_at"] < STEPS
    weights = torch.load(tmp_path / "stopped/round_00/model_final.pth", weights_only=True)["model"]
    mask = decide_mask(weights, ToyTrainer().table, PLAN, 1, None)
    assert load_ticket(tmp_path / "stopped/round_01/ticket.safetensors").mask == mask
    assert len(results["rounds"]) == 2


def test_another_rate_and_what_is_refused(tmp_path):
    _, found = run(tmp_path / "a", prune_rate=0.5)
    assert found["prune_rate"] == 0.5
    assert load_ticket(tmp_path / "a" / found["points"][0]["ticket"]).mask.prune_rate == 0.5
    with pytest.raises(ConfigError, match="cannot do the method 'early_bird'"):
        run(tmp_path / "b", ToyTrainer())
