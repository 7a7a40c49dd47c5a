"""LTH.PRUNE_ONLY: any subset of the module groups of any detector, all others dense."""

import itertools

import pytest
from meta_models import FASTER, FASTER_C4, KEYPOINT, MASK, RETINANET, build_meta, zoo_cfg, zoo_model
from small_cfg import small_cfg

from lth_det.d2.config import GROUP_KEYS, check_lth_config
from lth_det.d2.module_groups import parameter_table, parameter_table_from_cfg
from lth_det.errors import ConfigError

pytestmark = pytest.mark.d2

GROUPS = {
    MASK: ("backbone", "fpn", "rpn", "box_head", "mask_head"),
    KEYPOINT: ("backbone", "fpn", "rpn", "box_head", "keypoint_head"),
    FASTER: ("backbone", "fpn", "rpn", "box_head"),
    FASTER_C4: ("backbone", "rpn", "res5"),
    RETINANET: ("backbone", "fpn", "box_head"),
}


def prunable(table):
    return {table.group_of[name] for name in table.prunable_names}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_any_subset_is_prunable_and_has_the_weights_it_has_in_the_whole(name, preset):
    cfg = zoo_cfg(name, "LTH.PRESET", preset)
    model = zoo_model(name)
    whole = parameter_table(model, preset=preset, dense_groups=())
    size = {
        group: sum(entry.numel for entry in whole.in_group(group) if entry.prunable)
        for group in GROUPS[name]
    }
    assert all(size.values())
    subsets = itertools.chain.from_iterable(
        itertools.combinations(GROUPS[name], count) for count in (1, 2, len(GROUPS[name]))
    )
    for subset in subsets:
        cfg.LTH.PRUNE_ONLY = subset
        check_lth_config(cfg)
        table = parameter_table_from_cfg(cfg, model)
        assert prunable(table) == set(subset)
        assert table.prunable_parameters == sum(size[group] for group in subset)


def test_groups_that_are_dense_by_default_can_be_asked_for():
    cfg = zoo_cfg(FASTER_C4, "LTH.PRESET", "paper", "LTH.PRUNE_ONLY", "('predictors', 'stem')")
    assert prunable(parameter_table_from_cfg(cfg, build_meta(cfg))) == {"predictors", "stem"}


def test_the_stem_is_pruned_under_the_paper_preset_only_if_named():
    cfg = zoo_cfg(MASK, "LTH.PRESET", "paper", "LTH.PRUNE_ONLY", "('backbone',)")
    model = build_meta(cfg)
    assert prunable(parameter_table_from_cfg(cfg, model)) == {"backbone"}
    cfg.LTH.PRUNE_ONLY = ()
    assert "stem" in prunable(parameter_table_from_cfg(cfg, model))


@pytest.mark.parametrize(
    ("group", "expected"),
    [("mask_head", "mask_head, but this model"), ("stem", r"stem, .*frozen")],
)
def test_a_group_without_prunable_weights_is_one_sentence(group, expected):
    cfg = zoo_cfg(FASTER, "LTH.PRUNE_ONLY", f"('backbone', '{group}')")
    with pytest.raises(ConfigError, match=expected):
        parameter_table_from_cfg(cfg, build_meta(cfg))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("LTH.PRUNE_ONLY", "('back',)"), r"LTH\.PRUNE_ONLY is 'back'"),
        (("LTH.GROUP_PRUNE_RATE.RPN", "0.5"), r"GROUP_PRUNE_RATE\.RPN is 0\.5"),
        (("LTH.GROUP_PRUNE_RATE.FPN", "0.0"), r"GROUP_PRUNE_RATE\.FPN is 0\.0"),
        (("LTH.GROUP_PRUNE_RATE.STEM", "-1.0"), r"GROUP_PRUNE_RATE\.STEM is -1\.0"),
    ],
)
def test_keys_that_contradict_each_other_are_one_sentence(tmp_path, options, expected):
    with pytest.raises(ConfigError, match=expected):
        small_cfg(tmp_path, "LTH.PRUNE_ONLY", "('backbone', 'fpn')", *options)


def test_rates_that_say_the_same_are_accepted(tmp_path):
    cfg = small_cfg(
        tmp_path, "LTH.PRUNE_ONLY", "('backbone', 'fpn')",
        "LTH.GROUP_PRUNE_RATE.RPN", "0.0", "LTH.GROUP_PRUNE_RATE.FPN", "0.3",
    )  # fmt: skip
    assert cfg.LTH.PRUNE_ONLY == ("backbone", "fpn")
    assert {key.lower() for key in GROUP_KEYS} >= set(cfg.LTH.PRUNE_ONLY)
