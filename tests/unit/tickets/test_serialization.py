import dataclasses
import json
import math
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lth_det.errors import LthDetError, MaskMismatchError, RunError, TicketFormatError
from lth_det.tickets import (
    Mask,
    Provenance,
    Ticket,
    load_ticket,
    read_manifest,
    save_ticket,
    ticket_sha256,
)
from lth_det.tickets.manifest import manifest_json, manifest_sha256

PROVENANCE = Provenance(
    criterion="magnitude",
    scope="global",
    prune_rate=0.5,
    prune_rates_by_group={"backbone": 0.25, "fpn": 1.0},
    sparsity=0.4,
    round=2,
    parent_sha256="ab" * 32,
    source_task="shapes_train",
    source_weights="round_01/model_final.pth",
    seed=1,
    rewind="iteration 60",
    versions={"torch": "2"},
    extra={"note": "ä"},
)


def weights():
    return {
        "fc.weight": torch.tensor([[0.0, -0.0, 1.5], [math.nan, math.inf, -2.0]]),
        "fc.half": torch.tensor([1.0, 65504.0, 6e-8], dtype=torch.float16),
        "fc.bf16": torch.tensor([1.0, 3e38], dtype=torch.bfloat16),
        "bn.num_batches_tracked": torch.tensor(2**40 + 1),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
    }


def make_ticket(**changes):
    mask = Mask({"fc.weight": torch.tensor([[True, False, True], [False, True, False]])})
    return dataclasses.replace(Ticket(mask, weights(), PROVENANCE), **changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ticket.safetensors"


def bits(tensor):
    return (tensor.dtype, tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).tolist())


def test_everything_comes_back_bit_for_bit(path):
    ticket = make_ticket()
    sha256 = save_ticket(path, ticket)
    loaded = load_ticket(path)
    assert loaded.mask == ticket.mask
    assert loaded.provenance == PROVENANCE
    assert {k: bits(v) for k, v in loaded.weights.items()} == {
        k: bits(v) for k, v in ticket.weights.items()
    }
    assert ticket_sha256(loaded) == sha256 == ticket_sha256(ticket)
    loaded.weights["fc.weight"].fill_(3)  # memory of its own, writable


def test_a_kept_weight_that_is_zero_stays_kept(path):
    save_ticket(path, make_ticket())
    loaded = load_ticket(path)
    assert loaded.weights["fc.weight"][0, 0] == 0
    assert loaded.mask["fc.weight"][0, 0]


def test_a_ticket_without_weights(path):
    save_ticket(path, make_ticket(weights=None))
    assert load_ticket(path).weights is None
    save_ticket(path, Ticket(Mask({}), {}, PROVENANCE))
    assert load_ticket(path).weights == {}
    assert len(load_ticket(path).mask) == 0


def test_equal_tickets_give_equal_bytes_whatever_the_order(path):
    shuffled = dict(reversed(list(weights().items())))
    save_ticket(path, make_ticket())
    first = path.read_bytes()
    changed = dataclasses.replace(PROVENANCE, prune_rates_by_group={"fpn": 1, "backbone": 0.25})
    save_ticket(path, make_ticket(weights=shuffled, provenance=changed))
    assert path.read_bytes() == first


def test_the_hash_sees_every_part():
    base = ticket_sha256(make_ticket())
    other_weights = weights()
    other_weights["fc.weight"][0, 0] = -0.0
    wider = {**weights(), "empty": torch.empty(0, 4)}
    others = [
        make_ticket(mask=Mask({"fc.weight": torch.ones(2, 3, dtype=torch.bool)})),
        make_ticket(weights=other_weights),
        make_ticket(weights=wider),
        make_ticket(weights={**weights(), "scalar": torch.tensor(2.5)}),
        make_ticket(weights=None),
        make_ticket(provenance=dataclasses.replace(PROVENANCE, seed=2)),
    ]
    assert len({base, *map(ticket_sha256, others)}) == 7


