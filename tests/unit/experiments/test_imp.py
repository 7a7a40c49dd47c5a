import dataclasses
import json
import shutil

import pytest
import torch
from toy_trainer import PRUNABLE, STEPS, ToyTrainer, initial_state

from lth_det.errors import ConfigError, RunError
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.snapshot import load_snapshot
from lth_det.pruning.criteria import CRITERIA
from lth_det.tickets.apply import count_revived
from lth_det.tickets.serialization import load_ticket, ticket_sha256

PLAN = ImpPlan(
    prune_rates=(0.5, 0.75),
    group_prune_rates={},
    criterion="magnitude",
    scope="global",
    layer_ratios="uniform",
    rewind_to="iteration",
    rewind_iteration=2,
    rewind_weights="",
    start_iteration=0,
    seed=7,
    controls=("random_layer_ratios", "random_reinit"),
    control_rounds=(),
    task="toy",
    source_weights="",
)
FACTS = {"config_sha256": "0" * 64, "versions": {"toy": "1"}}


def run(folder, trainer=None, **changes):
    trainer = trainer or ToyTrainer()
    imp = ImpRun(trainer, dataclasses.replace(PLAN, **changes), RunDir(folder), FACTS)
    return trainer, imp, imp()


def bits_equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_rounds_have_the_exact_counts_and_nested_masks(tmp_path):
    _, _, results = run(tmp_path)
    prunable = 8 * 4 * 9 + 48
    assert [row["pruned_parameters"] for row in results["rounds"]] == [
        0,
        prunable // 2,
        prunable * 3 // 4,
    ]
    total = prunable + 18 + 8
    assert results["rounds"][1]["sparsity"] == pytest.approx(prunable / 2 / total)
    first = load_ticket(tmp_path / "round_01/ticket.safetensors").mask
    second = load_ticket(tmp_path / "round_02/ticket.safetensors").mask
    assert second.is_nested_in(first)
    assert not first.is_nested_in(second)


def test_mask_follows_the_trained_magnitudes_of_the_round_before(tmp_path):
    # Not those of the initial or rewound weights: the predecessor's ImageNet script did that.
    run(tmp_path)
    mask = load_ticket(tmp_path / "round_01/ticket.safetensors").mask
    trained = torch.load(tmp_path / "round_00/model_final.pth", weights_only=True)["model"]
    kept = torch.cat([trained[name].abs()[mask[name]] for name in PRUNABLE])
    gone = torch.cat([trained[name].abs()[~mask[name]] for name in PRUNABLE])
    assert kept.min() >= gone.max()
    start = initial_state(PLAN.seed)
    assert (
        torch.cat([start[n].abs()[mask[n]] for n in PRUNABLE]).min()
        < torch.cat([start[n].abs()[~mask[n]] for n in PRUNABLE]).max()
    )


def test_every_round_starts_at_the_rewind_snapshot_under_its_mask(tmp_path):
    trainer, _, _ = run(tmp_path)
    snapshot = load_snapshot(tmp_path / "round_00/rewind.safetensors")
    assert not bits_equal(snapshot, initial_state(PLAN.seed))  # two steps were made
    for name in ("round_01", "round_02"):
        mask = load_ticket(tmp_path / name / "ticket.safetensors").mask
        start = trainer.starts[name]
        for key, value in snapshot.items():
            expected = value * mask[key] if key in mask else value
            assert torch.equal(start[key], expected)
        assert count_revived(start, mask) == 0


@pytest.mark.parametrize(("kind", "iteration"), [("init", 0), ("final", STEPS)])
def test_rewinding_to_the_start_and_learning_rate_rewinding(tmp_path, kind, iteration):
    trainer, _, _ = run(tmp_path, rewind_to=kind, controls=())
    if kind == "init":
        expected = initial_state(PLAN.seed)
    else:
        expected = torch.load(tmp_path / "round_00/model_final.pth", weights_only=True)["model"]
    dense_part = trainer.starts["round_01"]["head.weight"]
    assert torch.equal(dense_part, expected["head.weight"])


def test_rewinding_to_pretrained_weights_keeps_the_start_where_the_file_has_nothing(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"head.weight": torch.full((3, 6), 5.0)}, file)
    trainer, _, _ = run(
        tmp_path / "run", rewind_to="pretrained", rewind_weights=str(file), controls=()
    )
    start = trainer.starts["round_01"]
    assert torch.equal(start["head.weight"], torch.full((3, 6), 5.0))
    assert torch.equal(start["body.bias"], initial_state(PLAN.seed)["body.bias"])


