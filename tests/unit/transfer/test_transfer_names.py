"""Names of torchvision, timm, MSRA and Detectron2 in one form; variants are refused."""

import pytest
import torchvision

from lth_det.errors import DataError
from lth_det.transfer.names import (
    canonical_caffe2_name,
    canonical_detector_name,
    canonical_torchvision_name,
    name_source,
)

R50 = list(torchvision.models.resnet50(weights=None).state_dict())


@pytest.mark.parametrize(
    ("theirs", "caffe2", "ours"),
    [
        ("conv1.weight", "conv1_w", "stem.conv1.weight"),
        ("bn1.weight", "res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("bn1.bias", "res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("layer1.0.conv1.weight", "res2_0_branch2a_w", "res2.0.conv1.weight"),
        ("layer1.0.bn3.weight", "res2_0_branch2c_bn_s", "res2.0.conv3.norm.weight"),
        ("layer4.2.bn2.running_var", "res5_2_branch2b_bn_riv", "res5.2.conv2.norm.running_var"),
        ("layer2.0.downsample.0.weight", "res3_0_branch1_w", "res3.0.shortcut.weight"),
        ("layer3.0.downsample.1.bias", "res4_0_branch1_bn_b", "res4.0.shortcut.norm.bias"),
    ],
)
def test_three_names_of_one_tensor(theirs, caffe2, ours):
    assert canonical_torchvision_name(theirs) == ours
    assert canonical_caffe2_name(caffe2) == ours
    for place in (f"backbone.bottom_up.{ours}", f"backbone.{ours}", ours):
        assert canonical_detector_name(place) == ours


def test_only_res5_lies_in_the_heads_of_a_c4_model():
    assert canonical_detector_name("roi_heads.res5.0.conv1.weight") == "res5.0.conv1.weight"
    for name in (
        "roi_heads.box_predictor.cls_score.weight",
        "backbone.fpn_lateral2.weight",
        "roi_heads.box_head.conv1.weight",
        "backbone.top_block.p6.weight",
    ):
        assert canonical_detector_name(name) == name


def test_names_stay_different():
    canonical = {canonical_torchvision_name(name) for name in R50 if not name.startswith("fc.")}
    assert len(canonical) == len(R50) - 2


@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder.", "backbone.body.", "net."])
def test_prefixes_are_found(prefix):
    others = ["queue.weight"] if prefix else []
    found = name_source([*(prefix + name for name in R50), *others], "file")
    assert (found.convention, found.prefix) == ("torchvision", prefix)
    assert len(found.file_names) == len(R50) - 2
    assert found.file_names["stem.conv1.weight"] == f"{prefix}conv1.weight"
    assert found.left_out[f"{prefix}fc.weight"] == "classifier"
    assert all(found.left_out[name] == f"outside the ResNet ({prefix}*)" for name in others)


def test_detectors_and_msra_files():
    names = ["module.backbone.res2.0.conv1.weight", "module.roi_heads.box_head.fc1.weight"]
    found = name_source(names, "file")
    assert found.convention == "detectron2"
    assert set(found.file_names) == {"res2.0.conv1.weight", "roi_heads.box_head.fc1.weight"}
    found = name_source(
        ["conv1_w", "conv1_b", "fc1000_w", "pred_b", "res5_2_branch2c_bn_b"], "file"
    )
    assert found.convention == "caffe2"
    assert found.left_out == {"fc1000_w": "classifier", "pred_b": "classifier"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["features.0.weight"], "holds no ResNet"),
        ([f"encoder_{letter}.{name}" for letter in "qk" for name in R50], "holds 2 ResNets"),
        ([*R50, "conv1.0.weight"], "a deep stem"),
        ([*R50, "layer1.0.downsample.2.weight"], "average pooling"),
        ([*R50, "layer1.0.se.fc1.weight"], "attention"),
        ([*R50, "layer1.0.conv4.weight"], "layer1.0.conv4.weight is not a name"),
    ],
)
def test_other_networks_are_refused(names, message):
    with pytest.raises(DataError, match=message):
        name_source(names, "file")
