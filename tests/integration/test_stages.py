"""What a stage starts from: weights, place in the schedule, files of an earlier try."""

import json

import pytest
import torch
from small_cfg import small_cfg

from lth_det.d2 import stages as stages_module
from lth_det.d2.communicator import Processes
from lth_det.d2.evaluation import flatten_metrics, stage_metrics
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.plan import imp_plan
from lth_det.d2.progress import ProgressHook, RunProgress
from lth_det.d2.stages import DetectorStages
from lth_det.d2.trainer import LotteryTrainer, gradients_masked
from lth_det.experiments.protocols import Stage
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.ticket import Provenance, Ticket

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PRUNED = "backbone.fpn_lateral5.weight"


class ReadyError(Exception):
    """The trainer is ready; nothing more is wanted of it."""


@pytest.fixture
def ready(monkeypatch):
    """Let a stage stop right before its first step, and keep the trainer."""
    trainers = []

    class Ready(LotteryTrainer):
        def train(self):
            trainers.append(self)
            raise ReadyError

    monkeypatch.setattr(stages_module, "LotteryTrainer", Ready)

    def start(cfg, *, resume=False, **fields):
        stage = Stage(
            **{
                "name": "round_01",
                "folder": cfg_folder(cfg) / "round_01",
                "ticket": None,
                "seed": 1,
                **fields,
            }
        )
        with pytest.raises(ReadyError):
            DetectorStages(cfg, resume=resume).train(stage)
        return trainers.pop()

    return start


def cfg_folder(cfg):
    return stages_module.Path(cfg.OUTPUT_DIR)


def ticket_of(cfg, *, with_weights=True):
    torch.manual_seed(99)
    model = LotteryTrainer.build_model(cfg)
    weights = capture_weights(model.state_dict())
    mask = Mask({PRUNED: torch.rand(weights[PRUNED].shape) > 0.5})
    provenance = Provenance("magnitude", "global", 0.5, {}, 0.1, 1, None, "shapes", "", 1, "init")
    return Ticket(mask, weights if with_weights else None, provenance)


def parameters(trainer):
    return capture_weights(trainer.model.state_dict())


def test_a_ticket_with_weights_wins_over_the_named_weights_and_a_mask_alone_does_not(
    tmp_path, ready
):
    cfg = small_cfg(tmp_path)
    start = parameters(ready(cfg))
    torch.save({"model": {PRUNED: torch.full_like(start[PRUNED], 3.0)}}, tmp_path / "weights.pth")
    named = small_cfg(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "weights.pth"))
    ticket = ticket_of(cfg)
    loaded = parameters(ready(named, ticket=ticket))
    for name, value in ticket.weights.items():
        assert torch.equal(
            loaded[name], value * ticket.mask[name] if name in ticket.mask else value
        )
    mask_only = ticket_of(cfg, with_weights=False)
    loaded = parameters(ready(named, ticket=mask_only))
    assert torch.equal(loaded[PRUNED], 3.0 * mask_only.mask[PRUNED])
    others = start.keys() - {PRUNED}
    assert all(torch.equal(loaded[name], start[name]) for name in others)


def test_the_initialisation_follows_its_own_seed_and_the_data_the_other(tmp_path, ready):
    cfg = small_cfg(tmp_path)
    first, fresh, other = (ready(cfg), ready(cfg, init_seed=7), ready(cfg, seed=7))
    assert not torch.equal(parameters(first)[PRUNED], parameters(fresh)[PRUNED])
    assert torch.equal(parameters(fresh)[PRUNED], parameters(other)[PRUNED])
    names = [
        [item["file_name"] for item in next(trainer._trainer._data_loader_iter)]
        for trainer in (first, fresh, other)
    ]
    assert names[0] == names[1] != names[2]


def test_a_later_start_takes_place_in_the_schedule(tmp_path, ready):
    cfg = small_cfg(
        tmp_path, "SOLVER.WARMUP_ITERS", "1", "LTH.RETRAIN_OPTS", "['SOLVER.BASE_LR', 0.5]"
    )
    late, whole = (
        ready(cfg, ticket=ticket_of(cfg), start_iteration=2),
        ready(cfg, ticket=ticket_of(cfg)),
    )
    assert (late.start_iter, whole.start_iter) == (2, 0)
    rate, first = (trainer.optimizer.param_groups[0]["lr"] for trainer in (late, whole))
    assert first == pytest.approx(0.5 * cfg.SOLVER.WARMUP_FACTOR)
    assert rate == pytest.approx(0.25)  # half of the cosine
    assert late.cfg.SOLVER.BASE_LR == 0.5
    assert ready(cfg).cfg.SOLVER.BASE_LR != 0.5  # the dense round is trained as configured


def test_what_an_earlier_try_left_is_forgotten_unless_resumed(tmp_path, ready):
    cfg = small_cfg(tmp_path)
    folder = tmp_path / "round_01"
    trainer = ready(cfg)
    trainer.iter = 1
    trainer.checkpointer.save("model_0000001", iteration=1)
    (folder / "metrics.json").write_text('{"iteration": 1}\n')
    assert ready(cfg, resume=True).start_iter == 2
    assert "iteration" in (folder / "metrics.json").read_text()
    assert ready(cfg).start_iter == 0
    assert not (folder / "last_checkpoint").exists()
    assert (folder / "metrics.json").read_text() == ""


