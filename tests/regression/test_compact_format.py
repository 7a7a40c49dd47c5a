"""Compact checkpoints of every published format version must keep loading, bit for bit."""

from pathlib import Path

import torch

from lth_det.export import load_compact, save_compact

DATA = Path(__file__).parent / "data"
SHA256 = "24866f170da4caa1a483038fac514bcc8dde7af1c1c9fbcc0e1641fa9c5473c9"


def stored_state():
    """The state dict and mask flags in compact_v1.safetensors, from formulas alone."""
    number = torch.arange(240)
    conv = ((number * 37 % 101).float() - 50) / 8
    fc = ((number[:60] * 29 % 31).float() - 15) / 4
    keep_conv, keep_fc = (number * 7 % 11 == 3), (number[:60] % 4 != 1)
    state = {
        "conv.weight": (conv * keep_conv + 0.0).reshape(8, 5, 3, 2),
        "norm.running_var": torch.tensor([0.5, 1.5, 2.5]),
        "norm.num_batches_tracked": torch.tensor(61),
        "fc.weight": (fc * keep_fc + 0.0).reshape(6, 10).to(torch.bfloat16),
        "fc.bias": torch.tensor([1.0, -0.0, 3.0]),
    }
    return state, {
        "conv.weight": keep_conv.reshape(8, 5, 3, 2),
        "fc.weight": keep_fc.reshape(6, 10),
    }


def test_a_stored_compact_checkpoint_of_version_1_loads():
    found = load_compact(DATA / "compact_v1.safetensors")
    state, keep = stored_state()
    assert found.manifest["sha256"] == SHA256
    assert found.manifest["about"] == {"round": "2"}
    assert list(found.state) == list(state)
    for name, value in state.items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value), name
    assert torch.signbit(found.state["fc.bias"]).tolist() == [False, True, False]
    assert {name: flags.tolist() for name, flags in found.mask.items()} == {
        name: flags.tolist() for name, flags in keep.items()
    }


def test_writing_it_again_gives_the_stored_bytes(tmp_path):
    stored = DATA / "compact_v1.safetensors"
    found = load_compact(stored)
    again = tmp_path / "again.safetensors"
    save_compact(again, found.state, found.mask, about={"round": "2"})
    assert again.read_bytes() == stored.read_bytes()


def test_the_documented_code_reads_the_masks(tmp_path, monkeypatch):
    document = Path(__file__).parents[2] / "docs/ticket_format.md"
    code = document.read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
    (tmp_path / "compact.safetensors").write_bytes((DATA / "compact_v1.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, str(document), "exec"), names)
    _, keep = stored_state()
    assert {name: flags.tolist() for name, flags in names["masks"].items()} == {
        name: flags.tolist() for name, flags in keep.items()
    }
