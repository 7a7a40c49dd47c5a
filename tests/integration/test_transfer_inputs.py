"""Channel order, mean, deviation and stride: a network gets the input it was trained with, or the transfer says no."""

import json
import pickle

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model
from small_cfg import ROOT, small_cfg
from torchvision.models import resnet18, resnet50
from transfer_cases import (
    IMAGENET_INPUT,
    block_convolutions,
    classifier_extra,
    command,
    narrow_classifier,
    trained_like,
    write_ticket,
)

from lth_det.d2.preflight import check_inputs
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.transfer import input_extra
from lth_det.errors import ConfigError
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2

R18 = ROOT / "configs/coco/faster_rcnn_R_18_FPN_imp.yaml"
R50 = ROOT / "configs/coco/faster_rcnn_R_50_FPN_imp.yaml"
SMALL = ("MODEL.WEIGHTS", "", "MODEL.ROI_BOX_HEAD.FC_DIM", "4", "MODEL.DEVICE", "cpu")
BGR = ("INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[103.53,116.28,123.675]",
       "MODEL.PIXEL_STD", "[1.0,1.0,1.0]")  # fmt: skip
RGB = ("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675,116.28,103.53]",
       "MODEL.PIXEL_STD", "[58.395,57.12,57.375]")  # fmt: skip
UP = "backbone.bottom_up."


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Dense checkpoints in torchvision's names; the file names say nothing about the network."""
    folder = tmp_path_factory.mktemp("checkpoints")
    networks = {}
    for depth, build in ((18, resnet18), (50, resnet50)):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(depth)
            networks[depth] = trained_like(build(weights=None))
        torch.save({"state_dict": networks[depth].state_dict()}, folder / f"weights-{depth}.tar")
    return folder, networks


def stages(network, images):
    value = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    features = []
    for number in (1, 2, 3, 4):
        value = getattr(network, f"layer{number}")(value)
        features.append(value)
    return features


def backbone_of(ticket, config, *options):
    """Return the ResNet of a configuration with the ticket's weights and zeros."""
    cfg = load_config(str(config), [*SMALL, *options])
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    network = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    state = {name.removeprefix(UP): value for name, value in ticket.weights.items() if UP in name}
    for name, keep in ticket.mask.items():
        state[name.removeprefix(UP)] = state[name.removeprefix(UP)] * keep
    network.load_state_dict(state)
    return network


def prune_like(network, ticket):
    """Put the ticket's zeros on the classifier, by torchvision's names."""
    names = {"stem.conv1.weight": "conv1.weight"}
    for stage in range(4):
        for block in range(6):
            for number in (1, 2, 3):
                place = f"res{stage + 2}.{block}.conv{number}.weight"
                names[place] = f"layer{stage + 1}.{block}.conv{number}.weight"
    with torch.no_grad():
        for name, keep in ticket.mask.items():
            network.get_parameter(names[name.removeprefix(UP)]).mul_(keep)
    return network


def features(network, images):
    with torch.no_grad():
        return list(network(images).values())


def expected_features(build, checkpoints, depth, ticket, images):
    network = build(weights=None).eval()
    network.load_state_dict(checkpoints[1][depth].state_dict())
    with torch.no_grad():
        return stages(prune_like(network, ticket), images)


def images_of(seed, size=64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, size, size, generator=generator) * 255


