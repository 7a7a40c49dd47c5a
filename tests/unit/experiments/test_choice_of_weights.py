"""What a round decides on: criteria with a model, steps, pruning at the start, curves, and what a user registers."""

import contextlib
import dataclasses
import json

import pytest
import torch
from test_imp import run
from torch import nn
from toy_trainer import PRUNABLE, SHAPES, ToyTrainer, initial_state

from lth_det.errors import ConfigError, RunError
from lth_det.experiments.decide import needs_model
from lth_det.experiments.snapshot import load_snapshot
from lth_det.pruning.allocation import ALLOCATIONS, Scope, register_allocation
from lth_det.pruning.apportion import keep_count
from lth_det.pruning.criteria import CRITERIA, register_criterion
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, save_ticket

LOSS_WEIGHT = {"body.weight": 1.0, "neck.weight": 30.0}  # the neck is what hurts


class Toy(nn.Module):
    """Parameters with the toy's names; the loss grows with the squared distance to where they were."""

    def __init__(self, state):
        super().__init__()
        for name, shape in SHAPES.items():
            path, _, attribute = name.rpartition(".")
            if not hasattr(self, path):
                self.add_module(path, nn.Module())
            parameter = nn.Parameter(state[name].clone().reshape(shape))
            self.get_submodule(path).register_parameter(attribute, parameter)
        self.start = {name: value.clone() for name, value in state.items()}


class ToyScoring:
    def __init__(self, state, batches):
        self.model, self.batches, self.losses = Toy(state), batches, 0

    def loss(self):
        self.losses += 1
        own = dict(self.model.named_parameters())
        gaps = [
            factor * (own[name] - 1.5 * self.model.start[name]).square().sum()
            for name, factor in LOSS_WEIGHT.items()
        ]
        return torch.stack(gaps).sum() + 0 * own["head.weight"].sum()

    def flow(self):
        # Two layers one after the other: the body's sum times the neck's.
        own = dict(self.model.named_parameters())
        return torch.stack([own[name].sum() for name in PRUNABLE]).log().sum()


@dataclasses.dataclass
class ScoringToyTrainer(ToyTrainer):
    made: list = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def scoring(self, weights, *, batches, seed):
        self.made.append((ToyScoring(weights, batches), seed))
        yield self.made[-1][0]


def mask_of(folder, name="round_01"):
    return load_ticket(folder / name / "ticket.safetensors").mask


def trained(folder, name="round_00"):
    return torch.load(folder / name / "model_final.pth", weights_only=True)["model"]


def smallest_kept_and_largest_gone(scores, mask):
    kept = torch.cat([scores[name][mask[name]] for name in PRUNABLE])
    gone = torch.cat([scores[name][~mask[name]] for name in PRUNABLE])
    return kept.min(), gone.max()


def test_snip_scores_the_trained_weights_with_the_runs_batches(tmp_path):
    trainer = ScoringToyTrainer()
    run(tmp_path, trainer, criterion="snip", criterion_batches=3, controls=(), prune_rates=(0.5,))
    weights = trained(tmp_path)
    # |w dL/dw| with dL/dw = 2 f (w - 1.5 w) = -f w
    scores = {name: LOSS_WEIGHT[name] * weights[name].square() for name in PRUNABLE}
    low, high = smallest_kept_and_largest_gone(scores, mask_of(tmp_path))
    assert low >= high * (1 - 1e-5)
    ((scoring, _),) = trainer.made
    assert (scoring.batches, scoring.losses) == (3, 3)


def test_criteria_with_a_model_are_refused_before_training_where_there_are_no_losses(tmp_path):
    for changes in ({"criterion": "synflow"}, {"scope": "sensitivity"}):
        trainer = ToyTrainer()
        with pytest.raises(ConfigError, match="needs losses of a model"):
            run(tmp_path, trainer, **changes)
        assert trainer.log == []
    assert [needs_model(name) for name in ("magnitude", "random", "snip")] == [False, False, True]


def test_synflow_scores_again_after_each_of_its_steps_and_nests_its_rounds(tmp_path):
    calls = []

    class Counting(CRITERIA["synflow"]):
        def scores(self, weights):
            kept = sum(int((w != 0).sum()) for w in weights.values())
            calls.append(kept)
            return super().scores(weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CRITERIA, "synflow", Counting)
        run(tmp_path, ScoringToyTrainer(), criterion="synflow", criterion_steps=4, controls=())
    assert len(calls) == 8  # two rounds of four
    shares = [keep_count(336, 0.5 ** (step / 4)) for step in range(4)]
    assert calls[:4] == shares
    assert calls[4] == 168
    first, second = mask_of(tmp_path), mask_of(tmp_path, "round_02")
    assert (first.kept, second.kept) == (168, 84)
    assert second.is_nested_in(first)
    assert CRITERIA["synflow"].steps == 100  # as published, where nothing else is asked for


