"""RST, gradual pruning and early bird with Detectron2: a stage that is stopped and resumed ends in the same bits."""

import dataclasses
import json
import shutil

import pytest
import torch
from detectron2.engine import HookBase
from small_cfg import ROOT, small_cfg

from lth_det.cli.train_net import build_parser, run
from lth_det.d2 import stages as stages_module
from lth_det.d2.config_methods import method_identity
from lth_det.d2.plan import imp_plan
from lth_det.d2.plan_methods import (
    check_methods,
    early_bird_plan,
    gradual_plan,
    rst_plan,
    transform_cfg,
)
from lth_det.d2.run import prepare, run_settings
from lth_det.d2.stages import DetectorStages
from lth_det.errors import ConfigError, RunError
from lth_det.experiments.early_bird import EarlyBirdRun
from lth_det.experiments.gradual_run import GradualRun
from lth_det.experiments.rst_run import RstRun
from lth_det.experiments.run_dir import RunDir
from lth_det.tickets.apply import count_revived
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, save_ticket
from lth_det.tickets.ticket import Provenance, Ticket

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FAST = (
    "LTH.ATTRIBUTE_AP",
    "False",
    "SOLVER.MAX_ITER",
    "6",
    "LTH.PRUNE_RATE",
    "0.6",
    "LTH.TARGETS",
    "()",
)


class PowerCut(HookBase):
    """Ends the process, so to say, after the step with this number in the stage with this name."""

    at: tuple[str, int] | None = None

    def __init__(self, _progress, stage):
        self._stage = stage

    def after_step(self):
        if self.at == (self._stage, self.trainer.iter + 1):
            raise RuntimeError("power cut")


@pytest.fixture
def cut(monkeypatch):
    monkeypatch.setattr(stages_module, "ProgressHook", PowerCut)

    def at(stage, done):
        monkeypatch.setattr(PowerCut, "at", (stage, done))

    return at


def rst(cfg, folder, *, resume=False):
    plan = dataclasses.replace(imp_plan(cfg), rewind_to="final", rewind_iteration=0)
    return RstRun(DetectorStages(cfg, resume=resume), plan, RunDir(folder), {}, rst=rst_plan(cfg))()


def gradual(cfg, folder, *, resume=False):
    parts = DetectorStages(cfg, resume=resume), imp_plan(cfg), RunDir(folder), {}
    return GradualRun(*parts, gradual=gradual_plan(cfg))()


def early(cfg, folder, *, resume=False):
    parts = DetectorStages(cfg, resume=resume), imp_plan(cfg), RunDir(folder), {}
    return EarlyBirdRun(*parts, early=early_bird_plan(cfg))()


def bits(folder, *names):
    return {name: (folder / name).read_bytes() for name in names}


def test_a_transformation_stopped_by_its_residual_is_resumed_to_the_bit(tmp_path, cut):
    options = (*FAST, "LTH.METHOD", "rst", "LTH.RST.CHECK_PERIOD", "1", "LTH.RST.STOP_RESIDUAL", "0.5",
               "LTH.RST.CEILING", "0.2", "SOLVER.CHECKPOINT_PERIOD", "2")  # fmt: skip
    cfg = small_cfg(tmp_path / "whole", *options)
    whole = rst(cfg, tmp_path / "whole")
    (cycle,) = whole["rounds"][0]["transform"]["cycles_done"]
    # In the hold, before its end.
    assert cycle["stopped_early"] is True
    assert 3 < cycle["iterations"] < cycle["planned_iterations"] == 6
    assert cycle["residual_end"] <= 0.5 < cycle["residuals"][-2][2]
    assert cycle["residual_start"] == pytest.approx(0.6**0.5, abs=0.01)
    stop = cycle["iterations"]
    names = (
        "results.json",
        "rst/ticket.safetensors",
        "rst/model_final.pth",
        "rst/transform_01/model_final.pth",
    )

    # In the middle; and after the last step was saved, before anything was noted of it.
    broken = small_cfg(tmp_path / "broken", *options)
    cut("rst/transform_01", 3)
    with pytest.raises(RuntimeError, match="power cut"):
        rst(broken, tmp_path / "broken")
    checkpoint = tmp_path / "broken/rst/transform_01/last_checkpoint"
    assert checkpoint.read_text() == "model_0000001.pth"
    cut("rst/transform_01", stop)
    with pytest.raises(RuntimeError, match="power cut"):
        rst(broken, tmp_path / "broken", resume=True)
    assert checkpoint.read_text() == "model_final.pth"
    cut("", 0)
    rst(broken, tmp_path / "broken", resume=True)
    assert bits(tmp_path / "whole", *names) == bits(tmp_path / "broken", *names)
    ticket = load_ticket(tmp_path / "whole/rst/ticket.safetensors")
    assert ticket.provenance.criterion == "rst"
    final = torch.load(tmp_path / "whole/rst/model_final.pth", weights_only=True)["model"]
    assert count_revived(final, ticket.mask) == 0


