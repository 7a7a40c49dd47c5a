"""Groups and prunable sets on real Detectron2 models; the paper's counts are in test_paper_counts.py."""

import copy
import socket

import pytest
import torch
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import StandardROIHeads
from meta_models import (
    CASCADE,
    FASTER,
    FASTER_C4,
    FASTER_DC5,
    KEYPOINT,
    MASK,
    MASK_C4,
    PANOPTIC,
    RETINANET,
    RPN_ONLY,
    build_meta,
    zoo_cfg,
    zoo_model,
)
from torch import nn

from lth_det.d2 import c4_heads, group_rules
from lth_det.d2.module_groups import (
    module_groups,
    parameter_table,
    parameter_table_from_cfg,
    register_group_rule,
)
from lth_det.errors import ConfigError
from lth_det.tickets.scope import GROUPS

pytestmark = pytest.mark.d2

PREDICTORS = {
    FASTER: {
        "proposal_generator.rpn_head.objectness_logits",
        "proposal_generator.rpn_head.anchor_deltas",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    },
    RETINANET: {"head.cls_score", "head.bbox_pred"},
    RPN_ONLY: {
        "proposal_generator.rpn_head.objectness_logits",
        "proposal_generator.rpn_head.anchor_deltas",
    },
}
PREDICTORS[FASTER_C4] = PREDICTORS[FASTER_DC5] = PREDICTORS[FASTER]
PREDICTORS[MASK] = PREDICTORS[MASK_C4] = PREDICTORS[FASTER] | {"roi_heads.mask_head.predictor"}
PREDICTORS[KEYPOINT] = PREDICTORS[FASTER] | {"roi_heads.keypoint_head.score_lowres"}
PREDICTORS[PANOPTIC] = PREDICTORS[MASK] | {"sem_seg_head.predictor"}
PREDICTORS[CASCADE] = {
    "proposal_generator.rpn_head.objectness_logits",
    "proposal_generator.rpn_head.anchor_deltas",
    "roi_heads.mask_head.predictor",
    *(
        f"roi_heads.box_predictor.{i}.{part}"
        for i in range(3)
        for part in ("cls_score", "bbox_pred")
    ),
}
RPN_GROUPS = ["stem", "backbone", "fpn", "rpn"]
GROUPS_OF = {
    FASTER: [*RPN_GROUPS, "box_head", "predictors"],
    MASK: [*RPN_GROUPS, "box_head", "mask_head", "predictors"],
    KEYPOINT: [*RPN_GROUPS, "box_head", "keypoint_head", "predictors"],
    CASCADE: [*RPN_GROUPS, "box_head", "mask_head", "predictors"],
    PANOPTIC: [*RPN_GROUPS, "box_head", "mask_head", "predictors", "other"],
    FASTER_C4: ["stem", "backbone", "rpn", "res5", "predictors"],
    MASK_C4: ["stem", "backbone", "rpn", "mask_head", "res5", "predictors"],
    FASTER_DC5: ["stem", "backbone", "rpn", "box_head", "predictors"],
    RETINANET: ["stem", "backbone", "fpn", "box_head", "predictors"],
    RPN_ONLY: [*RPN_GROUPS, "predictors"],
}


@pytest.mark.parametrize("name", GROUPS_OF)
def test_every_parameter_is_in_exactly_one_known_group(name):
    model = zoo_model(name)
    table = parameter_table(model, preset="default")
    assert [entry.name for entry in table] == [name for name, _ in model.named_parameters()]
    assert table.total_parameters == sum(p.numel() for p in model.parameters())
    assert list(table.groups) == GROUPS_OF[name]
    assert sum(len(table.in_group(group)) for group in table.groups) == len(table)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_are_the_output_layers_and_stay_dense(name):
    table = parameter_table(zoo_model(name), preset="default")
    entries = table.in_group("predictors")
    assert {entry.name.rpartition(".")[0] for entry in entries} == PREDICTORS[name]
    assert not any(entry.prunable for entry in entries)
    weights = [entry for entry in entries if entry.name.endswith("weight")]
    assert {entry.reason for entry in weights} == {"module group predictors stays dense"}


