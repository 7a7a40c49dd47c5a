"""The prunable sets of Girish et al. (CVPR 2021) on the real models: published counts and sparsities."""

from pathlib import Path

import pytest
from meta_models import KEYPOINT, MASK, build_meta, zoo_model

from lth_det.d2.module_groups import parameter_table, parameter_table_from_cfg
from lth_det.d2.setup_cfg import load_config
from lth_det.pruning.apportion import keep_count

CONFIG_FOLDER = Path(__file__).parents[2] / "configs"

pytestmark = pytest.mark.d2

# model, depth: all parameters, prunable, sparsity in percent at prune rate 0.8
TOTALS = {
    (MASK, 18): (31_317_936, 30_704_832, 78.43),
    (KEYPOINT, 18): (46_107_878, 45_778_112, 79.43),
    (MASK, 50): (44_343_216, 41_133_248, 74.21),
    (KEYPOINT, 50): (59_133_158, 56_206_528, 76.04),
}
CONFIGS = {
    (MASK, 18): "mask_rcnn_R_18_FPN_imp.yaml",
    (KEYPOINT, 18): "keypoint_rcnn_R_18_FPN_imp.yaml",
    (MASK, 50): "mask_rcnn_R_50_FPN_imp.yaml",
    (KEYPOINT, 50): "keypoint_rcnn_R_50_FPN_imp.yaml",
}
BACKBONE = {18: 10_994_880, 50: 20_686_016}  # stem and block convolutions
SHORTCUTS = {18: 172_032, 50: 2_768_896}
FPN = {18: 2_605_056, 50: 3_342_336}
HEAD = {MASK: ("mask_head", 2_621_440), KEYPOINT: ("keypoint_head", 17_694_720)}


def prunable_in(table, *groups):
    return sum(entry.numel for name in groups for entry in table.in_group(name) if entry.prunable)


@pytest.mark.parametrize(("name", "depth"), TOTALS)
def test_totals_of_the_paper_preset(name, depth):
    total, prunable, sparsity = TOTALS[name, depth]
    table = parameter_table(zoo_model(name, depth=depth), preset="paper")
    assert table.total_parameters == total
    assert table.prunable_parameters == prunable
    pruned = prunable - keep_count(prunable, 1 - 0.8)
    assert round(100 * pruned / total, 2) == sparsity


@pytest.mark.parametrize(("name", "depth"), TOTALS)
def test_part_rows_of_the_paper_preset(name, depth):
    table = parameter_table(zoo_model(name, depth=depth), preset="paper")
    head, head_size = HEAD[name]
    rows = {
        ("stem", "backbone"): BACKBONE[depth],
        ("fpn",): FPN[depth],
        ("rpn",): 589_824,
        ("box_head",): 13_893_632,
        (head,): head_size,
        ("predictors", "other"): 0,
    }
    assert {groups: prunable_in(table, *groups) for groups in rows} == rows
    shortcuts = [entry for entry in table if entry.reason.startswith("shortcut")]
    assert sum(entry.numel for entry in shortcuts) == SHORTCUTS[depth]


@pytest.mark.parametrize(("name", "depth"), TOTALS)
def test_our_configurations_are_these_models(name, depth):
    cfg = load_config(str(CONFIG_FOLDER / "coco" / CONFIGS[name, depth]))
    table = parameter_table_from_cfg(cfg, build_meta(cfg))
    assert (table.total_parameters, table.prunable_parameters) == TOTALS[name, depth][:2]


def test_default_preset_on_the_r18_mask_model():
    table = parameter_table(zoo_model(MASK, depth=18), preset="default")
    frozen = 9_408 + 4 * 64 * 64 * 9  # stem and res2
    expected = 30_704_832 - frozen + SHORTCUTS[18]
    assert table.prunable_parameters == expected


# Table 3 of the paper (VOC R-18): pruned modules -> "Param %", in parts of the authors' 12,438,239 parameters.
TABLE_3 = {
    ("head",): 0.65, ("rpn",): 9.71, ("rpn", "head"): 10.36,
    ("base",): 21.93, ("base", "head"): 22.59, ("base", "rpn"): 31.64, ("base", "rpn", "head"): 32.29,
    ("top",): 66.39, ("top", "head"): 67.04, ("top", "rpn"): 76.09, ("top", "rpn", "head"): 76.75,
    ("base", "top"): 88.32, ("base", "top", "head"): 88.97, ("base", "top", "rpn"): 98.03,
    ("base", "top", "rpn", "head"): 98.68,
}  # fmt: skip
PAPER_TOTAL = 12_438_239
# Our groups for the modules of the table. Their RPN row has the two 1x1 output layers of the RPN, which are predictors here;
# their head row has the output layers of the box head, and by a substring of its name rule those two of the RPN once more.
MODULES = {"base": ("backbone",), "top": ("res5",), "rpn": ("rpn",), "head": ("predictors",)}
OBJECTNESS = (
    9 * 512
)  # their softmax has two outputs for each of nine anchors, Detectron2's sigmoid one
BACKGROUND = 4 * 512  # they regress a box for the background class too
RPN_OUTPUTS = 9 * 512 + 36 * 512 + OBJECTNESS


@pytest.fixture(scope="module")
def voc_r18():
    cfg = load_config(str(CONFIG_FOLDER / "voc/faster_rcnn_R_18_C4_imp.yaml"))
    return cfg, build_meta(cfg)


def voc_table(voc_r18, *modules):
    cfg, model = voc_r18
    cfg = cfg.clone()
    cfg.LTH.PRUNE_ONLY = tuple(group for name in modules for group in MODULES[name])
    return parameter_table_from_cfg(cfg, model)


@pytest.mark.parametrize("modules", TABLE_3)
def test_share_of_parameters_in_table_3(voc_r18, modules):
    table = voc_table(voc_r18, *modules)
    assert table.prunable_parameters == prunable_in(
        table, *(g for m in modules for g in MODULES[m])
    )
    theirs = table.prunable_parameters
    if "rpn" in modules:
        theirs += RPN_OUTPUTS
    if "head" in modules:  # ours has the RPN's outputs once, and lacks what Detectron2 has not
        theirs += BACKGROUND + OBJECTNESS
    # The table adds rounded rows up, so a sum may differ by one in the last digit.
    assert 100 * theirs / PAPER_TOTAL == pytest.approx(TABLE_3[modules], abs=0.0101)
    if len(modules) == 1:
        assert round(100 * theirs / PAPER_TOTAL, 2) == TABLE_3[modules]


def test_voc_model_has_the_parts_of_table_3(voc_r18):
    table = voc_table(voc_r18, "base", "top", "rpn")
    assert prunable_in(table, "rpn") == 512 * 256 * 9
    assert prunable_in(table, "stem", "predictors") == 0
    # Less than theirs: norm layers (buffers here), 9 objectness outputs, 4 box outputs of the background class.
    norms, objectness, background = 9_600, 9 * 513, 4 * 513
    assert table.total_parameters == PAPER_TOTAL - norms - objectness - background