def test_gradual_pruning_is_resumed_with_the_mask_it_had(tmp_path, cut):
    options = (*FAST, "LTH.METHOD", "gradual", "LTH.GRADUAL.PERIOD", "2", "LTH.GROUP_PRUNE_RATE.RPN", "0.3",
               "SOLVER.CHECKPOINT_PERIOD", "1", "LTH.CRITERION", "random")  # fmt: skip
    # A random criterion with another seed: what is computed again from live weights would be another mask.
    whole = gradual(small_cfg(tmp_path / "whole", *options), tmp_path / "whole")
    (record,) = whole["rounds"]
    assert [done for done, _ in record["gradual"]["prunings"]] == [1, 3, 4]
    assert record["prune_rate"] == pytest.approx(0.59, abs=0.02)
    assert record["groups"]["rpn"]["prune_rate"] == pytest.approx(0.3, abs=0.001)
    assert record["groups"]["fpn"]["prune_rate"] == pytest.approx(0.6, abs=0.01)
    broken = small_cfg(tmp_path / "broken", *options)
    cut("gradual", 3)
    with pytest.raises(RuntimeError, match="power cut"):
        gradual(broken, tmp_path / "broken")
    cut("gradual", 6)
    with pytest.raises(RuntimeError, match="power cut"):
        gradual(broken, tmp_path / "broken", resume=True)
    cut("", 0)
    gradual(broken, tmp_path / "broken", resume=True)
    names = ("results.json", "gradual/ticket.safetensors", "gradual/model_final.pth")
    assert bits(tmp_path / "whole", *names) == bits(tmp_path / "broken", *names)
    # Zeros in every checkpoint from the first pruning on.
    saved = torch.load(tmp_path / "whole/gradual/model_0000004.pth", weights_only=True)["model"]
    assert (
        count_revived(saved, load_ticket(tmp_path / "whole/gradual/ticket.safetensors").mask) == 0
    )


def test_early_bird_stops_and_is_resumed(tmp_path, cut):
    options = (*FAST, "LTH.EARLY_BIRD.ENABLED", "True", "LTH.EARLY_BIRD.PERIOD", "1", "LTH.EARLY_BIRD.PATIENCE", "2",
               "LTH.EARLY_BIRD.THRESHOLD", "0.5", "LTH.EARLY_BIRD.STOP", "True", "LTH.REWIND.ITERATION", "4",
               "SOLVER.CHECKPOINT_PERIOD", "2")  # fmt: skip
    early(small_cfg(tmp_path / "whole", *options), tmp_path / "whole")
    found = json.loads((tmp_path / "whole/early_bird.json").read_text())
    # Stable from the third mask on, but the rewind point is after four steps.
    assert (found["stable_at"], found["final_iteration"]) == (3, 4)
    assert (tmp_path / "whole/round_00/rewind.safetensors").exists()
    last = load_ticket(tmp_path / "whole" / found["points"][-1]["ticket"])
    assert last.mask == load_ticket(tmp_path / "whole/round_01/ticket.safetensors").mask
    broken = small_cfg(tmp_path / "broken", *options)
    for flags in ({}, {"resume": True}):
        cut("round_00", 4 if flags else 3)
        # Detectron2's printer divides by zero when it is asked twice in one of the first steps; a real kill asks nobody.
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            early(broken, tmp_path / "broken", **flags)
    cut("", 0)
    early(broken, tmp_path / "broken", resume=True)
    names = (
        "results.json",
        "early_bird.json",
        "round_00/model_final.pth",
        "round_01/model_final.pth",
    )
    assert bits(tmp_path / "whole", *names) == bits(tmp_path / "broken", *names)


