"""cells.json: every cell from its own stage, every missing one with a reason."""

import json
from pathlib import Path

import pytest
import torch
from sweep_makers import make_run, make_sweep

from lth_det.cli.sweep_output import overlap_tickets, write_matrix
from lth_det.sweeps.collect import collect
from lth_det.sweeps.model import Cell
from lth_det.sweeps.state import SweepState
from lth_det.sweeps.summary import summarise
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import save_ticket
from lth_det.tickets.ticket import Provenance, Ticket


def row(number, rate, value, **more):
    groups = {
        "fpn": {
            "sparsity": rate,
            "prunable_parameters": 25,
            "total_parameters": 30,
            "pruned_parameters": 5,
            "x": 1,
        }
    }
    return {
        "round": number, "stage": f"round_{number:02d}", "prune_rate": rate, "sparsity": rate / 2, "metrics": {"bbox/AP": value},
        "ticket": f"round_{number:02d}/ticket.safetensors" if rate else None, "ticket_sha256": "ff", "groups": groups,
        "total_parameters": 100, **more,
    }  # fmt: skip


def cell(source, rate, run, **more):
    return Cell(source=source, target="t", prune_rate=rate, seed=1, run=run, **more)


FACTS = {
    "metric": "bbox/AP", "metrics": ["bbox/AP"], "targets": [{"name": "t", "label": "T", "metric": "bbox/AP"}],
    "sources": [
        {"name": "own", "label": "Own", "kind": "own", "control": False, "control_of": None},
        {"name": "own_r", "label": "R", "kind": "random_layer_ratios", "control": True, "control_of": "own"},
        {"name": "own_d", "label": "D", "kind": "dense_rewound", "control": True, "control_of": "own"},
        {"name": "late", "label": "Late", "kind": "rst", "control": False, "control_of": None},
    ],
    "prune_rates": [0.8, 0.9], "seeds": [1],
}  # fmt: skip


@pytest.fixture
def swept(tmp_path):
    runs = [
        make_run(tmp_path, "own", done_file="results.json"),
        make_run(tmp_path, "late", done_file="results.json"),
    ]
    cells = [
        cell("dense", 0.0, "own", round=0),
        cell("own", 0.8, "own", round=1),
        cell("own_r", 0.8, "own", round=1, control="random_layer_ratios"),
        cell("own_d", 0.8, "own", round=1, control="dense_rewound"),
        cell("own", 0.9, "own", round=2),
        cell("own_r", 0.9, "own", round=2, control="random_layer_ratios"),
        cell("late", 0.8, "late"),
    ]
    sweep = make_sweep(tmp_path, runs, kind="transfer", cells=tuple(cells), facts=FACTS)
    results = {
        "rounds": [row(0, 0.0, 40.0), row(1, 0.8, 41.0), row(2, 0.9, 42.0)],
        "controls": [
            row(1, 0.8, 31.0, name="random_layer_ratios"),
            row(2, 0.9, 32.0, name="random_layer_ratios"),
            row(1, 0.8, 33.0, name="dense_rewound"),
        ],
        "complete": True,
    }
    Path(runs[0].folder).mkdir(parents=True)
    (Path(runs[0].folder) / "results.json").write_text(json.dumps(results))
    record = {"state": "finished", "sha256": runs[0].sha256, "commands": []}
    failed = {"state": "failed", "sha256": runs[1].sha256, "reason": "no luck"}
    return sweep, SweepState(tmp_path, {"own": record, "late": failed})


def test_every_cell_is_that_of_its_stage(swept):
    found = collect(*swept, {"python": "3"})
    values = {(c["source"], c["prune_rate"]): c["metrics"]["bbox/AP"] for c in found["cells"]}
    assert values == {
        ("dense", 0.0): 40.0, ("own", 0.8): 41.0, ("own", 0.9): 42.0, ("own_r", 0.8): 31.0,
        ("own_r", 0.9): 32.0, ("own_d", 0.8): 33.0,
    }  # fmt: skip
    one = next(c for c in found["cells"] if c["source"] == "own")
    assert one["ticket"] == "runs/own/round_01/ticket.safetensors"
    assert one["sparsity"] == 0.4
    assert set(one["groups"]["fpn"]) == {
        "sparsity", "prune_rate", "total_parameters", "prunable_parameters", "pruned_parameters",
    }  # fmt: skip
    assert found["commands"]["own"] == [["x"]]


def test_missing_cells_have_a_reason(swept):
    sweep, state = swept
    found = collect(sweep, state, {})
    assert [(m["source"], m["reason"]) for m in found["missing"]] == [
        ("late", "late failed: no luck")
    ]
    assert found["complete"] is False
    state.records.pop("late")
    assert collect(sweep, state, {})["missing"][0]["reason"] == "late has not been run"
    summarise(found)  # takes what this gives


def test_results_of_other_commands_are_not_taken(swept):
    sweep, state = swept
    state.records["own"]["sha256"] = "other"
    assert collect(sweep, state, {})["cells"] == []


def test_modules_get_their_share_of_all_parameters(swept):
    sweep, state = swept
    source = {
        "name": "own",
        "label": "FPN",
        "kind": "modules",
        "control": False,
        "control_of": None,
        "groups_pruned": ["fpn"],
    }
    other = make_sweep(
        sweep.output,
        sweep.runs,
        cells=sweep.cells,
        facts={**FACTS, "sources": [source]},
        kind="modules",
    )
    (found,) = collect(other, state, {})["sources"]
    assert found["parameter_share"] == 0.25


def test_the_overlap_leaves_out_controls_that_keep_the_mask(swept, tmp_path):
    tickets = overlap_tickets(collect(*swept, {}), tmp_path)
    assert list(tickets) == ["Own, seed 1", "R, seed 1"]
    assert tickets["Own, seed 1"] == tmp_path / "runs/own/round_01/ticket.safetensors"


@pytest.mark.parametrize("kind", ["modules", "transfer"])
def test_tickets_of_disjoint_modules_have_a_report_without_overlap(
    swept, monkeypatch, capsys, kind
):
    sweep, state = swept
    cells = tuple(cell for cell in sweep.cells if cell.source in ("own", "own_r"))
    sources = [{**source, "groups_pruned": ["fpn"]} for source in FACTS["sources"][:2]]
    facts = {**FACTS, "sources": sources, "prune_rates": [0.8, 0.9]}
    sweep = make_sweep(sweep.output, sweep.runs[:1], cells=cells, facts=facts, kind=kind)
    file = Path(sweep.runs[0].folder) / "results.json"
    results = json.loads(file.read_text())
    results["controls"][0]["ticket"] = "random/ticket.safetensors"
    file.write_text(json.dumps(results))
    provenance = Provenance("magnitude", "global", 0.5, {}, 0.5, 1, None, "task", "", 1, "init", {}, {})  # fmt: skip
    for name, path in overlap_tickets(collect(sweep, state, {}), Path(sweep.output)).items():
        mask = Mask({f"{name}.weight": torch.tensor([True, False])})
        path.parent.mkdir(parents=True, exist_ok=True)
        save_ticket(path, Ticket(mask, None, provenance))
    pages = []
    page = lambda matrix, folder, overlap: pages.append(overlap) or folder / "index.html"  # noqa: E731
    monkeypatch.setattr("lth_det.reports.sweep_report.write_comparison", page)
    matrix, _ = write_matrix(sweep, state)
    assert matrix["complete"]
    assert pages == [None]
    assert ("The overlap of the tickets is left out" in capsys.readouterr().err) is (
        kind == "transfer"
    )