def test_the_safetensors_library_reads_our_file(path):
    save_ticket(path, make_ticket())
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {"mask/fc.weight", *(f"weights/{name}" for name in weights())}
        assert file.get_tensor("mask/fc.weight").tolist() == [0b10101000]
        for name, tensor in weights().items():
            assert bits(file.get_tensor(f"weights/{name}")) == bits(tensor)
        manifest = json.loads(file.metadata()["lth_det"])
    assert manifest == read_manifest(path)
    assert manifest["format_version"] == 1
    assert manifest["mask"] == {"fc.weight": [2, 3]}
    assert manifest["provenance"]["rewind"] == "iteration 60"


def test_we_read_a_file_that_the_safetensors_library_wrote(path):
    save_ticket(path, make_ticket())
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    assert ticket_sha256(load_ticket(path)) == ticket_sha256(make_ticket())


def test_weights_must_hold_the_parameters_of_the_mask():
    with pytest.raises(MaskMismatchError, match=r"missing fc\.weight"):
        make_ticket(weights={"other": torch.ones(1)})
    with pytest.raises(
        MaskMismatchError, match=r"wrong shape fc\.weight \(3, 2\) instead of \(2, 3\)"
    ):
        make_ticket(weights={"fc.weight": torch.ones(3, 2)})


def test_what_cannot_be_stored_is_named(path):
    with pytest.raises(TicketFormatError, match=r"dtype of these weights: rotation"):
        save_ticket(path, make_ticket(weights={**weights(), "rotation": torch.ones(1) * 1j}))
    with pytest.raises(TicketFormatError, match="impossible sparsity"):
        save_ticket(
            path, make_ticket(provenance=dataclasses.replace(PROVENANCE, sparsity=math.nan))
        )
    assert not path.exists()


def test_a_failed_write_leaves_the_old_ticket(path, monkeypatch):
    save_ticket(path, make_ticket())
    before = path.read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lth_det.tickets.serialization.write_tensors", no_space)
    with pytest.raises(RunError, match="No space left"):
        save_ticket(path, make_ticket(weights=None))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Hostile and damaged files. Each is a change of a good file, so that nothing else can be the reason.


