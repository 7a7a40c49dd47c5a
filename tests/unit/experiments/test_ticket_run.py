import dataclasses
import json

import pytest
import torch
from test_imp import FACTS, PLAN, bits_equal, run
from toy_trainer import ToyTrainer, initial_state

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.ticket_run import TicketRun
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket


@pytest.fixture
def found(tmp_path):
    run(tmp_path / "imp", controls=())
    return load_ticket(tmp_path / "imp/round_02/ticket.safetensors")


def train(folder, ticket, trainer=None, **changes):
    trainer = trainer or ToyTrainer()
    plan = dataclasses.replace(PLAN, **{"controls": (), **changes})
    results = TicketRun(trainer, plan, RunDir(folder), FACTS, ticket=ticket)()
    return trainer, results


def test_training_a_ticket_equals_the_round_that_found_it(tmp_path, found):
    trainer, results = train(tmp_path / "again", found)
    assert trainer.log == ["ticket"]
    ours = torch.load(tmp_path / "again/ticket/model_final.pth", weights_only=True)["model"]
    theirs = torch.load(tmp_path / "imp/round_02/model_final.pth", weights_only=True)["model"]
    assert bits_equal(ours, theirs)
    row, expected = (
        results["rounds"][0],
        json.loads((tmp_path / "imp/results.json").read_text())["rounds"][2],
    )
    for key in (
        "round",
        "prune_rate",
        "sparsity",
        "ticket_sha256",
        "groups",
        "layers",
        "weights_sha256",
    ):
        assert row[key] == expected[key]
    assert results["controls"] == []
    assert results["complete"] is True
    copy = tmp_path / "again" / row["ticket"]
    assert copy.read_bytes() == (tmp_path / "imp/round_02/ticket.safetensors").read_bytes()


def test_a_mask_alone_starts_from_the_initialisation(tmp_path, found):
    trainer, _ = train(tmp_path / "again", dataclasses.replace(found, weights=None))
    start = initial_state(PLAN.seed)
    for name, keep in found.mask.items():
        assert torch.equal(trainer.starts["ticket"][name], start[name] * keep)


def test_a_finished_ticket_is_not_trained_again(tmp_path, found):
    train(tmp_path / "again", found)
    before = (tmp_path / "again/results.json").read_bytes()
    trainer, _ = train(tmp_path / "again", found)
    assert trainer.log == []
    assert (tmp_path / "again/results.json").read_bytes() == before


def test_a_ticket_of_another_model_or_scope_leaves_nothing_behind(tmp_path, found):
    other = Mask({**found.mask, "tail.weight": torch.ones(3) > 0})
    dense = Mask({**found.mask, "head.weight": torch.zeros(3, 6) > 0})
    for mask, kind, name in (
        (other, MaskMismatchError, "tail.weight"),
        (dense, ScopeError, "head.weight"),
    ):
        with pytest.raises(kind, match=name):
            train(tmp_path / "again", dataclasses.replace(found, mask=mask, weights=None))
    assert not (tmp_path / "again").exists()
