"""Every mask is compared between the processes of a run before anything is trained with it."""

import dataclasses

import pytest
from test_imp import FACTS, PLAN
from toy_trainer import ToyTrainer

from lth_det.errors import RunError
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.protocols import SingleProcess
from lth_det.experiments.run_dir import RunDir
from lth_det.tickets.serialization import load_ticket


class Noting(SingleProcess):
    """Notes what is compared, and finds the masks whose name holds a word different."""

    def __init__(self, different="nothing"):
        self.seen, self.different = [], different

    def agree(self, value, what):
        self.seen.append((what, value))
        if self.different in what:
            raise RunError(f"{what} differs between processes.")


def run(folder, communicator):
    trainer = ToyTrainer()
    parts = trainer, dataclasses.replace(PLAN, controls=("random_layer_ratios",)), RunDir(folder)
    return trainer, ImpRun(*parts, FACTS, communicator)


def test_the_mask_of_every_round_and_control_is_compared(tmp_path):
    noting = Noting()
    _, imp = run(tmp_path, noting)
    imp()
    found = dict(noting.seen)
    for stage in ("round_01", "round_02", "round_02_random_layer_ratios"):
        ticket = load_ticket(tmp_path / stage / "ticket.safetensors")
        assert found[f"The mask of {stage}"] == ticket.mask.sha256()


def test_a_mask_that_differs_is_not_trained_with(tmp_path):
    trainer, imp = run(tmp_path, Noting("round_01"))
    with pytest.raises(RunError, match="round_01 differs between processes"):
        imp()
    assert trainer.log == ["round_00"]
