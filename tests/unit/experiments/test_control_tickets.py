"""Control runs of rounds and of given tickets: each differs from the ticket in the one thing it is there for."""

import dataclasses
import json

import pytest
import torch
from test_imp import PLAN, bits_equal, run
from test_ticket_run import train
from toy_trainer import PRUNABLE, STEPS, ToyTrainer, initial_state

from lth_det.errors import ConfigError
from lth_det.experiments.controls import CONTROLS, control_seed
from lth_det.pruning.apportion import apportion
from lth_det.tickets.serialization import load_ticket

MASKS = ("random_layer_ratios", "random_erk", "reshuffled", "complement", "perturbed")
SIZES = {"body.weight": 288, "neck.weight": 48}
BUDGET = {"iterations": STEPS, "retraining_iterations": STEPS}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """An IMP run with all controls, and a run of its last ticket with all controls."""
    folder = tmp_path_factory.mktemp("controls")
    changes = {"controls": tuple(CONTROLS), "perturbed_fraction": 0.25, **BUDGET}
    imp = run(folder / "imp", **changes)
    found = load_ticket(folder / "imp/round_02/ticket.safetensors")
    ticket = train(folder / "ticket", found, **changes)
    return {
        "round_02": (folder / "imp", imp[0], imp[2]),
        "ticket": (folder / "ticket", *ticket),
    }


@pytest.fixture(params=["round_02", "ticket"])
def made(request, both):
    """(stage, trainer, results, ticket, control name -> its ticket)."""
    of = request.param
    folder, trainer, results = both[of]
    files = {kind: folder / f"{of}_{kind}/ticket.safetensors" for kind in CONTROLS}
    tickets = {kind: load_ticket(path) for kind, path in files.items() if path.exists()}
    return of, trainer, results, load_ticket(folder / of / "ticket.safetensors"), tickets


def kept(mask):
    return {name: mask.kept_in(name) for name in mask}


def test_every_control_is_a_stage_of_its_own_with_its_name_and_round(made):
    of, trainer, results, _, _ = made
    assert [row["name"] for row in results["controls"]] == list(CONTROLS)
    assert {row["round"] for row in results["controls"]} == {2}
    assert [row["stage"] for row in results["controls"]] == [f"{of}_{kind}" for kind in CONTROLS]
    assert trainer.log[-len(CONTROLS) :] == [f"{of}_{kind}" for kind in CONTROLS]
    assert results["complete"] is True
    assert set(trainer.seeds.values()) == {PLAN.seed}  # the same data in the same order


def test_masks_of_the_controls_have_the_tickets_count(made):
    _, _, results, ticket, tickets = made
    for kind in MASKS:
        mask = tickets[kind].mask
        assert mask.kept == ticket.mask.kept
        assert mask != ticket.mask
        assert bits_equal(tickets[kind].weights, ticket.weights)
    rows = {row["name"]: row for row in results["controls"]}
    assert {rows[kind]["sparsity"] for kind in MASKS} == {results["rounds"][-1]["sparsity"]}
    masks = [tickets[kind].mask for kind in MASKS]
    assert len({mask.sha256() for mask in masks}) == len(MASKS)


def test_layer_ratios_are_the_tickets_except_under_erk(made):
    _, _, _, ticket, tickets = made
    for kind in set(MASKS) - {"random_erk"}:
        assert kept(tickets[kind].mask) == kept(ticket.mask)
    weights = [8 + 4 + 3 + 3, 6 + 8]  # Erdos-Renyi-Kernel: the sum of the shape
    expected = apportion(weights, list(SIZES.values()), ticket.mask.kept)
    assert list(kept(tickets["random_erk"].mask).values()) == expected
    assert kept(tickets["random_erk"].mask) != kept(ticket.mask)


def test_the_reshuffled_mask_has_the_tickets_count_in_each_filter(made):
    _, _, _, ticket, tickets = made
    for name in PRUNABLE:
        counts = [m[name].flatten(1).sum(1).tolist() for m in (ticket.mask, tickets["reshuffled"].mask)]  # fmt: skip
        assert counts[0] == counts[1]
    drawn = tickets["random_layer_ratios"].mask["body.weight"].flatten(1).sum(1)
    assert drawn.tolist() != ticket.mask["body.weight"].flatten(1).sum(1).tolist()


