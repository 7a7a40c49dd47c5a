"""The figures of Girish et al. (CVPR 2021) that follow from a transfer alone: network sparsities of Tables 1, 2 and 4.

Counting rule of Tables 1 and 2, found by trying: zeros among *all* parameters of the freshly built detector, which
counts the biases that Detectron2 initialises with zero, divided by all parameters, and cut (not rounded) after two
decimals. Our ``sparsity`` counts pruned weights only; ``zero_parameters`` counts as they did. Their 50 % row of mask
transfer (24.55 and 19.71 %) fits no rule that also gives the other rows, and is left out.
"""

import dataclasses
import functools
import itertools
import math
from pathlib import Path

import pytest
import torch
from meta_models import KEYPOINT, MASK, zoo_cfg

from lth_det.d2.setup_cfg import load_config
from lth_det.d2.transfer import transfer_target
from lth_det.transfer.compose import TransferRequest, transfer
from lth_det.transfer.names import canonical_detector_name, name_source
from lth_det.transfer.preprocessing import InputFacts
from lth_det.transfer.report import transfer_report
from lth_det.transfer.source import Source

CONFIG_FOLDER = Path(__file__).parents[2] / "configs"

pytestmark = pytest.mark.d2

# model, depth -> prune rate of the backbone -> network sparsity as printed, in percent
PRINTED = {
    (MASK, 18): {0.5: 17.57, 0.8: 28.10, 0.9: 31.61},
    (KEYPOINT, 18): {0.5: 11.94, 0.8: 19.09, 0.9: 21.47},
    (MASK, 50): {0.8: 37.33, 0.9: 41.99},
    (KEYPOINT, 50): {0.8: 28.00, 0.9: 31.49},
}
BACKBONE = {18: 10_994_880, 50: 20_686_016}
TOTAL = {
    (MASK, 18): 31_317_936,
    (KEYPOINT, 18): 46_107_878,
    (MASK, 50): 44_343_216,
    (KEYPOINT, 50): 59_133_158,
}


@functools.cache
def target_of(name, depth):
    return transfer_target(
        zoo_cfg(name, "LTH.PRESET", "paper", "MODEL.WEIGHTS", "", depth=depth), seed=1
    )


def source_of(target, kind, *, weights=None, masks=None):
    names = [name for name in target.canonical if name.startswith(("stem.", "res"))]
    if masks:
        names = list(masks)
    return Source(
        label="source",
        sha256="0" * 64,
        kind=kind,
        named=name_source([target.canonical.get(name, name) for name in names], "source"),
        weights=weights or {},
        masks=masks or {},
        inputs=InputFacts(None, None, "made up"),
        values="made up",
    )


@functools.cache
def dense_backbone(depth):
    target = target_of(MASK, depth)
    generator = torch.Generator().manual_seed(depth)
    return {
        name: torch.randn(target.shapes[place], generator=generator)
        for name, place in target.canonical.items()
        if name.startswith(("stem.", "res"))
    }


@pytest.mark.parametrize(("name", "depth"), PRINTED)
def test_network_sparsity_of_a_transferred_backbone(name, depth):
    start = target_of(name, depth).initial()  # the real model, once for all rates
    target = dataclasses.replace(target_of(name, depth), initial=lambda: start)
    for rate, printed in PRINTED[name, depth].items():
        source = source_of(target, "magnitude", weights=dense_backbone(depth))
        done = transfer(source, target, TransferRequest(prune_rate=rate, policy="accept"))
        report = transfer_report(done, source, target)
        assert report["total_parameters"] == TOTAL[name, depth]
        # Trap: the rate asked for is the rate achieved within the scope, and nothing outside it is pruned.
        assert done.ticket.mask.numel == BACKBONE[depth]
        kept = done.ticket.mask.kept / BACKBONE[depth]
        assert kept == pytest.approx(1 - rate, abs=1e-7)
        assert report["sparsity"] == pytest.approx(rate * BACKBONE[depth] / TOTAL[name, depth])
        share = 100 * report["zero_parameters"] / report["total_parameters"]
        assert math.floor(share * 100) / 100 == printed


