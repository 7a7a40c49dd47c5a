"""The benchmark scripts run, and their tables get into the documents; what they measure is not judged here."""

import json
import sys
from importlib import import_module

import pytest
from small_cfg import ROOT

pytestmark = pytest.mark.d2


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def quick(name, tmp_path, monkeypatch, capsys):
    module = import_module(f"benchmarks.{name}")
    path = tmp_path / f"{name}.json"
    monkeypatch.setattr(sys, "argv", [module.__file__, "--quick", "--json", str(path)])
    module.main()
    content = json.loads(path.read_text())
    assert content["command"] == f"python benchmarks/{name}.py --quick"
    assert content["markdown"] in capsys.readouterr().out
    assert str(ROOT) not in path.read_text()
    return content["figures"]


def test_masked_step(tmp_path, monkeypatch, capsys):
    found = quick("masked_step", tmp_path, monkeypatch, capsys)["small"]["variants"]
    assert found["hook"]["bytes_per_weight"] == 0
    assert found["bool fill"]["bytes_per_weight"] == 1
    assert found["torch prune"]["bytes_per_weight"] == 8
    assert all(row["alone_seconds"] > 0 for row in found.values())


def test_pruning_decision(tmp_path, monkeypatch, capsys):
    found = quick("pruning_decision", tmp_path, monkeypatch, capsys)
    assert found["decision"]["equal_to_kthvalue"] is True
    assert sum(found["round"].values()) > 0


def test_ticket_size(tmp_path, monkeypatch, capsys):
    found = quick("ticket_size", tmp_path, monkeypatch, capsys)
    for row in (found["sizes"]["0.1"]["same"], found["sizes"]["0.1"]["float16"]):
        assert row["bound"] < row["bytes"] < row["packed_mask"] < row["dense"]
    assert len({row["bytes"] for row in found["speeds"].values()}) > 3


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_what_it_buys(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    found = quick("what_it_buys", tmp_path, monkeypatch, capsys)
    assert set(found["features"]["dense"]) == {"PyTorch", "onnxruntime"}
    assert "not on a CUDA device" in found["two_four"]


def test_scaling_counts_what_it_says(tmp_path, monkeypatch, capsys):
    found = quick("scaling", tmp_path, monkeypatch, capsys)
    assert (found["runs"], found["trainings"]) == (1000, 1240)
    hours = {row["machines"]: row["hours"] for row in found["study"]}
    total = 1240 * (0.261 * 90_000 / 3600 + 0.15)
    for machines, wall in hours.items():
        # No schedule beats the machines or the longest chain; list scheduling is within their sum (Graham 1966).
        assert max(0.97 * total / machines, found["critical_hours"]) <= wall
        assert wall <= 1.03 * total / machines + 1.2 * found["critical_hours"]


def test_tables_get_between_their_marks():
    put_in = import_module("benchmarks.run_all").put_in
    text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n"
    new = put_in(text, "x", r"| \1 new |")
    assert (
        new
        == "a\n<!-- x -->\n\n| \\1 new |\n\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n"
    )
    assert put_in(new, "x", r"| \1 new |") == new
    assert put_in(text, "z", "nothing") == text


def test_every_script_has_its_place_in_a_document():
    run_all = import_module("benchmarks.run_all")
    text = "".join(path.read_text(encoding="utf-8") for path in run_all.DOCUMENTS)
    for name in run_all.SCRIPTS:
        assert run_all.put_in(text, name, "found") != text, name
        assert (ROOT / f"benchmarks/{name}.py").exists()
