import dataclasses
import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lth_det.errors import MaskMismatchError, RunError, TicketFormatError
from lth_det.tickets import (
    Mask,
    Provenance,
    Ticket,
    load_ticket,
    read_manifest,
    save_ticket,
    ticket_sha256,
)

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


def test_files_that_cannot_be_read(path, tmp_path):
    for function in (load_ticket, read_manifest):
        with pytest.raises(TicketFormatError, match="No such file"):
            function(path)
        with pytest.raises(TicketFormatError, match="directory"):
            function(tmp_path)


def test_read_manifest_reads_no_tensor(path):
    save_ticket(path, make_ticket())
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert read_manifest(path)["provenance"]["round"] == 2
    with pytest.raises(TicketFormatError):
        load_ticket(path)