def test_scores_do_not_empty_a_layer_where_iterated(tmp_path):
    run(tmp_path, ScoringToyTrainer(), criterion="synflow", criterion_steps=30, controls=(),
        prune_rates=(0.97,))  # fmt: skip
    assert all(mask_of(tmp_path).kept_in(name) for name in PRUNABLE)


@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_pruning_at_the_start_looks_at_the_weights_that_the_round_starts_from(tmp_path, criterion):
    run(tmp_path, ScoringToyTrainer(), criterion=criterion, mask_from="start", rewind_to="init",
        controls=())  # fmt: skip
    start = initial_state(7)
    scores = {
        name: start[name].square() * (1 if criterion == "magnitude" else LOSS_WEIGHT[name])
        for name in PRUNABLE
    }
    for name in ("round_01", "round_02"):
        low, high = smallest_kept_and_largest_gone(scores, mask_of(tmp_path, name))
        assert low >= high * (1 - 1e-5)
    assert mask_of(tmp_path, "round_02").is_nested_in(mask_of(tmp_path))
    extra = load_ticket(tmp_path / "round_01/ticket.safetensors").provenance.extra
    assert extra["mask_from"] == "start"


def test_the_rewound_weights_of_a_ticket_pruned_at_the_start_are_whole(tmp_path):
    run(tmp_path, mask_from="start", controls=())
    ticket = load_ticket(tmp_path / "round_02/ticket.safetensors")
    snapshot = load_snapshot(tmp_path / "round_00/rewind.safetensors")
    assert all(torch.equal(ticket.weights[name], value) for name, value in snapshot.items())


SENSITIVE = {
    "scope": "sensitivity",
    "sensitivity_rates": (0.3, 0.6, 0.9),
    "sensitivity_batches": 2,
    "controls": (),
}


def test_the_budget_goes_where_it_costs_least_and_the_file_says_why(tmp_path):
    trainer = ScoringToyTrainer()
    _, _, results = run(tmp_path, trainer, **SENSITIVE)
    content = json.loads((tmp_path / "sensitivity.json").read_text())
    weights = trained(tmp_path)
    assert content["weights_sha256"] == results["rounds"][0]["weights_sha256"]
    assert content["rates"] == [0.3, 0.6, 0.9]
    groups = {"backbone": "body.weight", "fpn": "neck.weight"}
    for group, name in groups.items():
        value = weights[name].abs().flatten().sort().values
        for rate, found in zip(
            content["rates"], content["groups"][group]["increases"], strict=True
        ):
            gone = value[: value.numel() - keep_count(value.numel(), 1 - rate)]
            # (0 - 1.5 w)^2 instead of (w - 1.5 w)^2
            assert found == pytest.approx(
                float(LOSS_WEIGHT[name] * 2 * gone.square().sum()), rel=1e-4
            )
    for number, rate in ((1, 0.5), (2, 0.75)):
        row = results["rounds"][number]
        assert row["prune_rate"] == rate
        decided = content["decisions"][f"round_0{number}"]
        for group in groups:
            assert decided[group]["pruned_parameters"] == row["groups"][group]["pruned_parameters"]
    rates = {g: row["prune_rate"] for g, row in results["rounds"][2]["groups"].items()}
    assert rates["fpn"] < 0.4 < 0.75 < rates["backbone"]
    (_, seed), *more = trainer.made
    assert (seed != 7, more) == (True, [])  # measured once, not on the batches of other scores


