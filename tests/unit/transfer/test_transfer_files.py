"""Files of weights: wrappings off, no code run; masks and thresholds beside the weights put into effect."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from lth_det.errors import DataError
from lth_det.transfer.masked_state import effective_state
from lth_det.transfer.state_file import read_state

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3)}


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema", "ema"])
def test_containers_are_opened(key, tmp_path):
    torch.save({"epoch": 3, key: {**WEIGHTS, "note": "text"}}, tmp_path / "a.pth")
    assert read_state(tmp_path / "a.pth").keys() == WEIGHTS.keys()


def test_plain_weights_come_before_their_average(tmp_path):
    torch.save({"ema": {"a.weight": torch.zeros(1)}, "state_dict": WEIGHTS}, tmp_path / "a.pth")
    assert torch.equal(read_state(tmp_path / "a.pth")["a.weight"], WEIGHTS["a.weight"])


def test_safetensors_are_read(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert torch.equal(read_state(tmp_path / "a.safetensors")["a.weight"], WEIGHTS["a.weight"])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("layout", ["arrays", "blobs", "model"])
def test_pickles_of_the_model_zoo_are_read(layout, protocol, tmp_path):
    arrays = {
        "conv1_w": np.arange(12, dtype=np.float32).reshape(3, 4),
        "conv1_w_momentum": np.ones(2),
    }
    content = {
        "arrays": arrays,
        "blobs": {"blobs": arrays},
        "model": {"model": arrays, "__author__": "x"},
    }
    (tmp_path / "R.pkl").write_bytes(pickle.dumps(content[layout], protocol=protocol))
    state = read_state(tmp_path / "R.pkl")
    assert list(state) == ["conv1_w"]
    assert state["conv1_w"].tolist() == arrays["conv1_w"].tolist()


def test_a_pickle_of_python_2_is_read(tmp_path):
    # As Python 2 wrote it: the bytes of the array are a text string, which Python 3 has to take for Latin-1.
    array = np.array([1.5, -2.0, 3e-38], "<f4")
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = (
        b"\x80\x02}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85" + dtype + b"\x89T\x0c\x00\x00\x00" + array.tobytes() + b"tbs."
    )
    (tmp_path / "R.pkl").write_bytes(content)
    assert read_state(tmp_path / "R.pkl")["conv1_w"].tolist() == array.tolist()


class Evil:
    def __reduce__(self):
        return print, ("a pickle ran code",)


def test_no_file_runs_code(tmp_path, capsys):
    (tmp_path / "R.pkl").write_bytes(pickle.dumps({"conv1_w": Evil()}))
    with pytest.raises(DataError, match=r"builtins\.print.*torch\.save"):
        read_state(tmp_path / "R.pkl")
    torch.save({"state_dict": Evil()}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a\.pth holds more than tensors.*save its weights alone"):
        read_state(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.pkl"])
def test_damaged_and_missing_files(name, tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_state(tmp_path / name)
    (tmp_path / name).write_text("hello")
    with pytest.raises(DataError, match="cannot be read"):
        read_state(tmp_path / name)


def test_files_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"epoch": 3}))
    for name in ("a.pth", "a.pkl"):
        with pytest.raises(DataError, match="holds no"):
            read_state(tmp_path / name)


def test_masks_of_torch_prune_are_put_into_effect():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    prune.l1_unstructured(network[0], "weight", 0.5)
    state = effective_state(network.state_dict(), "file")
    assert state.weights.keys() == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert torch.equal(state.weights["0.weight"], network[0].weight)
    assert torch.equal(state.masks["0.weight"], network[0].weight_mask.bool())
    assert len(state.notes) == 1


@pytest.mark.parametrize("key", ["weight_mask", "mask", "mask_weight"])
def test_masks_beside_the_weights_are_put_into_effect(key):
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    given = {"a.weight": WEIGHTS["a.weight"], f"a.{key}": mask}
    state = effective_state(given, "file")
    assert state.weights.keys() == {"a.weight"}
    assert state.weights["a.weight"].tolist() == [[0, 0, 2], [0, 0, 5]]
    # A kept weight that is 0.0 stays kept where there is a mask.
    assert bool(state.masks["a.weight"][0, 0])
    assert given["a.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_thresholds_of_str_are_put_into_effect():
    weight = torch.tensor([[0.9, -0.6, 0.2], [-0.1, 0.5, -2.0]])
    threshold = torch.zeros(1, 1)  # sigmoid(0) = 0.5
    state = effective_state({"a.weight": weight, "a.sparseThreshold": threshold}, "file")
    assert state.weights.keys() == {"a.weight"}
    expected = torch.tensor([[0.4, -0.1, 0.0], [0.0, 0.0, -1.5]])
    torch.testing.assert_close(state.weights["a.weight"], expected)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a.weight_orig": torch.ones(2, 2)}, "no mask for it"),
        ({"a.weight": torch.ones(2, 2), "a.mask": torch.ones(3)}, "no mask of zeros and ones"),
        ({"a.weight": torch.ones(2, 2), "a.mask": torch.full((2, 2), 0.5)}, "no mask of zeros"),
    ],
)
def test_masks_that_are_none(state, message):
    with pytest.raises(DataError, match=message):
        effective_state(state, "file")
