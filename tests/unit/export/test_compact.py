import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lth_det.errors import LthDetError, MaskMismatchError, TicketFormatError
from lth_det.export import compact_manifest, is_compact, load_compact, save_compact
from lth_det.export.sizes import mask_entropy_bytes, storage_sizes
from lth_det.tickets import Mask


def example(density=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = {
        "conv.weight": torch.randn(8, 4, 3, 3, generator=generator),
        "conv.norm.running_var": torch.rand(8, generator=generator),
        "fc.weight": torch.randn(16, 32, generator=generator),
        "fc.bias": torch.randn(16, generator=generator),
        "predictor.weight": torch.randn(3, 16, generator=generator),
        "norm.num_batches_tracked": torch.tensor(7),
    }
    mask = Mask(
        {
            name: torch.rand(state[name].shape, generator=generator) < density
            for name in ("conv.weight", "fc.weight")
        }
    )
    for name, keep in mask.items():
        state[name].masked_fill_(~keep, 0.0)
    return state, mask


def same_bits(first, second):
    assert list(first) == list(second)
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert value.numpy().tobytes() == second[name].numpy().tobytes(), name


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.9, 1.0])
def test_restoring_gives_every_bit_back(tmp_path, density):
    state, mask = example(density)
    if density:
        state["fc.weight"][mask["fc.weight"]] = 0.0  # a kept weight that is zero stays kept
    save_compact(tmp_path / "c.safetensors", state, mask, about={"round": "3"})
    assert is_compact(tmp_path / "c.safetensors")
    found = load_compact(tmp_path / "c.safetensors")
    same_bits(found.state, state)
    assert found.mask == mask
    assert found.manifest["about"] == {"round": "3"}


def test_special_values_survive(tmp_path):
    state, mask = example()
    kept = mask["fc.weight"].nonzero()
    for place, value in zip(kept, (float("nan"), float("-inf"), -0.0, 1e-45), strict=False):
        state["fc.weight"][tuple(place)] = value
    save_compact(tmp_path / "c", state, mask)
    same_bits(load_compact(tmp_path / "c").state, state)


def test_a_pruned_negative_zero_becomes_zero(tmp_path):
    state, mask = example()
    plain = {name: value.clone() for name, value in state.items()}
    state["fc.weight"][~mask["fc.weight"]] = -0.0
    save_compact(tmp_path / "c", state, mask)
    same_bits(load_compact(tmp_path / "c").state, plain)


@pytest.mark.parametrize(
    ("name", "dtype"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)]
)
def test_rounding_touches_weights_only(tmp_path, name, dtype):
    state, mask = example()
    save_compact(tmp_path / "c", state, mask, dtype=name)
    save_compact(tmp_path / "full", state, mask)
    assert (tmp_path / "c").stat().st_size < (tmp_path / "full").stat().st_size
    found = load_compact(tmp_path / "c").state
    for key, value in state.items():
        rounded = value.to(dtype).float() if value.ndim >= 2 else value
        assert torch.equal(found[key], rounded), key
        assert found[key].dtype == value.dtype


def test_a_value_that_float16_cannot_hold_is_refused(tmp_path):
    state, mask = example()
    state["predictor.weight"][0, 0] = 7e4
    with pytest.raises(
        TicketFormatError, match=r"predictor\.weight has values that torch\.float16"
    ):
        save_compact(tmp_path / "c", state, mask, dtype="float16")
    assert not (tmp_path / "c").exists()


def test_weights_that_are_not_under_the_mask_are_refused(tmp_path):
    state, mask = example()
    state["fc.weight"][~mask["fc.weight"]] = 1e-8
    with pytest.raises(MaskMismatchError, match=r"pruned weights of fc\.weight are not zero"):
        save_compact(tmp_path / "c", state, mask)


def test_equal_content_gives_equal_bytes_near_the_bound(tmp_path):
    state, mask = example()
    for name in ("a", "b"):
        save_compact(tmp_path / name, state, mask)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    sizes = storage_sizes(state, mask)
    header = 8 + struct.unpack("<Q", (tmp_path / "a").read_bytes()[:8])[0]
    assert (tmp_path / "a").stat().st_size - header <= 1.05 * sizes["bound"]