def test_a_resumed_run_does_not_measure_again(tmp_path):
    run(tmp_path / "whole", ScoringToyTrainer(), **SENSITIVE)
    with pytest.raises(RuntimeError, match="went away"):
        run(tmp_path / "cut", ScoringToyTrainer(fail_in="round_01"), **SENSITIVE)
    again = ScoringToyTrainer()
    run(tmp_path / "cut", again, **SENSITIVE)
    assert again.made == []
    for file in ("sensitivity.json", "results.json", "round_02/ticket.safetensors"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_curves_of_other_weights_are_refused(tmp_path):
    with pytest.raises(RuntimeError):
        run(tmp_path, ScoringToyTrainer(fail_in="round_02"), **SENSITIVE)
    (tmp_path / "round_02/ticket.safetensors").unlink()
    file = tmp_path / "sensitivity.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "weights_sha256": "0" * 64}))
    with pytest.raises(RunError, match=r"sensitivity\.json was measured on other weights"):
        run(tmp_path, ScoringToyTrainer(), **SENSITIVE)
    file.write_text("{")
    with pytest.raises(RunError, match=r"sensitivity\.json is damaged"):
        run(tmp_path, ScoringToyTrainer(), **SENSITIVE)


def test_a_group_with_a_rate_of_its_own_is_not_measured(tmp_path):
    _, _, results = run(tmp_path, ScoringToyTrainer(), group_prune_rates={"fpn": 0.25}, **SENSITIVE)
    content = json.loads((tmp_path / "sensitivity.json").read_text())
    assert list(content["groups"]) == ["backbone"]
    assert results["rounds"][2]["groups"]["fpn"]["pruned_parameters"] == 12


def test_measuring_leaves_the_weights_as_they_were(tmp_path):
    trainer = ScoringToyTrainer()
    run(tmp_path, trainer, **SENSITIVE)
    ((scoring, _),) = trainer.made
    dense = trained(tmp_path)
    for name, parameter in scoring.model.named_parameters():
        assert torch.equal(parameter, dense[name])


def test_layer_ratios_of_a_ticket(tmp_path):
    run(tmp_path / "found", controls=())
    path = tmp_path / "found/round_02/ticket.safetensors"
    found = load_ticket(path).mask
    changes = {"scope": "layer", "layer_ratios": str(path), "controls": (), "criterion": "random"}
    run(tmp_path / "same", prune_rates=(0.75,), **changes)
    mask = mask_of(tmp_path / "same")
    assert {n: mask.kept_in(n) for n in mask} == {n: found.kept_in(n) for n in found}
    assert mask != found
    run(tmp_path / "less", prune_rates=(0.5,), **changes)
    less = mask_of(tmp_path / "less")
    assert less.kept == 168
    for name in PRUNABLE:
        assert less.kept_in(name) == pytest.approx(2 * found.kept_in(name), abs=1)
    part = dataclasses.replace(
        load_ticket(path), mask=Mask({"body.weight": found["body.weight"]}), weights=None
    )
    save_ticket(tmp_path / "part.safetensors", part)
    with pytest.raises(Exception, match=r"no mask of neck\.weight"):
        run(tmp_path / "part", **{**changes, "layer_ratios": str(tmp_path / "part.safetensors")})


def test_a_criterion_of_ones_own_in_a_few_lines(tmp_path, monkeypatch):
    class Curvature:
        name = "curvature"

        def __init__(self, model, loss_fn):
            self.model, self.loss_fn = model, loss_fn

        def scores(self, weights):
            gradients = torch.autograd.grad(self.loss_fn(), list(weights.values()))
            return {n: g.abs() for n, g in zip(weights, gradients, strict=True)}

    monkeypatch.setitem(CRITERIA, "curvature", Curvature)
    run(tmp_path, ScoringToyTrainer(), criterion="curvature", controls=(), prune_rates=(0.5,))
    scores = {n: LOSS_WEIGHT[n] * trained(tmp_path)[n].abs() for n in PRUNABLE}
    low, high = smallest_kept_and_largest_gone(scores, mask_of(tmp_path))
    assert low >= high * (1 - 1e-5)


def test_an_allocation_of_ones_own_in_a_few_lines(tmp_path):
    class FirstLayerWhole:
        name = "first_layer_whole"

        def scopes(self, request):
            first, *others = request.shapes
            total = keep_count(sum(request.sizes.values()), request.required_density())
            own = min(request.available[first], total)
            return [
                Scope("first", (first,), own),
                Scope("others", tuple(others), total - own),
            ]

    register_allocation("first_layer_whole")(FirstLayerWhole)
    try:
        run(tmp_path, scope="first_layer_whole", controls=(), prune_rates=(0.125,))
    finally:
        del ALLOCATIONS["first_layer_whole"]
    mask = mask_of(tmp_path)
    assert mask.kept_in("body.weight") == 288
    assert mask.kept == 294


def test_a_registered_name_is_not_taken_twice():
    with pytest.raises(ConfigError, match="already a criterion called 'snip'"):
        register_criterion("snip")(ToyScoring)
