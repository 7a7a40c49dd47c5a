"""Losses for criteria on real detectors: equal each time, twice differentiable, nothing of the run disturbed."""

import random
import sys

import numpy as np
import pytest
import torch
from detectron2.layers import ROIAlign
from meta_models import CASCADE, FASTER_C4, MASK, RETINANET, RPN_ONLY, zoo_cfg
from small_cfg import small_cfg
from torch import nn

from lth_det.d2 import scoring as scoring_module
from lth_det.d2.dry_run import dry_run
from lth_det.d2.flow import log_flow
from lth_det.d2.plan import imp_plan
from lth_det.d2.scoring import detector_scoring
from lth_det.d2.stages import DetectorStages
from lth_det.d2.trainer import LotteryTrainer
from lth_det.d2.twice_differentiable import twice_differentiable
from lth_det.errors import ConfigError
from lth_det.experiments.decide import decide_mask
from lth_det.pruning import SynFlowCriterion

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(configuration, weights) of a small Mask R-CNN whose batch norm has seen something."""
    cfg = small_cfg(tmp_path_factory.mktemp("scoring"), task="mask")
    torch.manual_seed(3)
    model = LotteryTrainer.build_model(cfg)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["backbone.bottom_up.stem.conv1.norm.running_mean"].fill_(0.25)
    return cfg, state


def test_losses_depend_on_the_seed_and_disturb_no_random_state(trained):
    cfg, weights = trained
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    losses = []
    for seed in (5, 5, 6):
        with detector_scoring(cfg, weights, batches=2, seed=seed) as scoring:
            losses.append([scoring.loss().item() for _ in range(4)])
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][:2] == losses[0][2:]  # the two batches again, with the same draws
    assert losses[0][0] != losses[0][1]
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_loss_is_the_training_loss_at_the_weights_given(trained):
    cfg, weights = trained
    with detector_scoring(cfg, weights, batches=1, seed=5) as scoring:
        assert scoring.model.training
        assert all(torch.equal(v, weights[n]) for n, v in scoring.model.state_dict().items())
        whole = scoring.loss().item()
        data = scoring._data
    model = LotteryTrainer.build_model(cfg)
    model.load_state_dict(weights)
    with scoring_module._own_random_numbers(5, 2, 0), scoring_module.EventStorage():
        assert sum(model.train()(data[0]).values()).item() == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "taylor", "synflow", "random"])
def test_each_criterion_decides_the_same_mask_again_and_leaves_the_run_alone(trained, criterion):
    base, weights = trained
    cfg = base.clone()
    cfg.defrost()
    cfg.LTH.CRITERION, cfg.LTH.CRITERION_BATCHES, cfg.LTH.CRITERION_STEPS = criterion, 2, 0
    cfg.LTH.TARGETS = (0.8,)
    if criterion == "synflow":
        cfg.LTH.CRITERION_STEPS = 3
    stages = DetectorStages(cfg, resume=False)
    before = {name: value.clone() for name, value in weights.items()}
    first, second = (
        decide_mask(weights, stages.table, imp_plan(cfg), 1, None, trainer=stages) for _ in range(2)
    )
    assert first == second
    assert first.kept == round(0.2 * first.numel)
    assert all(torch.equal(value, before[name]) for name, value in weights.items())
    magnitude = imp_plan(base)
    assert first != decide_mask(weights, stages.table, magnitude, 1, None)


def test_no_group_is_emptied_by_iterated_synflow(trained):
    base, _ = trained
    cfg = base.clone()
    cfg.defrost()
    cfg.LTH.CRITERION, cfg.LTH.CRITERION_STEPS, cfg.LTH.TARGETS = "synflow", 6, (0.9,)
    report = dry_run(cfg)
    rates = [g["prune_rate"] for g in report["groups"].values() if g["prunable_parameters"]]
    assert max(rates) < 0.99  # a plain sum over the outputs empties box head and RPN


def small_zoo(name):
    options = {
        FASTER_C4: ("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
        RETINANET: ("MODEL.FPN.OUT_CHANNELS", 32, "MODEL.RETINANET.NUM_CLASSES", 3),
    }.get(name, ("MODEL.FPN.OUT_CHANNELS", 32, "MODEL.ROI_BOX_HEAD.FC_DIM", 16))
    cfg = zoo_cfg(
        name, "MODEL.DEVICE", "cpu", "MODEL.ROI_MASK_HEAD.CONV_DIM", 8, *options, depth=50
    )
    torch.manual_seed(0)
    return LotteryTrainer.build_model(cfg)


@pytest.mark.parametrize("name", [MASK, FASTER_C4, RETINANET, RPN_ONLY, CASCADE])
def test_ones_reach_every_weight_and_the_scores_of_a_layer_sum_to_the_branches(name, monkeypatch):
    monkeypatch.setattr("lth_det.d2.flow.SIDE", 64)
    model = small_zoo(name)
    weights = {n: p for n, p in model.named_parameters() if p.ndim > 1 and "bottom_up.res" not in n}
    criterion = SynFlowCriterion(model, lambda: log_flow(model))
    monkeypatch.setattr(criterion, "_scores_once", spy := Spy(criterion._scores_once))
    scores = criterion.scores(weights)
    sums = {n: float(value.sum()) for n, value in spy.result.items()}
    assert all(float(score.max()) > 0 for score in scores.values())
    # One for each branch that all paths of lead through the layer; less where some lead around it.
    branches = {RETINANET: 2, RPN_ONLY: 2, MASK: 5, FASTER_C4: 4, CASCADE: 9}[name]
    assert all(0 < total <= branches + 1e-9 for total in sums.values())
    ends = ("objectness_logits.weight", "anchor_deltas.weight", "mask_head.predictor.weight")
    found = [n for n in sums if n.endswith(ends)]
    assert found or name == RETINANET
    assert all(sums[n] == pytest.approx(1) for n in found)


class Spy:
    def __init__(self, function):
        self.function = function

    def __call__(self, parameters):
        self.result = self.function(parameters)
        return self.result


def test_synflow_says_which_models_it_does_not_know():
    with pytest.raises(ConfigError, match="through Linear"):
        log_flow(nn.Linear(2, 2))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    weights = {"0.weight": model[0].weight}
    with pytest.raises(ConfigError, match="GroupNorm"):
        SynFlowCriterion(model, lambda: model(torch.ones(1, 3, 2, 2)).sum()).scores(weights)


def test_means_of_batch_norm_do_not_turn_signs():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    model[1].running_mean.fill_(1e6)
    weights = {"0.weight": model[0].weight, "3.weight": model[3].weight}
    ones = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    scores = SynFlowCriterion(model, lambda: model(ones).sum()).scores(weights)
    assert all(bool((score > 0).all()) for score in scores.values())
    assert float(model[1].running_mean[0]) == 1e6


def test_roi_align_can_be_differentiated_twice_with_the_same_values():
    layer = ROIAlign((2, 3), 0.5, 2, aligned=True).double()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 2, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 1.0, 2.0, 7.0, 9.0], [1, 0.0, 0.0, 6.5, 4.0]], dtype=torch.float64)
    plain = layer(features, boxes)
    with twice_differentiable(nn.Sequential(layer)):
        assert torch.equal(layer(features, boxes), plain)
        assert torch.autograd.gradcheck(lambda x: layer(x, boxes).square(), features)
        assert torch.autograd.gradgradcheck(lambda x: layer(x, boxes).pow(3), features)
    assert "forward" not in layer.__dict__


def test_one_process_of_two_sees_whole_batches_and_refuses_to_wait(trained, monkeypatch):
    cfg, weights = trained
    with detector_scoring(cfg, weights, batches=1, seed=5) as scoring:
        alone = scoring.loss().item()
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: 1)
    with detector_scoring(cfg, weights, batches=1, seed=5) as scoring:
        assert len(scoring._data[0]) == cfg.SOLVER.IMS_PER_BATCH
        assert scoring.loss().item() == alone
    build = scoring_module.build_model
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm
    monkeypatch.setattr(scoring_module, "build_model", lambda cfg: synchronised(build(cfg)))
    with (
        pytest.raises(ConfigError, match="synchronised batch norm"),
        detector_scoring(cfg, weights, batches=1, seed=5),
    ):
        pass


USER_MODULE = """
from lth_det.pruning import register_allocation, register_criterion
from lth_det.pruning.allocation import GlobalAllocation