def test_the_complement_shares_nothing_with_a_ticket_below_one_half(made):
    _, _, _, ticket, tickets = made
    other = tickets["complement"].mask
    assert all(2 * count <= SIZES[name] for name, count in kept(ticket.mask).items())
    assert not any(bool((other[name] & ticket.mask[name]).any()) for name in PRUNABLE)


def test_the_complement_of_a_ticket_above_one_half_keeps_all_that_it_prunes(tmp_path):
    run(tmp_path, prune_rates=(0.2,), controls=("complement",))
    ticket, other = (
        load_ticket(tmp_path / f"{name}/ticket.safetensors").mask
        for name in ("round_01", "round_01_complement")
    )
    assert kept(other) == kept(ticket)
    assert all(bool(other[name][~ticket[name]].all()) for name in PRUNABLE)


def test_the_perturbed_mask_moves_the_fraction(made):
    _, _, _, ticket, tickets = made
    for name in PRUNABLE:
        gone = int((ticket.mask[name] & ~tickets["perturbed"].mask[name]).sum())
        assert gone == round(0.25 * ticket.mask.kept_in(name))


def test_the_fresh_start_has_the_mask_and_another_initialisation(made):
    of, trainer, _, ticket, tickets = made
    assert tickets["random_reinit"].mask == ticket.mask
    assert tickets["random_reinit"].weights is None
    expected = initial_state(control_seed(PLAN))
    start = trainer.starts[f"{of}_random_reinit"]
    for name, value in expected.items():
        keep = ticket.mask.get(name, 1)
        assert torch.equal(start[name], value * keep)


def test_the_rewound_dense_control_starts_from_the_tickets_weights_without_its_mask(made):
    of, trainer, results, ticket, tickets = made
    assert tickets["dense_rewound"].mask.density == 1
    assert bits_equal(trainer.starts[f"{of}_dense_rewound"], ticket.weights)
    row = {row["name"]: row for row in results["controls"]}["dense_rewound"]
    assert (row["sparsity"], row["pruned_parameters"]) == (0, 0)


def test_the_dense_control_of_the_same_budget_trains_as_long_as_the_whole_chain(made):
    # Dense round, round 1 and round 2 of six steps each: finding took two of them, training the ticket is the third.
    of, trainer, results, _, tickets = made
    assert "dense_same_budget" not in tickets
    assert trainer.lengths[f"{of}_dense_same_budget"] == 3 * STEPS
    assert {n for stage, n in trainer.lengths.items() if "budget" not in stage} == {None}
    assert bits_equal(trainer.starts[f"{of}_dense_same_budget"], initial_state(PLAN.seed))
    row = {row["name"]: row for row in results["controls"]}["dense_same_budget"]
    assert (row["sparsity"], row["ticket"], row["ticket_sha256"]) == (0, None, None)


def test_a_rewind_that_leaves_a_part_of_the_schedule_out_shortens_the_budget(tmp_path):
    changes = {"iterations": 100, "retraining_iterations": 60, "prune_rates": (0.5, 0.6, 0.7)}
    trainer, _, _ = run(tmp_path, controls=("dense_same_budget",), control_rounds=(1, 3), **changes)
    assert trainer.lengths["round_01_dense_same_budget"] == 160
    assert trainer.lengths["round_03_dense_same_budget"] == 280


def test_controls_say_what_they_are_controls_of(made):
    of, _, _, ticket, tickets = made
    for kind, control in tickets.items():
        provenance = control.provenance
        assert provenance.criterion == kind
        assert provenance.extra["control_of"] == of
        assert provenance.parent_sha256 is None
        assert provenance.source_task == ticket.provenance.source_task


def test_a_finished_control_is_not_trained_again_and_a_name_can_be_added(tmp_path, both):
    found = load_ticket(both["ticket"][0] / "ticket/ticket.safetensors")
    train(tmp_path, found, controls=("random_erk",))
    trainer, results = train(tmp_path, found, controls=("random_erk", "perturbed"))
    assert trainer.log == ["ticket_perturbed"]
    assert [row["name"] for row in results["controls"]] == ["random_erk", "perturbed"]


