"""tools/export_ticket.py on a real detector: channels removed, ONNX written, both with the outputs of the original."""

import json

import pytest
import torch
from small_cfg import ROOT, small_cfg
from test_channel_removal import build, kill_channels, outputs

from lth_det.cli.export_ticket import main
from lth_det.d2.channel_chains import channel_chains
from lth_det.d2.export import load_compact_detector, load_detector
from lth_det.errors import MaskMismatchError
from lth_det.export import load_compact
from lth_det.tickets import Mask, Provenance, Ticket, save_ticket

pytestmark = pytest.mark.d2
CONFIG = str(ROOT / "configs/quick/mask_rcnn_imp.yaml")


@pytest.fixture
def trained(tmp_path):
    """Weights with dead channels and other zeros, and their ticket, as files."""
    cfg = small_cfg(tmp_path / "out", task="mask")
    model = build(cfg)
    kill_channels(model, channel_chains(model), 0.4)
    dice = torch.Generator().manual_seed(1)
    flags = {}
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "predictor" not in name:
                value[torch.rand(value.shape, generator=dice) < 0.5] = 0
                flags[name] = value != 0
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    made = Provenance("magnitude", "global", 0.5, {}, 0.5, 1, None, "shapes", "w", 1, "init")
    save_ticket(tmp_path / "t.safetensors", Ticket(Mask(flags), None, made))
    return (
        cfg,
        model,
        ["--weights", str(tmp_path / "w.pth"), "--ticket", str(tmp_path / "t.safetensors")],
    )


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_smaller_detector_with_the_same_outputs(trained, tmp_path, capsys):
    cfg, model, files = trained
    out, features = tmp_path / "small.safetensors", tmp_path / "features.onnx"
    options = ["--config-file", CONFIG, "--remove-channels", "--onnx", features]
    assert call(*files, "--output", out, *options, "--json", "-") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["channels"]["removed"] > 100
    assert facts["channels"]["parameters"] < facts["channels"]["parameters_before"]
    assert facts["onnx"]["zeros"] == sum(
        int((value == 0).sum())
        for name, value in load_compact(out).state.items()
        if name.startswith("backbone.") and value.ndim > 1
    )
    before, after = outputs(model), outputs(load_compact_detector(cfg, out))
    for first, second in zip(before, after, strict=True):
        assert torch.allclose(first, second, rtol=0, atol=2e-5 * float(first.abs().max()))
    # The same without removing: exact.
    assert call(*files, "--output", out) == 0
    for first, second in zip(before, outputs(load_compact_detector(cfg, out)), strict=True):
        assert torch.equal(first, second)


def test_what_is_missing_or_does_not_fit_is_one_sentence(trained, tmp_path, capsys):
    cfg, model, files = trained
    assert call(*files, "--output", tmp_path / "o", "--remove-channels") == 2
    assert "need --config-file" in capsys.readouterr().err
    other = str(ROOT / "configs/quick/keypoint_rcnn_imp.yaml")
    assert (
        call(*files, "--output", tmp_path / "o", "--remove-channels", "--config-file", other) == 2
    )
    assert "The weights do not fit the configuration" in capsys.readouterr().err
    state = dict(model.state_dict())
    state["backbone.fpn_lateral2.norm.bias"] = torch.zeros(9)
    with pytest.raises(MaskMismatchError, match=r"wrong shape backbone\.fpn_lateral2\.norm\.bias"):
        load_detector(cfg, state)