@register_criterion("inverse")
class InverseCriterion:
    name = "inverse"

    def scores(self, weights):
        return {name: -weight.abs() for name, weight in weights.items()}


@register_allocation("all_together")
class AllTogether(GlobalAllocation):
    name = "all_together"
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.setattr("lth_det.pruning.criteria.CRITERIA", criteria := dict(_criteria()))
    for place in ("lth_det.d2.config_pruning.CRITERIA", "lth_det.experiments.decide.CRITERIA"):
        monkeypatch.setattr(place, criteria)
    monkeypatch.setattr(
        "lth_det.pruning.allocation.ALLOCATIONS", allocations := dict(_allocations())
    )
    monkeypatch.setattr("lth_det.d2.config_pruning.ALLOCATIONS", allocations)
    (tmp_path / "my_pruning.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_pruning"
    sys.modules.pop("my_pruning", None)


def _criteria():
    from lth_det.pruning.criteria import CRITERIA

    return CRITERIA


def _allocations():
    from lth_det.pruning.allocation import ALLOCATIONS

    return ALLOCATIONS


def test_a_module_of_the_users_can_be_named(tmp_path, user_module):
    options = ("LTH.CRITERION", "inverse", "LTH.SCOPE", "all_together", "LTH.TARGETS", "(0.5,)")
    with pytest.raises(ConfigError, match=r"LTH\.CRITERION is 'inverse'"):
        small_cfg(tmp_path, *options)
    cfg = small_cfg(tmp_path, "LTH.IMPORTS", f"('{user_module}',)", *options)
    report = dry_run(cfg)
    assert report["prune_rate"] == pytest.approx(0.5, abs=1e-5)
    assert (report["criterion"], report["scope"]) == ("inverse", "all_together")


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("no_such_module", None, r"names no_such_module, but Python finds no module no_such_module.*PYTHONPATH"),
        ("needs_more", "import not_there_at_all", r"names needs_more, which needs the module not_there_at_all"),
        ("breaks", "1 / 0", r"names breaks, which fails when it is imported \(ZeroDivisionError: division by zero\)"),
        ("./file.py", None, r"'\./file\.py', which is no module name"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_is_one_sentence(
    tmp_path, monkeypatch, name, source, expected
):
    if source:
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=expected):
        small_cfg(tmp_path, "LTH.IMPORTS", f"('{name}',)")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("LTH.CRITERION", "magnitud"), "grasp, magnitude, random, snip, synflow, taylor"),
        (("LTH.SCOPE", "uniform"), r"LTH\.SCOPE is 'uniform'; choose one of global, group, layer"),
        (("LTH.MASK_FROM", "end"), "trained, start"),
        (("LTH.CRITERION_BATCHES", "0"), "CRITERION_BATCHES is 0"),
        (("LTH.CRITERION_STEPS", "-1"), "CRITERION_STEPS is -1"),
        (("LTH.PERTURBED_FRACTION", "1.5"), "PERTURBED_FRACTION is 1.5"),
        (("LTH.CONTROLS", "('random_erk', 'random_erk')"), "twice"),
        (("LTH.CONTROLS", "('random',)"), "dense_same_budget"),
        (("LTH.SCOPE", "sensitivity", "LTH.SENSITIVITY.RATES", "(0.9, 0.5)"), "ascending"),
        (("LTH.SCOPE", "sensitivity", "LTH.SENSITIVITY.RATES", "()"), "ascending"),
        (("LTH.SCOPE", "sensitivity", "LTH.SENSITIVITY.BATCHES", "0"), "SENSITIVITY.BATCHES"),
        (("LTH.SCOPE", "sensitivity", "LTH.TARGETS", "(0.99,)"), "add a higher rate"),
    ],
)
def test_values_out_of_range_are_one_sentence(tmp_path, options, expected):
    with pytest.raises(ConfigError, match=expected):
        small_cfg(tmp_path, *options)