def test_the_plan_is_what_the_keys_say(tmp_path):
    rates = (
        "LTH.GROUP_PRUNE_RATE.FPN",
        "0.25",
        "LTH.GROUP_PRUNE_RATE.RPN",
        "0.0",
        "LTH.TARGETS",
        "()",
    )
    cfg = small_cfg(
        tmp_path, *rates, "LTH.ROUNDS", "2", "LTH.PRUNE_RATE", "0.75", "LTH.REWIND.SCHEDULE", "full"
    )
    plan = imp_plan(cfg)
    assert plan.prune_rates == pytest.approx((0.5, 0.75))
    assert plan.group_prune_rates == {"fpn": 0.25}
    assert plan.start_iteration == 0
    table = parameter_table_from_cfg(cfg, LotteryTrainer.build_model(cfg))
    prunable = {table.group_of[name] for name in table.prunable_names}
    assert prunable == {
        "backbone",
        "fpn",
        "box_head",
    }  # 0 stays dense, -1 shares, 0.25 is prunable too


@pytest.mark.parametrize(
    ("kind", "start"), [("iteration", 3), ("final", 3), ("init", 0), ("pretrained", 0)]
)
def test_the_rest_of_the_schedule_begins_where_the_weights_are_from(tmp_path, kind, start):
    (tmp_path / "w.pth").touch()
    cfg = small_cfg(tmp_path, "LTH.REWIND.TO", kind, "LTH.REWIND.ITERATION", "3", "LTH.REWIND.SCHEDULE", "remaining",
                    "MODEL.WEIGHTS", str(tmp_path / "w.pth"))  # fmt: skip
    plan = imp_plan(cfg)
    assert plan.start_iteration == start
    assert plan.rewind_weights == cfg.MODEL.WEIGHTS


def test_gradients_are_masked_where_clipping_would_see_them(tmp_path):
    for choice, clipping, expected in (
        ("auto", False, False),
        ("auto", True, True),
        ("always", False, True),
        ("never", True, False),
    ):
        cfg = small_cfg(
            tmp_path, "LTH.MASK_GRADIENTS", choice, "SOLVER.CLIP_GRADIENTS.ENABLED", str(clipping)
        )
        assert gradients_masked(cfg) is expected


@pytest.mark.parametrize(
    ("options", "kind"),
    [((), "AdamW"), (("LTH.OPTIMIZER", "SGD"), "SGD"), (("LTH.ENABLED", "False"), "SGD")],
)
def test_the_optimizer_is_the_one_named_and_detectron2s_without_lottery(tmp_path, options, kind):
    cfg = small_cfg(tmp_path, *options)
    optimizer = LotteryTrainer.build_optimizer(cfg, LotteryTrainer.build_model(cfg))
    assert type(optimizer).__name__ == kind


def test_the_first_of_several_datasets_gives_the_plain_names():
    results = {"a": {"bbox": {"AP": 1.0}}, "b": {"bbox": {"AP": 2.0}}}
    assert stage_metrics(results, ("a", "b")) == {"bbox/AP": 1.0, "b/bbox/AP": 2.0}
    assert (
        stage_metrics(results["a"], ("a",))
        == flatten_metrics({"bbox": {"AP": 1.0}})
        == {"bbox/AP": 1.0}
    )
    assert stage_metrics(None, ("a",)) == {}


class Trainer:
    def __init__(self, start, end):
        self.start_iter, self.iter, self.max_iter = start, start, end


def test_progress_counts_all_stages_and_what_a_resumed_one_has_behind_it(caplog, monkeypatch):
    now = iter(float(value) for value in range(100))
    monkeypatch.setattr("lth_det.d2.progress.time.perf_counter", lambda: next(now))
    progress = RunProgress(total=20)
    assert progress.eta() is None
    hook = ProgressHook(progress, "round_01", period=3.0)
    hook.trainer = Trainer(5, 10)
    with caplog.at_level("INFO", logger="lth_det.d2.progress"):
        hook.before_train()
        for hook.trainer.iter in range(5, 10):
            hook.after_step()
        hook.after_train()
    assert progress.done == 10
    assert progress.eta() == pytest.approx(
        10 * 6.0 / 5
    )  # five steps and an evaluation took a second each
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2  # at most one in three seconds, and the last
    assert "whole run  50 %  |  round_01, iteration 10 of 10  |  ETA 0:12 min" in lines[-1]


def test_one_process_agrees_with_itself():
    alone = Processes()
    assert alone.is_main
    assert alone.on_main(lambda: b"\x00mask") == b"\x00mask"
    alone.agree("x", "anything")
    with pytest.raises(ZeroDivisionError):
        alone.on_main(lambda: json.dumps(1 / 0).encode())