@pytest.mark.parametrize(
    ("name", "parameter", "group"),
    [
        (MASK, "backbone.bottom_up.stem.conv1.weight", "stem"),
        (MASK, "backbone.bottom_up.res5.2.conv3.weight", "backbone"),
        (MASK, "backbone.bottom_up.res2.0.shortcut.weight", "backbone"),
        (MASK, "backbone.fpn_lateral2.weight", "fpn"),
        (MASK, "backbone.fpn_output5.bias", "fpn"),
        (MASK, "proposal_generator.rpn_head.conv.weight", "rpn"),
        (MASK, "roi_heads.box_head.fc1.weight", "box_head"),
        (MASK, "roi_heads.mask_head.deconv.weight", "mask_head"),
        (KEYPOINT, "roi_heads.keypoint_head.conv_fcn8.weight", "keypoint_head"),
        (RETINANET, "backbone.top_block.p6.weight", "fpn"),
        (RETINANET, "head.cls_subnet.0.weight", "box_head"),
        (FASTER_C4, "backbone.stem.conv1.weight", "stem"),
        (FASTER_C4, "backbone.res4.0.conv1.weight", "backbone"),
        (MASK_C4, "roi_heads.res5.0.conv1.weight", "res5"),
        (CASCADE, "roi_heads.box_head.2.fc2.weight", "box_head"),
    ],
)
def test_group_of_single_parameters(name, parameter, group):
    assert parameter_table(zoo_model(name), preset="default").group_of[parameter] == group


def test_reasons_say_why_a_parameter_is_not_prunable():
    model = zoo_model(MASK, "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "GN")
    reasons = {entry.name: entry.reason for entry in parameter_table(model, preset="default")}
    assert reasons["backbone.bottom_up.stem.conv1.weight"] == "frozen"
    assert reasons["backbone.bottom_up.res2.0.conv1.weight"] == "frozen"
    assert reasons["backbone.bottom_up.res3.0.conv1.weight"] == ""
    assert reasons["backbone.bottom_up.res3.0.shortcut.weight"] == ""
    assert reasons["backbone.bottom_up.res3.0.conv1.norm.weight"] == "norm layer"
    assert reasons["backbone.bottom_up.res3.0.conv1.norm.bias"] == "norm layer"
    assert reasons["backbone.fpn_lateral2.norm.weight"] == "norm layer"
    assert reasons["roi_heads.box_head.fc1.bias"] == "bias"
    assert all(
        (entry.reason == "") == entry.prunable for entry in parameter_table(model, preset="paper")
    )


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("norm", ["BN", "GN", "SyncBN"])
def test_only_weights_of_convolutions_and_linear_layers_are_prunable(preset, norm):
    options = ["MODEL.RESNETS.NORM", norm, "MODEL.FPN.NORM", norm, "MODEL.ROI_MASK_HEAD.NORM", norm]
    model = zoo_model(MASK, *options)
    table = parameter_table(model, preset=preset)
    for name in table.prunable_names:
        owner, _, attribute = name.rpartition(".")
        assert attribute == "weight"
        assert isinstance(model.get_submodule(owner), nn.Conv2d | nn.ConvTranspose2d | nn.Linear)


def test_further_parameters_of_a_convolution_are_not_its_weight():
    class ScaledConv(nn.Conv2d):
        def __init__(self):
            super().__init__(2, 3, 1)
            self.gain = nn.Parameter(torch.ones(3, 1, 1, 1))

    table = parameter_table(nn.Sequential(ScaledConv()), preset="default", dense_groups=())
    assert table.prunable_names == ("0.weight",)
    assert [entry.reason for entry in table if entry.name == "0.gain"] == [
        "not the weight of a convolution or linear layer"
    ]


def test_cyclic_norm_lists_of_retinanet_are_norm_layers():
    table = parameter_table(zoo_model(RETINANET, "MODEL.RETINANET.NORM", "BN"), preset="default")
    norms = [entry for entry in table if entry.name.startswith("head.cls_subnet.1.")]
    assert norms
    assert {entry.reason for entry in norms} == {"norm layer"}


def test_frozen_parameters_are_flagged_and_prunable_under_paper_only():
    model = zoo_model(MASK)
    for preset, prunable in (("default", False), ("paper", True)):
        entry = next(
            entry
            for entry in parameter_table(model, preset=preset)
            if entry.name == "backbone.bottom_up.res2.0.conv2.weight"
        )
        assert (entry.frozen, entry.prunable) == (True, prunable)


def test_paper_leaves_shortcuts_and_default_takes_them():
    model = zoo_model(MASK, "MODEL.BACKBONE.FREEZE_AT", 0)
    shortcuts = {f"backbone.bottom_up.res{stage}.0.shortcut.weight" for stage in (2, 3, 4, 5)}
    assert shortcuts <= set(parameter_table(model, preset="default").prunable_names)
    paper = parameter_table(model, preset="paper")
    assert not shortcuts & set(paper.prunable_names)
    reasons = {entry.reason for entry in paper if entry.name in shortcuts}
    assert reasons == {"shortcut convolution (preset paper)"}


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        (FASTER, 18),
        (MASK, 18),
        (KEYPOINT, 18),
        (FASTER, 50),
        (MASK, 50),
        (KEYPOINT, 50),
        (FASTER_DC5, 50),
    ],
)
def test_paper_set_equals_the_predecessors_name_rule(name, depth):
    model = zoo_model(name, depth=depth)
    by_name = {
        parameter
        for parameter, _ in model.named_parameters()
        if "weight" in parameter
        and any(part in parameter for part in ("conv", "fpn", "fcn", "fc1", "fc2"))
    }
    assert set(parameter_table(model, preset="paper").prunable_names) == by_name