def test_sizes_by_hand():
    keep = torch.zeros(4, 4, dtype=torch.bool)
    keep[0] = True
    mask = Mask({"w": keep})
    state = {"w": keep.float(), "b": torch.zeros(5), "v": torch.zeros(2, 3)}
    bits = 16 * (-0.25 * np.log2(0.25) - 0.75 * np.log2(0.75))
    assert mask_entropy_bytes(mask) == pytest.approx(bits / 8)
    assert storage_sizes(state, mask) == pytest.approx(
        {
            "dense": 108,
            "bound": 16 + 44 + bits / 8,
            "packed_mask": 16 + 44 + 2,
            "index_and_value": 32 + 44,
        }
    )
    assert storage_sizes(state, mask, value_bytes=2)["packed_mask"] == 8 + 20 + 12 + 2


def rewritten(data, change):
    """The file with its manifest changed and made consistent again, as a forger would."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["lth_det_compact"])
    change(manifest, header)
    manifest["sha256"] = compact_manifest._sha256(manifest)
    header["__metadata__"]["lth_det_compact"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def entry(manifest, name):
    return next(row for row in manifest["entries"] if row[1] == name)


FORGERIES = {
    "version": lambda m, h: m.update(format_version=2),
    "format": lambda m, h: m.update(format="other"),
    "key": lambda m, h: m.update(more=1),
    "huge": lambda m, h: entry(m, "fc.weight").__setitem__(2, [2**20, 2**22]),
    "overflow": lambda m, h: entry(m, "fc.weight").__setitem__(2, [2**40, 2**40]),
    "kept": lambda m, h: entry(m, "fc.weight").__setitem__(5, entry(m, "fc.weight")[5] + 1),
    "shift": lambda m, h: entry(m, "fc.weight").__setitem__(6, 0),
    "inverted": lambda m, h: entry(m, "fc.weight").__setitem__(7, True),
    "flag": lambda m, h: entry(m, "fc.weight").__setitem__(7, 1),
    "bytes": lambda m, h: entry(m, "fc.weight").__setitem__(8, entry(m, "fc.weight")[8] + 1),
    "negative": lambda m, h: entry(m, "fc.weight").__setitem__(8, -1),
    "dtype": lambda m, h: entry(m, "fc.weight").__setitem__(3, "I64"),
    "stored": lambda m, h: entry(m, "fc.weight").__setitem__(4, ["F32"]),
    "dense dtype": lambda m, h: entry(m, "norm.num_batches_tracked").__setitem__(3, "F64"),
    "twice": lambda m, h: m["entries"].append(m["entries"][0]),
    "lost": lambda m, h: m["entries"].pop(),
    "transposed": lambda m, h: entry(m, "fc.weight").__setitem__(2, [32, 16]),
    "rows": lambda m, h: m.update(entries={}),
    "row": lambda m, h: m.update(entries=[["dense", 3, [1], "F32"]]),
    "facts": lambda m, h: m.update(about={"a": 1}),
    "coding": lambda m, h: m.update(coding="zip"),
    "values dtype": lambda m, h: h["values/F32"].update(dtype="I32"),
    "mask dtype": lambda m, h: h["mask"].update(dtype="I8"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_files_are_refused_in_one_sentence(tmp_path, forgery):
    state, mask = example()
    save_compact(tmp_path / "c", state, mask)
    (tmp_path / "bad").write_bytes(rewritten((tmp_path / "c").read_bytes(), FORGERIES[forgery]))
    with pytest.raises(TicketFormatError, match="bad") as raised:
        load_compact(tmp_path / "bad")
    assert "\n" not in str(raised.value)


def test_a_consistent_rewrite_is_accepted(tmp_path):
    # Else the forgeries above would prove nothing.
    state, mask = example()
    save_compact(tmp_path / "c", state, mask)
    (tmp_path / "d").write_bytes(rewritten((tmp_path / "c").read_bytes(), lambda m, h: None))
    same_bits(load_compact(tmp_path / "d").state, state)


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_is_found(tmp_path_factory, position, change):
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    whole = folder / "whole"
    if not whole.exists():
        save_compact(whole, *example())
    data = bytearray(whole.read_bytes())
    data[position % len(data)] ^= change
    (folder / "bad").write_bytes(data)
    with pytest.raises(LthDetError):
        load_compact(folder / "bad")


def test_cut_and_missing_files(tmp_path):
    state, mask = example()
    save_compact(tmp_path / "c", state, mask)
    data = (tmp_path / "c").read_bytes()
    for size in (0, 7, 100, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(TicketFormatError):
            load_compact(tmp_path / "cut")
    with pytest.raises(TicketFormatError, match="check the path"):
        load_compact(tmp_path / "none")