def arguments(config, *options):
    file = str(ROOT / f"configs/quick/mask_rcnn_{config}.yaml")
    return build_parser().parse_args(["--config-file", file, *map(str, options)])


def test_one_command_runs_rst_and_its_report(tmp_path):
    options = ("OUTPUT_DIR", tmp_path / "a", "MODEL.MASK_ON", "False", "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2", "LTH.ATTRIBUTE_AP",
               "False", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "LTH.REWIND.ITERATION", "1")  # fmt: skip
    assert run(arguments("rst", *options)) == 0
    results = json.loads((tmp_path / "a/results.json").read_text())
    assert (results["method"], results["complete"], len(results["rounds"])) == ("rst", True, 1)
    assert (tmp_path / "a/report/index.html").exists()
    with pytest.raises(RunError, match=r"LTH\.RST\.CYCLES: 2, now 1"):
        run(arguments("rst", *options, "LTH.RST.CYCLES", "1"))


def cfg_of(*options, config="mask_rcnn_rst"):
    return prepare(
        build_parser().parse_args(
            ["--config-file", str(ROOT / f"configs/quick/{config}.yaml"), *map(str, options)]
        )
    )


def test_the_paper_preset_has_the_published_constants():
    cfg = cfg_of("LTH.RST.PRESET", "paper", "LTH.RST.CYCLES", 1)
    plan, stage = rst_plan(cfg), transform_cfg(cfg)
    assert (plan.schedule.ramp, plan.schedule.hold, plan.schedule.interval) == (50_000, 40_000, 5)
    assert (plan.schedule.ceiling, plan.decoupled, plan.ratios) == (1.0, False, "published")
    assert plan.schedule.strength(0) == pytest.approx(1e-4)
    assert (stage.SOLVER.MAX_ITER, stage.SOLVER.BASE_LR, stage.SOLVER.STEPS) == (90_000, 1e-3, ())
    assert (stage.LTH.OPTIMIZER, stage.SOLVER.MOMENTUM) == ("SGD", 0.9)
    assert (stage.SOLVER.LR_SCHEDULER_NAME, stage.SOLVER.WARMUP_FACTOR) == (
        "WarmupMultiStepLR",
        1.0,
    )
    cycles = rst_plan(cfg_of("LTH.RST.PRESET", "paper", "LTH.RST.CYCLES", 5)).schedule
    assert (cycles.ramp, cycles.hold, cycles.interval) == (10_000, 10_000, 1)