def test_parameter_shared_by_two_modules_is_counted_once():
    model = zoo_model(RETINANET)
    separate = parameter_table(model, preset="default")
    size = sum(p.numel() for p in model.head.bbox_subnet.parameters())
    model.head.bbox_subnet = model.head.cls_subnet
    tied = parameter_table(model, preset="default")
    assert separate.total_parameters - tied.total_parameters == size
    assert not any("bbox_subnet" in entry.name for entry in tied)


def test_wrapped_model_gives_the_same_table():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1
    )
    try:
        model = Toy()
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert list(parameter_table(wrapped, preset="default")) == list(
            parameter_table(model, preset="default")
        )
    finally:
        torch.distributed.destroy_process_group()


class Toy(nn.Module):
    """A detector that Detectron2 does not know."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.tower = nn.Linear(4, 4)
        self.logits = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(2))


@pytest.fixture
def rules(monkeypatch):
    monkeypatch.setattr(group_rules, "_RULES", copy.deepcopy(group_rules._RULES))


def test_unknown_modules_are_in_other_and_stay_dense_until_asked():
    table = parameter_table(Toy(), preset="default")
    assert table.groups == ("other",)
    assert table.prunable_names == ()
    assert parameter_table(Toy(), preset="default", dense_groups=()).prunable_names == (
        "features.0.weight",
        "tower.weight",
        "logits.weight",
    )
    scale = next(entry for entry in table if entry.name == "scale")
    assert scale.reason == "not the weight of a convolution or linear layer"


@pytest.mark.usefixtures("rules")
def test_a_rule_of_the_user_names_the_parts_of_a_detector():
    register_group_rule(Toy, {"features": "backbone", "tower": "box_head", "logits": "predictors"})
    table = parameter_table(Toy(), preset="default")
    assert table.prunable_names == ("features.0.weight", "tower.weight")
    assert table.group_of["features.1.weight"] == "backbone"
    assert table.group_of["scale"] == "other"


@pytest.mark.usefixtures("rules")
def test_rules_hold_for_subclasses_and_the_most_derived_wins():
    class Child(Toy):
        pass

    register_group_rule(Toy, {"tower": "box_head", "logits": "predictors"})
    register_group_rule(Child, {"tower": "mask_head"})
    groups = module_groups(Child())
    assert (groups["tower"], groups["logits"]) == ("mask_head", "predictors")
    assert module_groups(Toy())["tower"] == "box_head"


@pytest.mark.usefixtures("rules")
def test_a_later_rule_changes_a_built_in_one():
    register_group_rule(StandardROIHeads, {"box_head": "res5"})
    assert (
        parameter_table(zoo_model(FASTER), preset="default").group_of[
            "roi_heads.box_head.fc1.weight"
        ]
        == "res5"
    )


@pytest.mark.usefixtures("rules")
def test_a_rule_with_an_unknown_group_is_refused():
    with pytest.raises(ConfigError, match=r"rule of Toy puts 'tower' into 'head'.*box_head"):
        register_group_rule(Toy, {"tower": "head"})


def test_dense_groups_replace_those_of_the_preset():
    model = zoo_model(FASTER, "MODEL.BACKBONE.FREEZE_AT", 0)
    table = parameter_table(model, preset="default", dense_groups=["backbone", "box_head"])
    prunable = {group for group in GROUPS if any(entry.prunable for entry in table.in_group(group))}
    assert prunable == {"stem", "fpn", "rpn", "predictors"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "papers"}, r"The preset is 'papers'; choose one of default, paper\."),
        (
            {"preset": "paper", "dense_groups": ["neck"]},
            r"no module group 'neck'; choose from stem, ",
        ),
    ],
)
def test_wrong_options_are_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        parameter_table(Toy(), **options)


def test_rates_of_the_configuration_decide_what_is_dense():
    cfg = zoo_cfg(
        MASK,
        *("LTH.GROUP_PRUNE_RATE.BACKBONE", 0.0, "LTH.GROUP_PRUNE_RATE.FPN", 0.5),
        *("LTH.GROUP_PRUNE_RATE.STEM", -1.0, "MODEL.BACKBONE.FREEZE_AT", 0),
    )
    table = parameter_table_from_cfg(cfg, build_meta(cfg))
    prunable = {group for group in GROUPS if any(entry.prunable for entry in table.in_group(group))}
    assert prunable == {"stem", "fpn", "rpn", "box_head", "mask_head"}
    assert next(e for e in table.in_group("backbone") if e.name.endswith("weight")).reason == (
        "module group backbone stays dense"
    )


def test_stem_is_in_the_papers_pool_except_in_c4_models():
    for name, in_pool in ((MASK, True), (MASK_C4, False)):
        cfg = zoo_cfg(name, "LTH.PRESET", "paper")
        model = zoo_model(name)
        from_cfg = parameter_table_from_cfg(cfg, model)
        assert from_cfg.in_group("stem")[0].prunable is in_pool
        assert list(from_cfg) == list(parameter_table(model, preset="paper"))


def test_basic_c4_head_is_registered_and_leaves_deep_models_alone():
    assert ROI_HEADS_REGISTRY.get("BasicRes5ROIHeads") is c4_heads.BasicRes5ROIHeads
    options = ["MODEL.ROI_HEADS.NAME", "BasicRes5ROIHeads"]
    stock, ours = zoo_model(FASTER_C4), zoo_model(FASTER_C4, *options)
    assert {n: p.shape for n, p in stock.named_parameters()} == {
        n: p.shape for n, p in ours.named_parameters()
    }
    shallow = zoo_model(FASTER_C4, *options, depth=18).roi_heads.res5
    assert [type(block).__name__ for block in shallow] == ["BasicBlock", "BasicBlock"]
    assert shallow[0].stride == 2
