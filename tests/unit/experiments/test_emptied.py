import dataclasses
import logging

import pytest
import torch
from test_imp import FACTS, PLAN
from toy_trainer import ToyTrainer, initial_state

from lth_det.experiments.emptied import emptied
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.run_dir import RunDir
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterEntry, ParameterTable


def entry(name, group, *, prunable=True):
    return ParameterEntry(
        name=name,
        shape=(2, 3),
        numel=6,
        group=group,
        prunable=prunable,
        frozen=False,
        reason="" if prunable else "bias",
    )


TABLE = ParameterTable(
    [
        entry("a", "backbone"),
        entry("b", "backbone"),
        entry("c", "rpn"),
        entry("d", "rpn", prunable=False),
    ]
)


def mask(**kept):
    return Mask({name: torch.full((2, 3), value, dtype=torch.bool) for name, value in kept.items()})


def test_a_layer_is_named_alone_and_a_group_in_place_of_its_layers():
    assert emptied(TABLE, mask(a=True, b=True, c=True)) == []
    assert emptied(TABLE, mask(a=True, b=False, c=True)) == ["layer b"]
    assert emptied(TABLE, mask(a=False, b=False, c=True)) == ["group backbone"]
    assert emptied(TABLE, mask(a=False, b=True, c=False)) == ["layer a", "group rpn"]


def test_one_kept_weight_is_enough():
    one = torch.zeros(2, 3, dtype=torch.bool)
    one[1, 2] = True
    assert emptied(TABLE, Mask({"a": one, "c": one})) == []


class WeakNeck(ToyTrainer):
    """Its dense round ends with weights of the neck that are smaller than all others; no pruned round is trained."""

    def load_weights(self, path):
        weights = super().load_weights(path)
        return {**weights, "neck.weight": 1e-6 * initial_state(1)["neck.weight"]}


def test_what_a_mask_empties_is_named_before_its_round_is_trained(tmp_path, caplog):
    trainer = WeakNeck(fail_in="round_01")
    plan = dataclasses.replace(PLAN, prune_rates=(0.5,), controls=())
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match="went away"):
        ImpRun(trainer, plan, RunDir(tmp_path), FACTS)()
    assert trainer.log == ["round_00", "round_01"]
    assert "round_01: the mask keeps no weight of group fpn" in caplog.text
