import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import TINY, image_folder, tiny_config

from lth_det.classify.models import build_model
from lth_det.classify.run import run_classifier
from lth_det.classify.transfer import OTHER_SEED
from lth_det.classify.transfer_run import run_transfer
from lth_det.classify.transfer_table import transfer_text
from lth_det.errors import ConfigError, MaskMismatchError, RunError
from lth_det.tickets.checkpoint_file import load_checkpoint_weights
from lth_det.tickets.serialization import load_ticket

MEHTA = TINY.replace("pruning: {targets: [0.5, 0.8]}", "pruning: {prune_rate_per_round: 0.2, rounds: 2, "
                     "groups: {stem: -1, backbone: -1, head: 0}}").replace(
                     "rewind: {to: iteration, iteration: 2}", "rewind: {to: final}")  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lth_det.classify.run.write_run_report", lambda folder: folder)
    monkeypatch.setattr("lth_det.classify.transfer_table.write_transfer_page", lambda *_: None)


def transfer_config(tmp_path, root, *options, source=MEHTA):
    text = source.replace(
        "{name: image_folder",
        f"{{root: {root}, options: {{classes: [blue, red]}}, name: image_folder",
    )
    (tmp_path / "source.yaml").write_text(text)
    target = text.replace("[blue, red]", "[green, red, blue]")
    target += "transfer: {source: source.yaml}\n"
    target += f"output: {tmp_path / 'run'}\n"
    return tiny_config(tmp_path, *options, text=target)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("transfer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lth_det.classify.run.write_run_report", lambda path: path)
        patch.setattr("lth_det.classify.transfer_table.write_transfer_page", lambda *_: None)
        config = transfer_config(folder, root, "transfer.head_layers", "[1, 2]")
        return folder / "run", run_transfer(config, resume=False), config


def start_of(run, stage):
    return load_ticket(run / stage / "ticket.safetensors")