def test_a_second_run_trains_nothing_and_gives_the_same_bytes(tmp_path):
    run(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    trainer, imp, _ = run(tmp_path)
    assert trainer.log == []
    assert imp.finished_stages() == len(imp.stage_names()) == 5
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_stopped_run_goes_on_and_equals_an_unbroken_one(tmp_path):
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="went away"):
        run(tmp_path / "broken", ToyTrainer(fail_in="round_02"))
    partial = json.loads((tmp_path / "broken/results.json").read_text())
    assert len(partial["rounds"]) == 2
    assert partial["complete"] is False
    trainer, _, results = run(tmp_path / "broken")
    assert trainer.log[0] == "round_02"
    assert results["complete"] is True
    for file in ("results.json", "round_02/ticket.safetensors", "round_01/ticket.safetensors"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_ticket_on_disk_is_never_made_again(tmp_path):
    # The predecessor computed its mask anew from the resumed weights.
    with pytest.raises(RuntimeError):
        run(tmp_path, ToyTrainer(fail_in="round_01"), controls=())
    path = tmp_path / "round_01/ticket.safetensors"
    before = path.read_bytes()
    run(tmp_path, controls=(), criterion="random")  # would choose other weights
    assert path.read_bytes() == before


def test_changed_weights_of_a_finished_stage_are_noticed(tmp_path):
    with pytest.raises(RuntimeError):
        run(tmp_path, ToyTrainer(fail_in="round_02"), controls=())
    (tmp_path / "round_02/ticket.safetensors").unlink()
    torch.save({"model": initial_state(99)}, tmp_path / "round_01/model_final.pth")
    with pytest.raises(RunError, match=r"round_01.*not the file"):
        run(tmp_path, controls=())


def test_a_revived_weight_stops_the_run(tmp_path):
    class Leaky(ToyTrainer):
        def train(self, stage):
            result = super().train(stage)
            if stage.ticket is not None:
                state = self.load_weights(result.weights)
                keep = stage.ticket.mask["neck.weight"]
                state["neck.weight"][~keep] = 1e-12
                torch.save({"model": state}, result.weights)
            return result

    with pytest.raises(RunError, match="not zero after training"):
        run(tmp_path, Leaky())


def test_controls_differ_from_the_ticket_in_one_thing(tmp_path):
    trainer, _, results = run(tmp_path)
    assert [(row["name"], row["round"]) for row in results["controls"]] == [
        ("random_layer_ratios", 2),
        ("random_reinit", 2),
    ]
    ticket = load_ticket(tmp_path / "round_02/ticket.safetensors")
    shuffled = load_ticket(tmp_path / "round_02_random_layer_ratios/ticket.safetensors")
    fresh = load_ticket(tmp_path / "round_02_random_reinit/ticket.safetensors")
    assert all(shuffled.mask.kept_in(name) == ticket.mask.kept_in(name) for name in PRUNABLE)
    assert shuffled.mask != ticket.mask
    assert bits_equal(shuffled.weights, ticket.weights)
    assert (
        len(set(trainer.seeds.values())) == 1
    )  # same data in the same order, for the fresh weights too
    assert fresh.mask == ticket.mask
    assert fresh.weights is None
    assert not torch.equal(
        trainer.starts["round_02_random_reinit"]["head.weight"],
        trainer.starts["round_02"]["head.weight"],
    )


def test_the_rewound_dense_control_prunes_nothing_and_starts_where_the_ticket_does(tmp_path):
    trainer, _, results = run(tmp_path, controls=("dense_rewound",))
    record = results["controls"][0]
    assert (record["name"], record["pruned_parameters"], record["sparsity"]) == (
        "dense_rewound",
        0,
        0,
    )
    assert bits_equal(
        trainer.starts["round_02_dense_rewound"],
        load_snapshot(tmp_path / "round_00/rewind.safetensors"),
    )
    # Equal weights, equal batches, nothing pruned: the second half of the dense round again.
    again = run(tmp_path / "half", controls=("dense_rewound",), start_iteration=2)[2]
    assert again["controls"][0]["weights_sha256"] == again["rounds"][0]["weights_sha256"]
    assert (
        load_ticket(tmp_path / "round_02_dense_rewound/ticket.safetensors").provenance.prune_rate
        == 0
    )


def test_groups_with_their_own_rates_are_pruned_separately(tmp_path):
    _, _, results = run(tmp_path, group_prune_rates={"fpn": 0.25}, controls=())
    groups = results["rounds"][2]["groups"]
    assert groups["fpn"]["pruned_parameters"] == 12
    assert groups["backbone"]["pruned_parameters"] == 288 * 3 // 4
    assert groups["predictors"]["pruned_parameters"] == 0
    with pytest.raises(ConfigError, match=r"GROUP_PRUNE_RATE\.RPN"):
        run(tmp_path / "other", group_prune_rates={"rpn": 0.5})


def test_results_hold_no_times_and_no_nan(tmp_path):
    run(tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "seconds" not in text
    assert "NaN" not in text
    assert json.loads(text)["rounds"][0]["metrics"]["bbox/APs"] is None
    times = json.loads((tmp_path / "timings.json").read_text())
    assert times["total_seconds"] == 5 * 1.75
    assert times["rounds"][1] == {
        "stage": "round_01",
        "round": 1,
        "train_seconds": 1.5,
        "eval_seconds": 0.25,
    }
    assert len(times["rounds"]) == 3
    assert len(times["controls"]) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"group_prune_rates": {"rpn": 0.5}}, r"GROUP_PRUNE_RATE\.RPN"),
        ({"criterion": "magnitud"}, "magnitud"),
        ({"criterion": "snip"}, "snip"),  # needs a model and a loss
        ({"scope": "layer", "layer_ratios": "erg"}, "erg"),
    ],
)
def test_a_plan_that_cannot_prune_is_refused_before_the_dense_round(tmp_path, changes, expected):
    trainer = ToyTrainer()
    with pytest.raises(ConfigError, match=expected):
        run(tmp_path, trainer, **changes)
    assert trainer.log == []