def test_controls_that_an_earlier_command_asked_for_stay_in_the_results(tmp_path):
    run(tmp_path, controls=("random_erk",), control_rounds=(1, 2))
    trainer, results = run(tmp_path, controls=("random_reinit",), control_rounds=(2,))[::2]
    assert trainer.log == ["round_02_random_reinit"]
    rows = [(row["name"], row["round"]) for row in results["controls"]]
    assert rows == [("random_reinit", 2), ("random_erk", 1), ("random_erk", 2)]
    assert json.loads((tmp_path / "results.json").read_text())["controls"] == results["controls"]


def test_a_run_that_stops_in_a_later_control_keeps_the_rows_of_the_earlier_ones(tmp_path):
    run(tmp_path, controls=("random_erk",), control_rounds=(1, 2))
    with pytest.raises(RuntimeError, match="went away"):
        run(
            tmp_path,
            ToyTrainer(fail_in="round_02_random_reinit"),
            controls=("random_reinit",),
            control_rounds=(2,),
        )
    partial = json.loads((tmp_path / "results.json").read_text())
    assert partial["complete"] is False
    rows = [(row["name"], row["round"]) for row in partial["controls"]]
    assert rows == [("random_erk", 1), ("random_erk", 2)]


def test_a_stopped_run_of_a_ticket_keeps_the_mask_of_its_control(tmp_path, both):
    found = load_ticket(both["ticket"][0] / "ticket/ticket.safetensors")
    with pytest.raises(RuntimeError, match="went away"):
        train(tmp_path, found, ToyTrainer(fail_in="ticket_perturbed"), controls=("perturbed",))
    partial = json.loads((tmp_path / "results.json").read_text())
    assert partial["complete"] is False
    before = (tmp_path / "ticket_perturbed/ticket.safetensors").read_bytes()
    # Another fraction would draw another mask; what the stopped stage was trained with stays.
    train(tmp_path, found, controls=("perturbed",), perturbed_fraction=0.9)
    assert (tmp_path / "ticket_perturbed/ticket.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("provenance", "plan", "expected"),
    [
        ({"extra": {}}, BUDGET, "does not say how many iterations"),
        ({"source_task": "coco"}, BUDGET, "found on coco, not on toy"),
        ({}, {}, "needs a schedule that can be stretched"),
    ],
)
def test_a_budget_that_is_not_known_is_refused_before_anything_is_trained(
    tmp_path, both, provenance, plan, expected
):
    found = load_ticket(both["ticket"][0] / "ticket/ticket.safetensors")
    ticket = dataclasses.replace(
        found, provenance=dataclasses.replace(found.provenance, **provenance)
    )
    trainer = ToyTrainer()
    with pytest.raises(ConfigError, match=expected):
        train(tmp_path, ticket, trainer, controls=("dense_same_budget",), **plan)
    assert trainer.log == []


def test_an_unknown_control_is_refused_before_anything_is_trained(tmp_path):
    trainer = ToyTrainer()
    with pytest.raises(ConfigError, match=r"LTH\.CONTROLS has 'reshufled'; choose from"):
        run(tmp_path, trainer, controls=("reshufled",))
    assert trainer.log == []


def test_controls_that_start_with_the_zeros_of_a_trained_ticket_say_so(tmp_path, both, caplog):
    whole = load_ticket(both["round_02"][0] / "round_02/ticket.safetensors")
    trained = {
        name: value * whole.mask[name] if name in whole.mask else value
        for name, value in whole.weights.items()
    }
    kinds = ("complement", "random_reinit")
    train(tmp_path / "whole", whole, controls=kinds)
    assert "start at zero" not in caplog.text
    train(tmp_path / "trained", dataclasses.replace(whole, weights=trained), controls=kinds)
    # All that the complement keeps is pruned in the ticket; a re-initialised control has weights of its own.
    assert [r.getMessage()[:40] for r in caplog.records if "start at zero" in r.getMessage()] == [
        "complement of ticket: 100.0 % of the wei"
    ]