def body(state):
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_the_table_has_every_cell_once(finished):
    run, table, _ = finished
    cells = {
        (row["source_round"], row["start"], row["finetune"], row["head_layers"])
        for row in table["rows"]
    }
    starts = ("source_final", "source_init", "random", "random_mask")
    expected = {
        (number, start, finetune, layers)
        for number in (0, 1, 2)
        for start in starts
        for finetune in ("frozen", "full")
        for layers in (1, 2)
        if not (number == 0 and start == "random_mask")
    }
    assert cells == expected
    assert len(table["rows"]) == len(expected)
    assert table["complete"]
    assert table == json.loads((run / "transfer.json").read_text())
    with (run / "transfer.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["top1"]) for row in rows] == [row["top1"] for row in table["rows"]]
    for row in table["rows"]:
        assert row["source_prune_rate"] == pytest.approx(1 - 0.8 ** row["source_round"], abs=0.01)
        # The source has the same convolutions, so the same share of them is pruned.
        assert row["prune_rate"] == row["source_prune_rate"]


def test_starts_are_what_they_are_called(finished):
    run, _, config = finished
    source = run / "source"
    for number in (0, 1, 2):
        final = load_checkpoint_weights(source / f"round_{number:02d}" / "model_final.pth")
        ticket = start_of(run, f"round_{number:02d}_source_final_full_1fc")
        assert equal(body(ticket.weights), body(final))  # batch norm and its statistics too
        ticket = start_of(run, f"round_{number:02d}_source_init_full_1fc")
        early = load_file(source / "round_00" / "rewind.safetensors")
        assert equal(body(ticket.weights), body(early))
        assert equal(body(early), body(build_model(config.model, 2, seed=1).state_dict()))
        ticket = start_of(run, f"round_{number:02d}_random_frozen_1fc")
        drawn = build_model(config.model, 3, seed=1 + OTHER_SEED).state_dict()
        assert equal(body(ticket.weights), body(drawn))


def test_theta_s_is_what_the_round_itself_ended_with(finished):
    run, _, _ = finished
    ticket = start_of(run, "round_02_source_final_full_1fc")
    trained = [
        load_checkpoint_weights(run / "source" / f"round_0{n}" / "model_final.pth") for n in (1, 2)
    ]
    assert not equal(body(trained[0]), body(trained[1]))
    zeros = {name: ticket.weights[name] == 0 for name in ticket.mask}
    assert all(bool(zeros[name][~ticket.mask[name]].all()) for name in zeros)


def test_masks_are_the_sources_and_cover_convolutions_only(finished):
    run, _, _ = finished
    for number in (1, 2):
        found = load_ticket(run / "source" / f"round_0{number}" / "ticket.safetensors").mask
        for start in ("source_final", "source_init", "random"):
            mask = start_of(run, f"round_0{number}_{start}_full_1fc").mask
            assert set(mask) == {name for name in found if not name.startswith("fc.")}
            assert all(torch.equal(mask[name], found[name]) for name in mask)
            assert "conv1.weight" in mask
    assert start_of(run, "round_00_random_full_1fc").mask.density == 1


def test_the_random_mask_has_the_layer_counts_on_the_dense_sources_weights(finished):
    run, _, _ = finished
    control = start_of(run, "round_02_random_mask_full_1fc")
    ticket = start_of(run, "round_02_source_final_full_1fc")
    assert {n: control.mask.kept_in(n) for n in control.mask} == {
        n: ticket.mask.kept_in(n) for n in ticket.mask
    }
    assert control.mask.sha256() != ticket.mask.sha256()
    dense = load_checkpoint_weights(run / "source" / "round_00" / "model_final.pth")
    assert equal(body(control.weights), body(dense))


def test_every_cell_begins_with_the_same_new_head(finished):
    run, table, config = finished
    for layers in (1, 2):
        fresh = build_model(config.model, 3, seed=1, head_layers=layers).state_dict()
        head = {name: value for name, value in fresh.items() if name.startswith("fc.")}
        for row in table["rows"]:
            if row["head_layers"] == layers:
                weights = start_of(run, row["stage"]).weights
                assert equal({n: v for n, v in weights.items() if n.startswith("fc.")}, head)


def test_frozen_means_frozen_batch_norm_statistics_included(finished):
    run, table, _ = finished
    for row in table["rows"]:
        ticket = start_of(run, row["stage"])
        final = load_checkpoint_weights(run / row["stage"] / "model_final.pth")
        masked = {
            name: value * ticket.mask[name] if name in ticket.mask else value
            for name, value in body(ticket.weights).items()
        }
        assert equal(body(final), masked) is (row["finetune"] == "frozen")
        assert not any(
            torch.equal(final[name], ticket.weights[name])
            for name in final
            if name.startswith("fc.")
        )


def test_a_second_call_trains_nothing(finished, monkeypatch):
    _, table, config = finished
    monkeypatch.setattr("lth_det.classify.stages.train_model_", None)
    assert run_transfer(config, resume=False) == table


def test_the_printed_table_has_a_column_for_each_start(finished):
    _, table, _ = finished
    lines = transfer_text(table).splitlines()
    assert lines[1].split()[-4:] == ["source_final", "source_init", "random", "random_mask"]
    assert len(lines) == 2 + 2 * 2 * 3
    assert lines[2].split()[-1] == "-"  # no random mask of a dense network
    best = f"{table['rows'][0]['top1']:.2f}"
    assert best in lines[2]


def test_one_ticket_of_a_finished_run(tmp_path, root, finished):
    run, table, _ = finished
    path = run / "source" / "round_02" / "ticket.safetensors"
    options = ("transfer.source", '""', "transfer.ticket", str(path))
    config = transfer_config(tmp_path, root, *options, "transfer.finetune", "[full]")
    found = run_transfer(config, resume=False)
    assert {row["source_round"] for row in found["rows"]} == {2}
    before = {row["stage"]: row["top1"] for row in table["rows"]}
    assert all(row["top1"] == before[row["stage"]] for row in found["rows"])


def test_cells_of_another_ticket_are_not_taken_for_this_ones(tmp_path, root, finished):
    # Two runs with the same dense round and other prune rates: their rounds have the same names.
    run, _, _ = finished
    text = (run.parent / "source.yaml").read_text()
    other = ("pruning.prune_rate_per_round", "0.4", "output", str(tmp_path / "other"))
    run_classifier(tiny_config(tmp_path, *other, text=text), resume=False)
    tickets = [folder / "round_02" / "ticket.safetensors" for folder in (run / "source", tmp_path / "other")]  # fmt: skip
    configs = [
        transfer_config(tmp_path, root, "transfer.source", "", "transfer.ticket", str(ticket),
                        "transfer.finetune", "[frozen]", "transfer.starts", "[random]",
                        "transfer.controls", "[]")
        for ticket in tickets
    ]  # fmt: skip
    first = run_transfer(configs[0], resume=False)
    with pytest.raises(RunError, match=r"was made from another source than .*other"):
        run_transfer(configs[1], resume=False)
    assert run_transfer(configs[0], resume=False) == first


def test_mistakes(tmp_path, root, finished):
    run, _, _ = finished
    with pytest.raises(ConfigError, match=r"transfer\.rounds has 5"):
        run_transfer(transfer_config(tmp_path, root, "transfer.rounds", "[5]"), resume=False)
    options = ("transfer.source", '""', "transfer.ticket", str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(ConfigError, match="no ticket with"):
        run_transfer(transfer_config(tmp_path, root, *options), resume=False)
    ticket = run / "source" / "round_02" / "ticket.safetensors"
    options = (
        "transfer.source",
        '""',
        "transfer.ticket",
        str(ticket),
        "output",
        str(tmp_path / "x"),
    )
    with pytest.raises(MaskMismatchError, match="another network than the target"):
        run_transfer(
            transfer_config(tmp_path, root, *options, "model.widths", "[4, 8]"), resume=False
        )
    with pytest.raises(ConfigError, match=r"model\.weights has no part"):
        run_transfer(transfer_config(tmp_path, root, "model.weights", "a.pth"), resume=False)


def test_a_source_without_its_initialisation_cannot_give_it(tmp_path, root):
    config = transfer_config(tmp_path, root, source=TINY)
    with pytest.raises(ConfigError, match="kept its weights of iteration 2"):
        run_transfer(config, resume=False)


def test_the_source_takes_seed_and_place_of_the_transfer(tmp_path, root):
    options = ("seed", "5", "transfer.finetune", "[full]", "transfer.starts", "[source_init]")
    run_transfer(transfer_config(tmp_path, root, *options), resume=False)
    source = json.loads((tmp_path / "run" / "source" / "results.json").read_text())
    assert source["seed"] == 5
    assert source["dataset"]["classes"] == ["blue", "red"]


def test_the_source_run_is_an_ordinary_run(tmp_path, root, finished):
    run, _, _ = finished
    text = (run.parent / "source.yaml").read_text()
    alone = tiny_config(tmp_path, "output", str(tmp_path / "alone"), text=text)
    results = run_classifier(alone, resume=False)
    inside = json.loads((run / "source" / "results.json").read_text())
    assert [r["weights_sha256"] for r in results["rounds"]] == [
        r["weights_sha256"] for r in inside["rounds"]
    ]