def test_the_budget_preset_costs_what_a_dense_round_costs():
    for cycles in (1, 2, 3):
        cfg = cfg_of("LTH.RST.CYCLES", cycles)
        assert rst_plan(cfg).schedule.iterations * cycles == cfg.SOLVER.MAX_ITER == 12
        stage = transform_cfg(cfg)
        assert 12 // cycles == stage.SOLVER.MAX_ITER
        assert transform_cfg(cfg).SOLVER.BASE_LR == cfg.SOLVER.BASE_LR
    shorter = cfg_of(
        "LTH.RST.RAMP", 0.25, "LTH.RST.HOLD", 0.25, "LTH.RST.CYCLES", 1, "SOLVER.STEPS", "(8,)"
    )
    assert transform_cfg(shorter).SOLVER.MAX_ITER == 6
    assert transform_cfg(shorter).SOLVER.STEPS == (4,)
    assert imp_plan(shorter).start_iteration == 3  # the fine-tuning is as long as a pruned round


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("LTH.METHOD", "sgd"), r"LTH\.METHOD is 'sgd'; choose one of imp, rst, gradual"),
        (("LTH.TARGETS", "(0.5, 0.8)"), r"prunes to one rate, but LTH\.TARGETS is \(0\.5, 0\.8\)"),
        (("LTH.CONTROLS", "('random_reinit',)"), r"LTH\.METHOD 'rst' has no controls of its own"),
        (("LTH.RST.MASK", "ticket"), "the mask 'ticket' needs a ticket file"),
        (("LTH.RST.RAMP", 0.5), "give both, or -1 for both"),
        (("LTH.RST.RAMP", 0.5, "LTH.RST.HOLD", 0.6), "together at most 1, not 0.5 and 0.6"),
        (("LTH.RST.CEILING", 2.0), "at most the whole weight"),
        (("LTH.RST.TRANSFORM_OPTS", "['SOLVER.MAX_ITER', 5]"), "sets SOLVER.MAX_ITER; the length is"),
        (("LTH.RST.TRANSFORM_OPTS", "['SOLVER.NONE', 5]"), r"TRANSFORM_OPTS: There is no config key SOLVER\.NONE"),
        (("LTH.RST.CYCLES", 0), r"LTH\.RST\.CYCLES is 0, but must be at least 1"),
        (("LTH.METHOD", "gradual", "LTH.GRADUAL.BEGIN", 0.8), "0 <= BEGIN < END <= 1"),
        (("LTH.METHOD", "gradual", "LTH.GRADUAL.PERIOD", 100), "longer than the pruning itself"),
        (("LTH.EARLY_BIRD.ENABLED", True), "needs the dense round of LTH.METHOD imp"),
        (("LTH.METHOD", "imp", "LTH.EARLY_BIRD.ENABLED", True, "LTH.EARLY_BIRD.THRESHOLD", 0.0), r"in \(0, 1\]"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_before_anything_is_written(options, match):
    with pytest.raises(ConfigError, match=match):
        cfg_of(*options)


def test_a_start_that_is_no_snapshot_is_found_early(tmp_path):
    with pytest.raises(RunError, match="is not a readable rewind snapshot"):
        cfg_of("LTH.RST.START", tmp_path / "none.safetensors")


def test_keys_of_other_methods_are_not_the_identity_of_a_run():
    imp = run_settings(cfg_of(config="mask_rcnn_imp"))
    assert not [
        key
        for key in imp
        if "RST" in key or "GRADUAL." in key or "EARLY" in key or "LTH.METHOD" in key
    ]
    rst_keys = run_settings(cfg_of())
    assert rst_keys["LTH.METHOD"] == "rst"
    assert rst_keys["LTH.RST.CYCLES"] == 2
    assert not [key for key in rst_keys if key.startswith(("LTH.GRADUAL", "LTH.EARLY"))]
    check_methods(cfg_of())
    flat = {"LTH.METHOD": "imp", "LTH.EARLY_BIRD.ENABLED": True, "LTH.RST.CYCLES": 1, "SEED": 1}
    assert method_identity(flat) == {"LTH.EARLY_BIRD.ENABLED": True, "SEED": 1}


def test_layer_ratios_of_a_ticket_are_the_identity_by_content(tmp_path):
    def settings(ratios, scope="layer"):
        return run_settings(
            cfg_of("LTH.LAYER_RATIOS", ratios, "LTH.SCOPE", scope, config="mask_rcnn_imp")
        )

    provenance = Provenance(
        "magnitude", "global", 0.5, {}, 0.4, 1, None, "task", "none", 1, "init", {}
    )
    for name, kept in (("a", True), ("b", False)):
        mask = Mask({"x.weight": torch.tensor([True, kept])})
        save_ticket(tmp_path / f"{name}.safetensors", Ticket(mask, None, provenance))
    (tmp_path / "moved").mkdir()
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "moved")
    first = settings(tmp_path / "a.safetensors")
    assert settings(tmp_path / "moved/a.safetensors") == first
    assert settings(tmp_path / "b.safetensors") != first
    assert settings("erk")["LTH.LAYER_RATIOS"] == "erk"
    with pytest.raises(ConfigError, match=r"LTH\.LAYER_RATIOS is .*none"):
        settings(tmp_path / "none.safetensors")
    assert settings("none", scope="global")["LTH.LAYER_RATIOS"] == "none"  # not used
