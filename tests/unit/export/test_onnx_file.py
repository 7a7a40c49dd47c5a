import sys

import numpy as np
import pytest
import torch
from torch import nn

from lth_det.errors import ConfigError, RunError
from lth_det.export import onnx_file
from lth_det.export.onnx_file import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.out = nn.Conv2d(6, 4, 1)
        with torch.no_grad():
            self.conv.weight[torch.rand(self.conv.weight.shape) < 0.8] = 0.0
            self.norm.running_mean.normal_()

    def forward(self, image):
        half = self.norm(self.conv(image)).relu()
        return half, self.out(half)


def test_zeros_and_outputs_are_kept(tmp_path):
    net, image = Net().eval(), torch.randn(1, 3, 8, 12)
    report = export_onnx(net, image, tmp_path / "net.onnx", outputs=("half", "out"))
    assert report.weights == 6 * 27 + 24
    assert report.zeros == int((net.conv.weight == 0).sum())
    assert report.bytes == (tmp_path / "net.onnx").stat().st_size
    assert report.largest_difference < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    other = torch.randn(2, 3, 16, 4)  # another batch and another size
    found = session.run(["out"], {"image": other.numpy()})[0]
    assert np.allclose(found, net(other)[1].detach().numpy(), atol=1e-5)


def test_a_changed_weight_or_output_is_found(tmp_path, monkeypatch):
    net, image = Net().eval(), torch.randn(1, 3, 8, 8)
    real = onnx_file._initializers

    def without_one_zero(content):
        values = {name: value.copy() for name, value in real(content).items()}
        place = tuple(np.argwhere(values["conv.weight"] == 0)[0])
        values["conv.weight"][place] = 1e-9
        return values

    with monkeypatch.context() as patch:
        patch.setattr(onnx_file, "_initializers", without_one_zero)
        with pytest.raises(RunError, match=r"changed conv\.weight"):
            export_onnx(net, image, tmp_path / "a.onnx", outputs=("half", "out"))
    monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(RunError, match="computes other outputs"):
        export_onnx(net, image, tmp_path / "a.onnx", outputs=("half", "out"))
    assert not (tmp_path / "a.onnx").exists()


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'lth_det\[export\]'"):
        export_onnx(Net().eval(), torch.zeros(1, 3, 8, 8), tmp_path / "a", outputs=("a", "b"))