def normalised(pixels, mean, std):
    return (pixels - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(std).reshape(1, 3, 1, 1)


IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


@pytest.mark.parametrize(("build", "depth", "config"), [(resnet18, 18, R18), (resnet50, 50, R50)])
def test_features_are_those_of_the_pruned_classifier(build, depth, config, checkpoints, tmp_path):
    right = (*SMALL, *RGB, "MODEL.RESNETS.STRIDE_IN_1X1", "False")
    path = tmp_path / "t.safetensors"
    command("--config-file", config, "--kind", "magnitude", "--prune-rate", "0.6", "--output", path,
            "--source", checkpoints[0] / f"weights-{depth}.tar", *right)  # fmt: skip
    ticket = load_ticket(path)
    images = images_of(1)
    expected = expected_features(build, checkpoints, depth, ticket, images)
    for mine, theirs in zip(
        features(backbone_of(ticket, config, *right), images), expected, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    if depth == 50:  # the same weights with the stride of MSRA's network compute something else
        other = features(backbone_of(ticket, config, "MODEL.RESNETS.STRIDE_IN_1X1", "True"), images)
        assert not torch.allclose(other[1], expected[1], rtol=0.1, atol=0.1)


def test_another_input_is_refused_with_the_pairs_that_mend_it(checkpoints, tmp_path):
    words = ("--config-file", R50, "--kind", "magnitude", "--prune-rate", "0.8", *SMALL,
             "--source", checkpoints[0] / "weights-50.tar", "--output", tmp_path / "t.safetensors")  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        command(*words)
    assert (
        'INPUT.FORMAT RGB MODEL.PIXEL_MEAN "[123.675, 116.28, 103.53]" '
        'MODEL.PIXEL_STD "[58.395, 57.12, 57.375]" MODEL.RESNETS.STRIDE_IN_1X1 False'
    ) in str(caught.value)
    with pytest.raises(ConfigError, match=r"add MODEL\.RESNETS\.STRIDE_IN_1X1 False to this"):
        command(*words, *RGB)
    assert not (tmp_path / "t.safetensors").exists()
    # The file's name does not matter, only what is in it (the predecessor looked for "resnet18" in the name).
    renamed = tmp_path / "resnet18.pth"
    renamed.write_bytes((checkpoints[0] / "weights-50.tar").read_bytes())
    with pytest.raises(ConfigError, match="STRIDE_IN_1X1 False"):
        command(*words, "--source", renamed)


def narrow_words(tmp_path):
    network = narrow_classifier()
    path = tmp_path / "source.safetensors"
    extra = classifier_extra({**IMAGENET_INPUT, "format": "BGR"})
    write_ticket(path, network, block_convolutions(network), extra=extra)
    return ("--config-file", ROOT / "configs/quick/mask_rcnn_imp.yaml", "--kind", "ticket",
            "--source", path, "--output", tmp_path / "t.safetensors", "--json", tmp_path / "r.json")  # fmt: skip


@pytest.mark.parametrize("option", ["--fix", "--preset default"])
def test_a_fixed_ticket_demands_its_options_of_the_run(option, tmp_path):
    words = narrow_words(tmp_path)
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT BGR"):
        command(*words)
    command(*words, *option.split())
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["preprocessing"]["required_options"] == [
        ["INPUT.FORMAT", "BGR"],
        ["MODEL.PIXEL_MEAN", IMAGENET_INPUT["mean"]],
        ["MODEL.PIXEL_STD", IMAGENET_INPUT["std"]],
    ]
    path = str(tmp_path / "t.safetensors")
    with pytest.raises(ConfigError, match=r'add INPUT\.FORMAT BGR MODEL\.PIXEL_MEAN "\[123\.675'):
        check_inputs(small_cfg(tmp_path / "run", "LTH.TICKET", path), eval_only=False)
    right = ("INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", str(IMAGENET_INPUT["mean"]),
             "MODEL.PIXEL_STD", str(IMAGENET_INPUT["std"]))  # fmt: skip
    check_inputs(small_cfg(tmp_path / "run", "LTH.TICKET", path, *right), eval_only=False)
    wrong = (*right[:-1], "[58.395, 57.12, 5.0]")
    with pytest.raises(ConfigError, match=r"add MODEL\.PIXEL_STD"):
        check_inputs(small_cfg(tmp_path / "run", "LTH.TICKET", path, *wrong), eval_only=False)


def test_the_paper_preset_accepts_the_mismatch_and_records_it(tmp_path):
    command(*narrow_words(tmp_path), "--preset", "paper")
    ticket = load_ticket(tmp_path / "t.safetensors")
    extra = ticket.provenance.extra
    assert json.loads(extra["preprocessing_mismatch"])[0] == ["INPUT.FORMAT", "BGR"]
    assert "required_options" not in extra
    # From now on its weights belong to what the target feeds them.
    assert json.loads(extra["preprocessing"])["format"] == "RGB"
    check_inputs(
        small_cfg(tmp_path / "run", "LTH.TICKET", str(tmp_path / "t.safetensors")), eval_only=False
    )


def test_folding_into_the_first_convolution_gives_equal_features(checkpoints, tmp_path):
    path = tmp_path / "t.safetensors"
    command("--config-file", R18, "--kind", "magnitude", "--prune-rate", "0.6", *SMALL, *BGR,
            "--fold-preprocessing", "--source", checkpoints[0] / "weights-18.tar", "--output", path)  # fmt: skip
    ticket = load_ticket(path)
    pixels = images_of(2)
    stem = f"{UP}stem.conv1.weight"
    # The threshold was taken before folding: the mask is the one of the unfolded weights, channels turned round.
    command("--config-file", R18, "--kind", "magnitude", "--prune-rate", "0.6", *SMALL,
            "--source", checkpoints[0] / "weights-18.tar", "--output", tmp_path / "plain.safetensors")  # fmt: skip
    plain = load_ticket(tmp_path / "plain.safetensors")
    assert torch.equal(ticket.mask[stem], plain.mask[stem].flip(1))
    expected = expected_features(resnet18, checkpoints, 18, plain, normalised(pixels, *IMAGENET))
    turned = normalised(pixels.flip(1), IMAGENET[0][::-1], [1.0, 1.0, 1.0])
    for mine, theirs in zip(features(backbone_of(ticket, R18), turned), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)
    cfg = load_config(str(R18), [*SMALL, *BGR])
    cfg.LTH.TICKET = str(path)
    assert json.loads(ticket.provenance.extra["required_options"])[0] == ["INPUT.FORMAT", "BGR"]
    with pytest.raises(ConfigError, match="the means differ"):
        command("--config-file", R18, "--kind", "magnitude", "--prune-rate", "0.6", *SMALL, *BGR,
                "MODEL.PIXEL_MEAN", "[100.0,116.28,123.675]", "--fold-preprocessing",
                "--source", checkpoints[0] / "weights-18.tar", "--output", path)  # fmt: skip


def test_a_mask_alone_depends_on_the_channel_order_of_the_stem_only(tmp_path):
    words = [*narrow_words(tmp_path), "--kind", "mask"]
    with pytest.raises(ConfigError, match=r"add INPUT\.FORMAT BGR to this"):
        command(*words)
    command(*words, "--groups", "backbone")
    assert load_ticket(tmp_path / "t.safetensors").weights is None


def test_a_checkpoint_that_does_not_say_is_asked_for(tmp_path):
    detector = build_model(small_cfg(tmp_path))
    torch.save({"model": detector.state_dict()}, tmp_path / "x.pth")
    words = ("--config-file", ROOT / "configs/quick/mask_rcnn_imp.yaml", "--kind", "magnitude",
             "--prune-rate", "0.5", "--source", tmp_path / "x.pth", "--output", tmp_path / "t.safetensors")  # fmt: skip
    with pytest.raises(ConfigError, match="add --source-preprocessing"):
        command(*words)
    command(*words, "--source-preprocessing", "target")
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT BGR"):
        command(*words, "--source-preprocessing", "msra")
    text = json.dumps({"format": "RGB", "mean": [1, 2, 3], "std": [1, 1, 1]})
    with pytest.raises(ConfigError, match=r"add MODEL\.PIXEL_MEAN \"\[1\.0"):
        command(*words, "--source-preprocessing", text)


def test_a_checkpoint_of_a_run_says_it_through_the_results_of_the_run(tmp_path):
    cfg = small_cfg(tmp_path / "x")
    (tmp_path / "run/round_00").mkdir(parents=True)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "run/round_00/model_final.pth")
    (tmp_path / "run/results.json").write_text(json.dumps({"input": input_extra(cfg)}))
    words = ("--config-file", ROOT / "configs/quick/mask_rcnn_imp.yaml", "--kind", "magnitude", "--prune-rate", "0.5",
             "--source", tmp_path / "run/round_00", "--output", tmp_path / "t.safetensors")  # fmt: skip
    command(*words)
    with pytest.raises(ConfigError, match=r"the results of its run.*add INPUT\.FORMAT RGB"):
        command(*words, "INPUT.FORMAT", "BGR")


def caffe2_name(name):
    """Return the name in MSRA's files of a basic-block ResNet's tensor, None if they have no such tensor."""
    layer, _, value = name.rpartition(".")
    if value not in ("weight", "bias") or layer == "fc":
        return None
    norm = {"weight": "bn_s", "bias": "bn_b"}
    if layer in ("conv1", "bn1"):
        return "conv1_w" if layer == "conv1" else f"res_conv1_{norm[value]}"
    stage, block, kind, *rest = layer.removeprefix("layer").split(".")
    branch = "1" if kind == "downsample" else {"1": "2a", "2": "2b"}[kind[-1]]
    is_norm = kind.startswith("bn") or rest == ["1"]
    return f"res{int(stage) + 1}_{block}_branch{branch}_{norm[value] if is_norm else 'w'}"


def test_msra_weights_bring_their_own_input(tmp_path):
    state = narrow_classifier().state_dict()
    arrays = {
        caffe2_name(name): value.numpy() for name, value in state.items() if caffe2_name(name)
    }
    assert len(arrays) == 1 + 2 + 2 * 3 * 4 + 3 * 3
    (tmp_path / "R.pkl").write_bytes(pickle.dumps({"blobs": arrays}, protocol=2))
    words = ("--config-file", ROOT / "configs/quick/mask_rcnn_imp.yaml", "--kind", "magnitude",
             "--prune-rate", "0.5", "--source", tmp_path / "R.pkl", "--output", tmp_path / "t.safetensors")  # fmt: skip
    with pytest.raises(ConfigError, match=r"MSRA.* add INPUT\.FORMAT BGR"):
        command(*words)
    command(*words, *BGR, "--json", tmp_path / "r.json")
    ticket = load_ticket(tmp_path / "t.safetensors")
    name = f"{UP}res3.0.shortcut.weight"
    assert torch.equal(ticket.weights[name], state["layer2.0.downsample.0.weight"])
    report = json.loads((tmp_path / "r.json").read_text())
    left = {name for name, why in report["unmatched_target"].items() if why == "not in the source"}
    assert left
    assert all(
        name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in left
    )
