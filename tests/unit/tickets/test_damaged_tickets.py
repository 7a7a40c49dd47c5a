"""Hostile and damaged ticket files. Each is a change of a good file, so that nothing else can be the reason."""

import json
import struct

import pytest
import torch

from lth_det.errors import LthDetError, TicketFormatError
from lth_det.tickets import Mask, Provenance, Ticket, load_ticket, save_ticket
from lth_det.tickets.manifest import manifest_json, manifest_sha256


@pytest.fixture
def path(tmp_path):
    """A good ticket file."""
    path = tmp_path / "ticket.safetensors"
    mask = Mask({"fc.weight": torch.tensor([[True, False, True], [False, True, False]])})
    weights = {
        "fc.weight": torch.tensor([[0.0, -0.0, 1.5], [3.0, 4.0, -2.0]]),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "count": torch.tensor(7),
    }
    provenance = Provenance(
        criterion="magnitude",
        scope="global",
        prune_rate=0.5,
        prune_rates_by_group={"backbone": 0.5},
        sparsity=0.4,
        round=2,
        parent_sha256=None,
        source_task="shapes_train",
        source_weights="model_final.pth",
        seed=1,
        rewind="iteration 60",
    )
    save_ticket(path, Ticket(mask, weights, provenance))
    return path


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
    "mask of signed bytes": (
        with_header(lambda h: h["mask/fc.weight"].update(dtype="I8")),
        "mask bits are bytes, not so of fc.weight",
    ),
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
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TicketFormatError, match=match) as error:
        load_ticket(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 1000


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(TicketFormatError):
            load_ticket(path)


def test_every_changed_byte_is_noticed(path):
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