def test_a_round_is_not_built_on_weights_that_its_ticket_was_not_made_from(tmp_path):
    run(tmp_path / "run", controls=())
    shutil.rmtree(tmp_path / "run/round_00")

    class OtherMachine(ToyTrainer):
        """Trains with other rounding errors."""

        def train(self, stage):
            result = super().train(stage)
            state = {
                name: value * 1.0001 for name, value in self.load_weights(result.weights).items()
            }
            torch.save({"model": state}, result.weights)
            return result

    before = (tmp_path / "run/round_01/model_final.pth").read_bytes()
    with pytest.raises(RunError, match=r"round_01.*other weights than those of round_00"):
        run(tmp_path / "run", OtherMachine(), controls=())
    assert (tmp_path / "run/round_01/model_final.pth").read_bytes() == before


def test_a_finished_run_that_is_stopped_while_it_is_looked_at_keeps_its_results(tmp_path):
    run(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    complete = json.loads(before)
    ticket = tmp_path / "round_02_random_reinit/stage.json"
    ticket.unlink()
    with pytest.raises(RuntimeError, match="went away"):
        run(tmp_path, ToyTrainer(fail_in="round_02_random_reinit"))
    stopped = json.loads((tmp_path / "results.json").read_text())
    assert stopped["rounds"] == complete["rounds"]
    assert stopped["controls"] == complete["controls"][:1]
    assert stopped["complete"] is False
    run(tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before


def test_stopped_at_any_place_the_results_hold_every_finished_stage(tmp_path, monkeypatch):
    run(tmp_path)
    writes = []
    monkeypatch.setattr(
        "lth_det.experiments.results.atomic_write_json",
        lambda path, value: writes.append(value) if path.name == "results.json" else None,
    )
    _, _, complete = run(tmp_path)
    assert len(writes) > 2
    assert all(value["rounds"] == json.loads(json.dumps(writes[-1]["rounds"])) for value in writes)
    assert all(value["controls"] == writes[-1]["controls"] for value in writes)
    assert [row["stage"] for row in complete["rounds"]] == ["round_00", "round_01", "round_02"]


def test_what_a_round_pruned_stays_pruned_whatever_the_criterion_says(tmp_path, monkeypatch):
    class Smallest:
        """Keeps the smallest: the zeros of the round before, if nothing held them."""

        name = "smallest"

        def scores(self, weights):
            return {name: -weight.abs() for name, weight in weights.items()}

    monkeypatch.setitem(CRITERIA, "smallest", Smallest)
    run(tmp_path, criterion="smallest", controls=())
    first, second = (
        load_ticket(tmp_path / f"round_0{number}/ticket.safetensors").mask for number in (1, 2)
    )
    assert second.is_nested_in(first)


def test_tickets_say_where_they_come_from(tmp_path):
    _, _, results = run(tmp_path, task="shapes_train", source_weights="imagenet.pth")
    tickets = [load_ticket(tmp_path / f"round_0{number}/ticket.safetensors") for number in (1, 2)]
    first, second = (ticket.provenance for ticket in tickets)
    assert first.parent_sha256 is None
    assert (
        second.parent_sha256 == results["rounds"][1]["ticket_sha256"] == ticket_sha256(tickets[0])
    )
    assert (first.round, second.round) == (1, 2)
    assert second.prune_rate == pytest.approx(0.75)
    assert second.sparsity == results["rounds"][2]["sparsity"]
    assert (second.seed, second.rewind) == (PLAN.seed, "iteration 2")
    assert (second.source_task, second.source_weights) == ("shapes_train", "imagenet.pth")
    assert second.extra["trained_weights_sha256"] == results["rounds"][1]["weights_sha256"]
    control = load_ticket(tmp_path / "round_02_random_reinit/ticket.safetensors").provenance
    assert control.criterion == "random_reinit"
    assert control.extra["control_of"] == "round_02"