def shared_and_head(name):
    """Return the prunable parameters that two detectors share, and those of the task head."""
    entries = [entry for entry in target_of(name, 18).table if entry.prunable]
    head = [entry for entry in entries if entry.group in ("mask_head", "keypoint_head")]
    return [entry for entry in entries if entry not in head], head


def extreme_masks(name, *, head_first):
    """Prune 80 % of a source, in its task head first or last: the two ends of what a ticket can look like."""
    shared, head = shared_and_head(name)
    order = [*head, *shared] if head_first else [*shared, *head]
    total = sum(entry.numel for entry in order)
    left = total - round(0.2 * total)
    masks = {}
    for entry in order:
        pruned = min(left, entry.numel)
        left -= pruned
        flat = torch.ones(entry.numel, dtype=torch.bool)
        flat[:pruned] = False
        masks[canonical_detector_name(entry.name)] = flat.reshape(entry.shape)
    return masks


@pytest.mark.parametrize(
    ("source_name", "target_name", "own", "low", "high", "misprint"),
    [(KEYPOINT, MASK, 79.4, 60.4, 89.7, 50.11), (MASK, KEYPOINT, 78.4, 47.6, 53.3, 76.98)],
)
def test_cross_task_sparsity_lies_in_the_arithmetic_range(
    source_name, target_name, own, low, high, misprint
):
    found = []
    for head_first in (True, False):
        masks = extreme_masks(source_name, head_first=head_first)
        target = target_of(target_name, 18)
        pruned = sum(int((~mask).sum()) for mask in masks.values())
        assert round(100 * pruned / TOTAL[source_name, 18], 1) == own
        source = source_of(target_of(source_name, 18), "mask", masks=masks)
        done = transfer(source, target, TransferRequest())
        assert done.ticket.weights is None
        found.append(100 * done.summary.total.sparsity)
    assert [round(value, 1) for value in found] == [low, high]
    # The paper's Table 4 has the two directions the wrong way round: its number is impossible here.
    assert not low <= misprint <= high


def test_masked_names_are_the_literal_list():
    """The stem and the block convolutions; no shortcut, no norm layer, nothing outside the ResNet."""
    source = source_of(target_of(MASK, 18), "magnitude", weights=dense_backbone(18))
    request = TransferRequest(prune_rate=0.5, policy="accept", weights="target")
    done = transfer(source, target_of(MASK, 18), request)
    blocks = itertools.product((2, 3, 4, 5), (0, 1), (1, 2))
    expected = [f"res{stage}.{block}.conv{number}.weight" for stage, block, number in blocks]
    assert sorted(done.ticket.mask) == [
        f"backbone.bottom_up.{name}" for name in sorted([*expected, "stem.conv1.weight"])
    ]


def test_a_c4_detector_gets_res5_in_its_heads():
    """VOC columns of Table 1, R-18: 44.16, 70.66 and 79.49 % of the authors' 12,438,239 parameters."""
    cfg = load_config(str(CONFIG_FOLDER / "voc/faster_rcnn_R_18_C4_imp.yaml"))
    target = transfer_target(cfg)
    weights = dense_backbone(18)
    for rate, printed in {0.5: 44.16, 0.8: 70.66, 0.9: 79.49}.items():
        request = TransferRequest(prune_rate=rate, policy="accept", weights="target")
        done = transfer(source_of(target, "magnitude", weights=weights), target, request)
        assert round(100 * done.summary.total.pruned_parameters / 12_438_239, 2) == printed
    places = {row.canonical: row.target for row in done.matching.matched}
    assert places["res5.1.conv2.weight"] == "roi_heads.res5.1.conv2.weight"
    assert places["res4.0.conv1.norm.running_var"] == "backbone.res4.0.conv1.norm.running_var"
    assert done.matching.groups == ("stem", "backbone", "res5")
