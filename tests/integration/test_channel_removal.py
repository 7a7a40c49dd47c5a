"""Removing channels from real detectors changes shapes, and no output."""

import copy

import pytest
import torch
from meta_models import KEYPOINT, zoo_model
from small_cfg import ROOT, small_cfg

from lth_det.d2.channel_chains import channel_chains
from lth_det.d2.setup_cfg import load_config
from lth_det.export.channel_shapes import fit_shapes_
from lth_det.export.channels import remove_channels_

pytestmark = pytest.mark.d2


def build(cfg):
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    return build_model(cfg).eval()


@torch.no_grad()
def outputs(model, regions=3):
    """Everything that the network computes before boxes are chosen: features, proposals' scores, head outputs."""
    dice = torch.Generator().manual_seed(4)
    features = model.backbone(torch.randn(1, 3, 64, 64, generator=dice))
    maps = [features[name] for name in model.proposal_generator.in_features]
    logits, deltas = model.proposal_generator.rpn_head(maps)
    heads = model.roi_heads
    channels = maps[0].shape[1]
    size = heads.box_pooler.output_size
    boxes = heads.box_head(torch.randn(regions, channels, *size, generator=dice))
    found = [*features.values(), *logits, *deltas, *heads.box_predictor(boxes)]
    if getattr(heads, "mask_head", None) is not None:
        region = torch.randn(regions, channels, *heads.mask_pooler.output_size, generator=dice)
        found.append(heads.mask_head.layers(region))
    return found


@torch.no_grad()
def kill_channels(model, chains, share):
    """Zero the weights of some channels of each producer, or what reads them; make norms and biases anything."""
    dice = torch.Generator().manual_seed(7)
    for norm in model.modules():
        if isinstance(getattr(norm, "running_mean", None), torch.Tensor):
            for leaf in (norm.weight, norm.bias, norm.running_mean):
                leaf.copy_(torch.randn(leaf.shape, generator=dice))
            norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=dice) + 0.5)
    for index, chain in enumerate(chains):
        layer = model.get_submodule(chain.producer)
        if layer.bias is not None:
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=dice))
        if index % 2:
            dead = torch.rand(layer.weight.shape[0], generator=dice) < share
            layer.weight[dead] = 0
        else:
            for name in chain.readers:
                weight = model.get_submodule(name).weight
                dead = torch.arange(weight.shape[1]) % 3 == 0
                weight[:, dead] = 0


def small(tmp_path):
    return small_cfg(tmp_path, task="mask")


def resnet18(tmp_path):
    options = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    return load_config(str(ROOT / "configs/coco/mask_rcnn_R_18_FPN_imp.yaml"), options)


@pytest.mark.parametrize("make", [small, resnet18])
def test_outputs_are_equal_and_the_result_loads_strictly(tmp_path, make):
    cfg = make(tmp_path)
    model = build(cfg)
    chains = channel_chains(model)
    kill_channels(model, chains, 0.4)
    before = outputs(model)
    size = sum(value.numel() for value in model.parameters())
    removals = remove_channels_(model, chains)
    assert sum(len(removal.kept) for removal in removals) < 0.8 * sum(r.channels for r in removals)
    assert any(removal.constant for removal in removals)
    assert sum(value.numel() for value in model.parameters()) < 0.8 * size
    after = outputs(model)
    for first, second in zip(before, after, strict=True):
        # Sums in another order; relative to the size of the map, since its elements cancel.
        assert torch.allclose(first, second, rtol=0, atol=2e-5 * float(first.abs().max()))
    fresh = build(cfg)
    state = copy.deepcopy(model.state_dict())
    fit_shapes_(fresh, channel_chains(fresh), state)
    fresh.load_state_dict(state)
    for first, second in zip(after, outputs(fresh), strict=True):
        assert torch.equal(first, second)


def test_the_chains_of_a_resnet_50_with_keypoints():
    names = {chain.producer: chain.readers for chain in channel_chains(zoo_model(KEYPOINT))}
    assert names["backbone.bottom_up.res2.0.conv1"] == ("backbone.bottom_up.res2.0.conv2",)
    assert names["backbone.bottom_up.res5.2.conv2"] == ("backbone.bottom_up.res5.2.conv3",)
    assert names["roi_heads.keypoint_head.conv_fcn8"] == ("roi_heads.keypoint_head.score_lowres",)
    assert names["roi_heads.box_head.fc2"] == (
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    )
    assert names["proposal_generator.rpn_head.conv"] == (
        "proposal_generator.rpn_head.objectness_logits",
        "proposal_generator.rpn_head.anchor_deltas",
    )
    # 16 bottlenecks with two inner layers, 7 + 1 keypoint convolutions, two linear layers, the RPN.
    assert len(names) == 32 + 8 + 2 + 1
    # The residual stream and the pyramid are sums.
    assert not [n for n in names if "conv3" in n or "fpn" in n or "stem" in n or "shortcut" in n]
