import dataclasses
import json

import pytest
import torch
from detectron2.engine import HookBase
from small_cfg import small_cfg

from lth_det.d2.metrics_file import trim_metrics
from lth_det.d2.trainer import LotteryTrainer, RoundOptions
from lth_det.errors import RunError

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclasses.dataclass
class Spoil(HookBase):
    """Puts a NaN into one weight after a step, ahead of or behind the checkpointer."""

    iteration: int
    name: str

    def after_step(self):
        if self.trainer.iter == self.iteration:
            with torch.no_grad():
                dict(self.trainer.model.named_parameters())[self.name].view(-1)[0] = float("nan")


def trainer(folder, *options, hooks=(), evaluated=None):
    made = LotteryTrainer(small_cfg(folder, *options), RoundOptions(seed=1, extra_hooks=hooks))
    made.test = lambda *_: (evaluated if evaluated is not None else []).append(1) or {}
    return made


@pytest.mark.parametrize(
    "name", ["roi_heads.box_predictor.cls_score.weight", "backbone.fpn_output2.weight"]
)
def test_a_loss_that_is_not_finite_stops_with_iteration_losses_and_last_checkpoint(tmp_path, name):
    evaluated = []
    # The checkpoint of step 1 is written first; step 2 reads the NaN; it is not the last step's evaluation that says so.
    made = trainer(tmp_path, "SOLVER.MAX_ITER", "3", hooks=[Spoil(1, name)], evaluated=evaluated)
    with pytest.raises(RunError, match=r"diverged at iteration 2 \(") as error:
        made.train()
    text = str(error.value)
    assert "loss_cls" in text
    assert "np.float" not in text
    assert str(tmp_path / "model_0000001.pth") in text
    assert not (tmp_path / "model_final.pth").exists()
    assert evaluated == []  # although it failed in the last step, after which Detectron2 evaluates
    weights = torch.load(tmp_path / "model_0000001.pth", weights_only=True)["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    made = trainer(tmp_path)
    made._hooks.insert(1, Spoil(3, "backbone.fpn_output2.weight"))
    made._hooks[1].trainer = made
    with pytest.raises(
        RunError, match=r"after iteration 3 the values of backbone\.fpn_output2\.weight"
    ):
        made.train()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["model_0000001.pth"]


def test_plain_training_keeps_detectron2s_error(tmp_path):
    made = LotteryTrainer(small_cfg(tmp_path, "LTH.ENABLED", "False"))
    made.test = lambda *_: {}
    made.register_hooks([Spoil(0, "roi_heads.box_predictor.cls_score.weight")])
    with pytest.raises(FloatingPointError):
        made.train()


def test_metrics_are_cut_where_training_goes_on(tmp_path):
    file = tmp_path / "metrics.json"
    trim_metrics(file, 3)
    lines = [json.dumps({"iteration": number, "loss": 1.0}) + "\n" for number in (1, 2, 3, 4)]
    file.write_text("".join(lines))
    trim_metrics(file, 3)
    assert file.read_text() == "".join(lines[:2])
    file.write_text(lines[0] + lines[1][:9])
    trim_metrics(file, 3)
    assert file.read_text() == lines[0]
