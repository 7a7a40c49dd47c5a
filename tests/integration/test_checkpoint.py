"""Weights in and out of a model: what fits is loaded, what does not is said."""

import dataclasses
import pickle

import pytest
import torch
from torch import nn

from lth_det.d2.checkpoint import load_checkpoint_weights, load_ticket_into, unwrap
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.errors import MaskMismatchError, RunError
from lth_det.tickets.mask import Mask
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.ticket import Provenance, Ticket

pytestmark = pytest.mark.d2


def network(seed=0, width=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def ticket_of(model):
    keep = Mask(
        {"0.weight": torch.arange(model[0].weight.numel()).reshape_as(model[0].weight) % 2 == 0}
    )
    provenance = Provenance(
        "magnitude", "global", 0.5, {}, 0.2, 1, None, "shapes_train", "", 1, "init"
    )
    return Ticket(keep, capture_weights(model.state_dict()), provenance)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class RunsCode:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def write(path, kind):
    if kind == "truncated":
        torch.save({"model": network().state_dict()}, path)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "code":
        path.write_bytes(pickle.dumps(RunsCode(), protocol=2))
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["truncated", "code", "text", "empty", "missing"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, kind):
    path = tmp_path / "model.pth"
    write(path, kind)
    model = network()
    before = capture_weights(model.state_dict())
    with pytest.raises(RunError, match=r"model\.pth"):
        load_checkpoint_weights(path)
    with pytest.raises(RunError, match=r"model\.pth"):
        StrictCheckpointer(model).load(str(path))
    assert equal(model.state_dict(), before)


def test_names_lose_the_prefix_of_distributed_training(tmp_path):
    model = network()
    torch.save(
        {"model": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "a.pth"
    )
    assert equal(load_checkpoint_weights(tmp_path / "a.pth"), model.state_dict())
    torch.save({"model": {"iteration": 3}}, tmp_path / "b.pth")
    with pytest.raises(RunError, match="no model weights"):
        load_checkpoint_weights(tmp_path / "b.pth")


def test_weights_of_another_model_are_not_loaded_in_silence(tmp_path):
    torch.save(
        {"model": {"conv.weight_orig": torch.ones(2), "0.weight": torch.ones(9, 9)}},
        tmp_path / "a.pth",
    )
    with pytest.raises(RunError, match="nothing was loaded"):
        StrictCheckpointer(network()).load(str(tmp_path / "a.pth"))
    torch.save(
        {"model": {"0.weight": torch.ones(3, 4)}}, tmp_path / "b.pth"
    )  # a backbone is enough
    model = network()
    StrictCheckpointer(model).load(str(tmp_path / "b.pth"))
    assert (model[0].weight == 1).all()


def test_no_path_loads_nothing(tmp_path):
    assert StrictCheckpointer(network(), str(tmp_path)).resume_or_load("", resume=True) == {}


def test_a_last_checkpoint_that_is_gone_is_named(tmp_path):
    StrictCheckpointer(network(), str(tmp_path)).save("model_0000001")
    (tmp_path / "model_0000001.pth").unlink()
    with pytest.raises(RunError, match=r"model_0000001\.pth does not exist"):
        StrictCheckpointer(network(), str(tmp_path)).resume_or_load("", resume=True)


def test_a_save_that_fails_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    model = network()
    checkpointer = StrictCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final", iteration=1)
    before = (tmp_path / "model_final.pth").read_bytes()
    save = torch.save

    def full(data, handle):
        save(data, handle)
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"model_final\.pth cannot be written"):
        checkpointer.save("model_final", iteration=2)
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert len(list(tmp_path.iterdir())) == 2


def test_equal_states_give_equal_bytes_whatever_the_folder(tmp_path):
    for name in ("a", "b"):
        StrictCheckpointer(network(), str(tmp_path / name)).save("model_final")
    assert (tmp_path / "a/model_final.pth").read_bytes() == (
        tmp_path / "b/model_final.pth"
    ).read_bytes()


def test_a_ticket_sets_weights_buffers_and_zeros():
    source, model = network(1), network(2)
    source[1].running_mean.fill_(5.0)
    ticket = ticket_of(source)
    load_ticket_into(model, ticket)
    expected = source.state_dict()
    expected["0.weight"] = expected["0.weight"] * ticket.mask["0.weight"]
    assert equal(model.state_dict(), expected)


def test_a_mask_alone_leaves_the_weights():
    model = network(2)
    before = capture_weights(model.state_dict())
    ticket = dataclasses.replace(ticket_of(network(1)), weights=None)
    load_ticket_into(model, ticket)
    before["0.weight"] *= ticket.mask["0.weight"]
    assert equal(model.state_dict(), before)


@pytest.mark.parametrize("with_weights", [True, False])
def test_a_ticket_of_another_model_is_refused_whole(with_weights):
    ticket = ticket_of(network(1, width=5))
    ticket = ticket if with_weights else dataclasses.replace(ticket, weights=None)
    model = network(2)
    before = capture_weights(model.state_dict())
    with pytest.raises(MaskMismatchError) as caught:
        load_ticket_into(model, ticket)
    text = str(caught.value)
    assert "another model (shapes_train)" in text
    for name in ("0.weight", *(("1.running_var", "2.weight") if with_weights else ())):
        assert name in text  # all differences, not the first
    assert equal(model.state_dict(), before)


def test_unwrap_looks_inside_of_distributed_training_only():
    class Wrapped(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = network()
    assert unwrap(Wrapped(model)) is model
    assert unwrap(model) is model