def split(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_manifest(change, *, new_hash=True):
    def damage(content):
        header, data = split(content)
        manifest = json.loads(header["__metadata__"]["lth_det"])
        change(manifest)
        if new_hash:
            manifest["sha256"] = manifest_sha256(manifest)
        header["__metadata__"]["lth_det"] = manifest_json(manifest)
        return join(header, data)

    return damage


def with_header(change):
    def damage(content):
        header, data = split(content)
        change(header)
        return join(header, data)

    return damage


def flip_last_byte(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def with_padding_bit(content):
    header, data = split(content)
    start = header["mask/fc.weight"]["data_offsets"][0]
    return join(header, data[:start] + bytes([data[start] | 1]) + data[start + 1 :])


def with_mask_bit(content):
    header, data = split(content)
    start = header["mask/fc.weight"]["data_offsets"][0]
    return join(header, data[:start] + bytes([data[start] ^ 128]) + data[start + 1 :])


def with_weight_bit(content):
    header, data = split(content)
    start = header["weights/scalar"]["data_offsets"][0]
    return join(header, data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])


def name_twice(content):
    header, data = split(content)
    text = json.dumps(header)
    entry = json.dumps({"weights/scalar": header["weights/scalar"]})[1:-1]
    return join((text[:-1] + ", " + entry + "}").encode(), data)


def manifest_name_twice(content):
    header, data = split(content)
    text = header["__metadata__"]["lth_det"]
    header["__metadata__"]["lth_det"] = text[:-1] + ',"format_version":1}'
    return join(header, data)


def set_in(key, value):
    return lambda manifest: manifest.__setitem__(key, value)


def set_provenance(key, value):
    return lambda manifest: manifest["provenance"].__setitem__(key, value)


def set_entry(**fields):
    return with_header(lambda header: header["weights/scalar"].update(fields))


DAMAGES = {
    "empty": (lambda _: b"", "only 0 bytes"),
    "seven bytes": (lambda c: c[:7], "only 7 bytes"),
    "header length absurd": (lambda c: b"\xff" * 8 + c[8:], "18446744073709551615 bytes"),
    "header too big": (lambda c: struct.pack("<Q", 2**25 + 1) + c[8:], "33554433 bytes"),
    "ends in header": (lambda c: c[:100], "ends inside its header"),
    "ends in data": (lambda c: c[:-1], "is truncated"),
    "more data": (lambda c: c + b"x", "1 bytes follow"),
    "pickle": (lambda _: b"\x80\x02}q\x00." + b"\0" * 50, "is not a ticket"),
    "not json": (lambda c: join(b"{'a': 1}", b""), "cannot be read"),
    "not utf-8": (lambda c: join(b'{"\xff": 1}', b""), "cannot be read"),
    "deep json": (lambda c: join(b"[" * 200_000, b""), "cannot be read"),
    "huge number": (lambda c: join(b'{"a": ' + b"9" * 5000 + b"}", b""), "cannot be read"),
    "no object": (lambda c: join(b"[]", b""), "not a JSON object"),
    "NaN": (lambda c: join(b'{"a": NaN}', b""), "NaN is not a number"),
    "no metadata": (with_header(lambda h: h.pop("__metadata__")), "has no manifest"),
    "metadata no text": (with_header(lambda h: h["__metadata__"].update(a=1)), "not text by name"),
    "metadata no object": (with_header(lambda h: h.update(__metadata__=[])), "not text by name"),
    "manifest no json": (
        with_header(lambda h: h["__metadata__"].update(lth_det="{")),
        "cannot be read",
    ),
    "tensor twice": (name_twice, "there twice"),
    "manifest key twice": (manifest_name_twice, "there twice"),
    "entry no object": (with_header(lambda h: h.update({"weights/scalar": 3})), "incomplete"),
    "entry incomplete": (with_header(lambda h: h["weights/scalar"].pop("dtype")), "incomplete"),
    "entry with more": (set_entry(x=1), "incomplete"),
    "unknown dtype": (set_entry(dtype="F8_E4M3"), "impossible dtype"),
    "dtype a list": (set_entry(dtype=["F32"]), "impossible dtype"),
    "other dtype": (set_entry(dtype="F32"), "do not fit its shape"),
    "negative size": (set_entry(shape=[-1, -1]), "impossible dtype, shape"),
    "size true": (set_entry(shape=[True]), "impossible dtype, shape"),
    "size a float": (set_entry(shape=[1.0]), "impossible dtype, shape"),
    "shape overflows": (set_entry(shape=[2**32, 2**32]), "impossible dtype, shape"),
    "empty shape overflows": (
        set_entry(shape=[0, 2**40, 2**40], data_offsets=[0, 0]),
        "impossible dtype, shape",
    ),
    "three offsets": (set_entry(data_offsets=[0, 8, 9]), "impossible dtype, shape or offset"),
    "offsets reversed": (set_entry(data_offsets=[8, 0]), "has -8 bytes"),
    "overlap": (set_entry(data_offsets=[0, 8]), "overlaps another"),
    "far away": (set_entry(data_offsets=[2**60, 2**60 + 8]), "overlaps another tensor or a gap"),
    "no format": (with_manifest(set_in("format", "x")), "has no format"),
    "version 2": (with_manifest(set_in("format_version", 2)), "format version 2"),
    "version true": (with_manifest(set_in("format_version", True)), "format version True"),
    "version text": (with_manifest(set_in("format_version", "1")), "format version '1'"),
    "key missing": (
        with_manifest(lambda m: m.pop("bit_order")),
        "lacks, or should not have, bit_order",
    ),
    "key unknown": (with_manifest(set_in("more", 1)), "should not have, more"),
    "bit order": (with_manifest(set_in("bit_order", "little")), "bit order"),
    "mask no object": (with_manifest(set_in("mask", [])), "mask shapes"),
    "mask shape overflows": (with_manifest(set_in("mask", {"fc.weight": [2**64]})), "mask shapes"),
    "mask shape negative": (with_manifest(set_in("mask", {"fc.weight": [-2, -3]})), "mask shapes"),
    "bit count": (with_manifest(set_in("mask", {"fc.weight": [5, 3]})), "must be 2 bytes"),
    "bit count, same bytes": (with_manifest(set_in("mask", {"fc.weight": [2, 2]})), "go on after"),
    "mask without weights of that shape": (
        with_manifest(set_in("mask", {"fc.weight": [3, 2]})),
        "hash it states",
    ),
    "mask of no tensor": (
        with_manifest(set_in("mask", {"fc.weight": [2, 3], "x": [1]})),
        "has no mask/x",
    ),
    "mask not announced": (with_manifest(set_in("mask", {})), "does not announce mask/fc.weight"),
    "weights not announced": (with_manifest(set_in("weights_sha256", None)), "does not announce"),
    "tensor of other kind": (
        with_header(lambda h: h.update(evil=h.pop("weights/scalar"))),
        "does not announce evil",
    ),
    "weight renamed": (
        with_header(lambda h: h.update({"weights/other": h.pop("weights/scalar")})),
        "weights do not have the hash",
    ),
    "weight bit": (with_weight_bit, "weights do not have the hash"),
    "mask bit": (with_mask_bit, "mask does not have the hash"),
    "padding bit": (with_padding_bit, "go on after its last element"),
    "manifest hash": (
        with_manifest(set_provenance("seed", 2), new_hash=False),
        "does not have the hash",
    ),
    "provenance no object": (with_manifest(set_in("provenance", 3)), "provenance is not"),
    "provenance key": (
        with_manifest(lambda m: m["provenance"].pop("seed")),
        "lacks, or should not have, seed",
    ),
    "prune rate": (with_manifest(set_provenance("prune_rate", 1.5)), "impossible prune_rate"),
    "prune rate true": (with_manifest(set_provenance("prune_rate", True)), "impossible prune_rate"),
    "group rate": (
        with_manifest(set_provenance("prune_rates_by_group", {"fpn": "x"})),
        "impossible prune_rates_by_group",
    ),
    "round": (with_manifest(set_provenance("round", -1)), "impossible round"),
    "seed": (with_manifest(set_provenance("seed", 1.5)), "impossible seed"),
    "criterion": (with_manifest(set_provenance("criterion", None)), "impossible criterion"),
    "parent": (with_manifest(set_provenance("parent_sha256", 3)), "impossible parent_sha256"),
    "versions": (with_manifest(set_provenance("versions", {"a": 1})), "impossible versions"),
    "surrogate": (with_header(lambda h: h.update({"\ud800": 1})), "surrogates not allowed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_in_one_sentence_that_names_it(path, name):
    damage, match = DAMAGES[name]
    save_ticket(path, make_ticket())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TicketFormatError, match=match) as error:
        load_ticket(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 1000


def test_every_truncation_is_refused(path):
    save_ticket(path, make_ticket())
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(TicketFormatError):
            load_ticket(path)


def test_every_changed_byte_is_noticed_or_means_the_same(path):
    ticket = make_ticket()
    save_ticket(path, ticket)
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x11
        path.write_bytes(changed)
        try:
            loaded = load_ticket(path)
        except LthDetError:
            continue
        pytest.fail(f"byte {position} changed and {loaded} came back")


def test_files_that_cannot_be_read(path, tmp_path):
    for function in (load_ticket, read_manifest):
        with pytest.raises(TicketFormatError, match="No such file"):
            function(path)
        with pytest.raises(TicketFormatError, match="directory"):
            function(tmp_path)


def test_read_manifest_reads_no_tensor(path):
    save_ticket(path, make_ticket())
    path.write_bytes(flip_last_byte(path.read_bytes()))
    assert read_manifest(path)["provenance"]["round"] == 2
    with pytest.raises(TicketFormatError):
        load_ticket(path)
