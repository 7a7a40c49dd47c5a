import json

import pytest
import torch

from lth_det.cli.export_ticket import main
from lth_det.export import load_compact
from lth_det.tickets import Mask, Provenance, Ticket, load_ticket, save_ticket
from lth_det.tickets.serialization import weights_sha256


def provenance(**changes):
    values = {
        "criterion": "magnitude",
        "scope": "global",
        "prune_rate": 0.75,
        "prune_rates_by_group": {"backbone": 0.75},
        "sparsity": 0.7,
        "round": 1,
        "parent_sha256": None,
        "source_task": "shapes_train",
        "source_weights": "initialisation",
        "seed": 1,
        "rewind": "iteration 3",
    }
    return Provenance(**(values | changes))


@pytest.fixture
def run_folder(tmp_path):
    """A finished run of one ticket: its files, without a detector."""
    generator = torch.Generator().manual_seed(2)
    start = {"w": torch.randn(40, 30, generator=generator), "b": torch.randn(40)}
    mask = Mask({"w": torch.rand(40, 30, generator=generator) < 0.25})
    trained = {"w": (start["w"] + 1).masked_fill(~mask["w"], 0.0), "b": start["b"] * 2}
    folder = tmp_path / "run"
    (folder / "round_01").mkdir(parents=True)
    torch.save({"model": trained, "iteration": 9}, folder / "round_01/model_final.pth")
    save_ticket(folder / "round_01/ticket.safetensors", Ticket(mask, start, provenance()))
    record = {
        "round": 1,
        "stage": "round_01",
        "ticket": "round_01/ticket.safetensors",
        "weights": "round_01/model_final.pth",
        "weights_sha256": weights_sha256(trained),
        "metrics": {"bbox/AP": 41.5, "bbox/APs": 9.0, "segm/AP": None},
    }
    dense = {"round": 0, "stage": "round_00", "ticket": None, "metrics": {}}
    (folder / "results.json").write_text(json.dumps({"rounds": [dense, record]}))
    return folder


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_round_of_a_run_there_and_back(run_folder, tmp_path, capsys):
    compact, back = tmp_path / "c.safetensors", tmp_path / "back.pth"
    assert call(run_folder, "--output", compact, "--json", "-") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == compact.stat().st_size
    assert facts["about"]["bbox/AP"] == "41.5000"
    assert facts["kept"] == load_ticket(run_folder / "round_01/ticket.safetensors").mask.kept
    assert facts["exact"] is True
    assert call(compact, "--restore", back) == 0
    assert "times smaller" in capsys.readouterr().out
    restored = torch.load(back, weights_only=True)["model"]
    trained = torch.load(run_folder / "round_01/model_final.pth", weights_only=True)["model"]
    assert list(restored) == list(trained)
    assert all(torch.equal(restored[name], value) for name, value in trained.items())


def test_two_files_give_the_same_as_the_run(run_folder, tmp_path, capsys):
    one, two, start = (tmp_path / name for name in "abc")
    files = ["--weights", run_folder / "round_01/model_final.pth"]
    files += ["--ticket", run_folder / "round_01/ticket.safetensors"]
    assert call(run_folder, "--output", one, "--json", tmp_path / "one.json") == 0
    assert call(*files, "--output", two, "--json", tmp_path / "two.json") == 0
    # The facts for people differ: the run knows its AP.
    contents = [load_compact(path) for path in (one, two)]
    assert contents[0].manifest["content_sha256"] == contents[1].manifest["content_sha256"]
    # The ticket alone: its start values under its mask.
    assert call(*files[2:], "--output", start, "--dtype", "bfloat16") == 0
    assert "start of the ticket (iteration 3)" in capsys.readouterr().out


def test_wrong_input_is_one_sentence(run_folder, tmp_path, capsys):
    ticket = run_folder / "round_01/ticket.safetensors"
    compact = tmp_path / "c"
    save_ticket(tmp_path / "bare", Ticket(load_ticket(ticket).mask, None, provenance()))
    wrong = {
        (): "--output OUT to export",
        (run_folder,): "--output OUT to export",
        (ticket,): "--output OUT to export",
        ("--output", compact): "--ticket T with --weights",
        ("--output", compact, "--ticket", tmp_path / "bare"): "mask without weights",
        ("--output", compact, "--restore", "x", run_folder): "give one of them",
        ("--output", compact, run_folder, "--round", 2): "no round 2 with a ticket",
        ("--output", compact, run_folder, "--round", 0): "no round 0 with a ticket",
        ("--output", compact, run_folder, "--ticket", ticket): "but not both",
        ("--output", compact, "--ticket", ticket, "--round", 1): "--round needs a run folder",
        (tmp_path / "none", "--restore", "x"): "check the path",
    }
    for arguments, expected in wrong.items():
        assert call(*arguments) == 2, arguments
        captured = capsys.readouterr()
        assert expected in captured.err, arguments
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert not compact.exists()


def test_weights_that_changed_after_the_run_are_refused(run_folder, tmp_path, capsys):
    path = run_folder / "round_01/model_final.pth"
    content = torch.load(path, weights_only=True)
    content["model"]["b"] += 1
    torch.save(content, path)
    assert call(run_folder, "--output", tmp_path / "c") == 2
    assert "is not the file that round_01 ended with" in capsys.readouterr().err


def test_options_for_exporting_are_refused_when_restoring(run_folder, tmp_path, capsys):
    compact = tmp_path / "c"
    assert call(run_folder, "--output", compact) == 0
    capsys.readouterr()
    assert call(compact, "--restore", tmp_path / "x", "--dtype", "float16") == 2
    assert "--dtype is for exporting" in capsys.readouterr().err


def test_a_file_that_does_not_restore_is_a_defect(run_folder, tmp_path, monkeypatch):
    def losing(path):
        content = load_compact(path)
        content.state["w"][content.state["w"] != 0] += 1e-6
        return content

    monkeypatch.setattr("lth_det.cli.export_ticket.load_compact", losing)
    with pytest.raises(RuntimeError, match="does not restore"):
        main([str(run_folder), "--output", str(tmp_path / "c")])
