"""torchvision's ResNet weights in Detectron2's networks: the same features, every tensor in its place."""

from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model
from meta_models import FASTER, zoo_cfg
from torchvision.models import resnet18, resnet50

from lth_det.cli import convert_torchvision
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.torchvision_weights import convert_file, convert_state
from lth_det.errors import DataError

CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = pytest.mark.d2


def trained_like(build):
    """Return a torchvision ResNet whose norm layers have statistics and gains of their own."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = build(weights=None).eval()
        for name, value in network.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2.0)
            elif "running_mean" in name or name.endswith("bias"):
                value.normal_(0, 0.1)
    return network


def stages(network, images):
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    features = {}
    for number in (1, 2, 3, 4):
        x = getattr(network, f"layer{number}")(x)
        features[f"res{number + 1}"] = x
    return features


@pytest.mark.parametrize(("build", "depth"), [(resnet18, 18), (resnet50, 50)])
def test_features_are_torchvisions(build, depth):
    network = trained_like(build)
    cfg = zoo_cfg(FASTER, "MODEL.BACKBONE.NAME", "build_resnet_backbone", depth=depth)
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    backbone = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    converted = convert_state(network.state_dict())
    assert set(converted) == set(backbone.state_dict())
    backbone.load_state_dict(converted)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = backbone(images), stages(network, images)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected)


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        ("coco/faster_rcnn_R_18_FPN_imp.yaml", "backbone.bottom_up."),
        ("voc/faster_rcnn_R_18_C4_imp.yaml", "backbone."),
    ],
)
def test_detectron2_puts_every_tensor_into_its_place(tmp_path, config, prefix):
    network = trained_like(resnet18)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    count = convert_file(tmp_path / "resnet18.pth", tmp_path / "new" / "d2.pth")
    cfg = load_config(str(CONFIGS / config), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(tmp_path / "new" / "d2.pth"))
    state, converted = model.state_dict(), convert_state(network.state_dict())
    assert count == len(converted) == 100
    for key, value in converted.items():
        region_wise = config.startswith("voc") and key.startswith("res5")
        place = f"roi_heads.{key}" if region_wise else prefix + key
        assert torch.equal(state[place], value), key


def test_wrapped_and_nested_checkpoints_are_read(tmp_path):
    state = {f"module.{name}": value for name, value in resnet18(weights=None).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.pth")
    assert convert_file(tmp_path / "a.pth", tmp_path / "b.pth") == 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"features.0.weight": torch.zeros(1)},
            r"features\.0\.weight is not a name of a torchvision ResNet",
        ),
        ({"layer1.0.conv1.weight": torch.zeros(1)}, "has no conv1"),
        ([torch.zeros(1)], "holds no state dict"),
        (None, "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.pth"
    if content is None:
        path.write_text("hello")
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match=message):
        convert_file(path, tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_the_tool_ends_with_code_2_on_a_missing_file(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        convert_torchvision.main([str(tmp_path / "none.pth"), str(tmp_path / "b.pth")])
    assert caught.value.code == 2
    assert "none.pth cannot be read" in capsys.readouterr().err
