"""Ticket files of every published format version must keep loading, with the same hash."""

from pathlib import Path

import torch

from lth_det.tickets import load_ticket, save_ticket, ticket_sha256

DATA = Path(__file__).parent / "data"
SHA256 = "0cb0d57e990ec14ae6f6966a606855cb8b49d0e888520c4daa2fc5f1bd046768"


def test_a_stored_ticket_of_version_1_loads():
    ticket = load_ticket(DATA / "ticket_v1.safetensors")
    assert ticket_sha256(ticket) == SHA256
    assert list(ticket.mask) == ["conv.weight", "fc.weight"]
    assert ticket.mask["fc.weight"].tolist() == [[True, False, True], [False, False, True]]
    assert ticket.mask.kept == 13
    assert ticket.provenance.rewind == "iteration 60"
    assert ticket.provenance.prune_rates_by_group == {"backbone": 0.375, "box_head": 0.5}
    weights = ticket.weights
    assert weights["fc.weight"].tolist() == [[0.0, 1.5, -2.0], [0.25, 3.0, -0.5]]
    assert weights["conv.weight"].dtype == torch.bfloat16
    assert weights["conv.weight"].reshape(-1).tolist() == [float(n) for n in range(16)]
    assert weights["bn.num_batches_tracked"].item() == 61


def test_writing_it_again_gives_the_stored_bytes(tmp_path):
    stored = DATA / "ticket_v1.safetensors"
    again = tmp_path / "again.safetensors"
    assert save_ticket(again, load_ticket(stored)) == SHA256
    assert again.read_bytes() == stored.read_bytes()
