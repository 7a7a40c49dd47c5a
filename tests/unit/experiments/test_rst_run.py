"""RST on a toy: what is drawn, in which order it is written, and that a stopped run ends as an unbroken one."""

import dataclasses
import json

import pytest
import torch
from test_imp import FACTS, PLAN
from toy_trainer import ToyTrainer, initial_state, toy_table

from lth_det.errors import ConfigError, RunError
from lth_det.experiments import rst_run
from lth_det.experiments.rst_plan import RstPlan, rst_mask
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.snapshot import save_snapshot
from lth_det.pruning.rst import Extrusion, RstSchedule
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket

SIZES = {"body.weight": 288, "neck.weight": 48}
PLAN = dataclasses.replace(
    PLAN, prune_rates=(0.75,), group_prune_rates={}, controls=(), rewind_to="final"
)
RST = RstPlan(
    ratios="uniform",
    ratio_mask=None,
    start=None,
    cycles=2,
    schedule=RstSchedule(ramp=4, hold=2),
    decoupled=True,
    stop_residual=0.0,
    check_period=2,
    preset="budget",
)


@dataclasses.dataclass
class TransformToy(ToyTrainer):
    """Does a transformation: the toy's noise, and the shrink of the stage's mask."""

    methods = frozenset({"rst"})

    def train(self, stage):
        if stage.transform is None:
            return super().train(stage)
        # On disk before a step is made.
        assert load_ticket(stage.folder / "ticket.safetensors").mask == stage.transform.mask
        self.log.append(stage.name)
        state = initial_state(stage.seed) if stage.start is None else capture_weights(stage.start)
        self.starts[stage.name] = capture_weights(state)
        if stage.name == self.fail_in:
            raise RuntimeError("the machine went away")
        spec = stage.transform
        for parameter in state.values():
            parameter.requires_grad_()
        extrusion = Extrusion(state, spec.mask)
        residuals = [[0, 0.0, float(extrusion.residual())]]
        for step in range(spec.schedule.iterations):
            extrusion.shrink_(spec.schedule.strength(step))
            residuals.append([step + 1, spec.schedule.strength(step), float(extrusion.residual())])
        weights = stage.folder / "model_final.pth"
        torch.save({"model": capture_weights(state)}, weights)
        return dataclasses.replace(
            super_result(weights), details={"residuals": residuals, "stopped_early": False}
        )


def super_result(weights):
    from lth_det.experiments.protocols import StageResult

    return StageResult(weights, {"bbox/AP": 1.0}, None, 2.0, 0.5, iterations=6)


def run(folder, trainer=None, *, plan=PLAN, **changes):
    trainer = trainer or TransformToy()
    rst = dataclasses.replace(RST, **changes)
    return rst_run.RstRun(trainer, plan, RunDir(folder), FACTS, rst=rst)()


def mask_of(folder, stage="rst"):
    return load_ticket(folder / stage / "ticket.safetensors").mask


def test_the_results_have_one_round_and_its_transformation(tmp_path):
    trainer = TransformToy()
    results = run(tmp_path, trainer)
    assert trainer.log == ["rst/transform_01", "rst/transform_02", "rst"]
    (record,) = results["rounds"]
    assert (record["round"], record["stage"]) == (1, "rst")
    assert record["ticket"] == "rst/ticket.safetensors"
    assert record["prune_rate"] == 0.75
    transform = record["transform"]
    assert (transform["preset"], transform["penalty"], transform["ramp"]) == (
        "budget",
        "decoupled",
        4,
    )
    first, second = transform["cycles_done"]
    assert (first["prune_rate"], second["prune_rate"]) == (0.5, 0.75)
    for cycle in (first, second):
        assert (cycle["planned_iterations"], cycle["iterations"]) == (6, 6)
        assert cycle["residual_start"] > 0.5
        assert cycle["residual_end"] == cycle["residuals"][-1][2] < 0.3
    assert results["complete"] is True
    assert json.loads((tmp_path / "results.json").read_text()) == results
    times = json.loads((tmp_path / "timings.json").read_text())
    assert times["rounds"][0]["train_seconds"] == 2.0 + 2.0 + 1.5  # both cycles and the fine-tuning


def test_cycles_follow_each_other_and_end_in_the_ticket(tmp_path):
    trainer = TransformToy()
    run(tmp_path, trainer)
    first, second = (mask_of(tmp_path, f"rst/transform_0{cycle}") for cycle in (1, 2))
    assert second.is_nested_in(first)
    assert [second.kept_in(name) for name in second] == [72, 12]  # a quarter of each layer
    one = torch.load(tmp_path / "rst/transform_01/model_final.pth", weights_only=True)["model"]
    two = torch.load(tmp_path / "rst/transform_02/model_final.pth", weights_only=True)["model"]
    ticket = load_ticket(tmp_path / "rst/ticket.safetensors")
    assert ticket.mask == second
    for name, value in one.items():
        assert torch.equal(trainer.starts["rst/transform_02"][name], value)
        assert torch.equal(ticket.weights[name], two[name])
    start = trainer.starts["rst"]
    for name, keep in second.items():
        assert torch.equal(start[name], two[name] * keep)


@pytest.mark.parametrize("stage", ["rst/transform_01", "rst/transform_02", "rst"])
def test_a_stopped_run_ends_as_an_unbroken_one_and_draws_no_mask_again(
    tmp_path, stage, monkeypatch
):
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="went away"):
        run(tmp_path / "broken", TransformToy(fail_in=stage))
    drawn = rst_run.rst_mask
    there = {
        path.parent.name for path in (tmp_path / "broken").glob("rst/transform_*/*.safetensors")
    }

    def another_draw(table, plan, rst, *, cycle, previous):
        assert f"transform_{cycle:02d}" not in there, "the mask on disk was not used"
        return drawn(table, plan, rst, cycle=cycle, previous=previous)

    monkeypatch.setattr(rst_run, "rst_mask", another_draw)
    trainer = TransformToy()
    run(tmp_path / "broken", trainer)
    assert trainer.log[0] == stage
    files = ("results.json", "rst/ticket.safetensors", "rst/model_final.pth")
    for name in (*files, "rst/transform_02/ticket.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_a_finished_run_trains_nothing(tmp_path):
    first = run(tmp_path)
    trainer = TransformToy()
    assert run(tmp_path, trainer) == first
    assert trainer.log == []


def test_the_mask_does_not_depend_on_magnitudes(tmp_path):
    # The published default ("min") takes the smallest weights of the initialisation.
    start = {name: 5.0 + value for name, value in initial_state(99).items()}
    save_snapshot(tmp_path / "rewind.safetensors", start, iteration=3)
    trainer = TransformToy()
    run(tmp_path / "init", cycles=1)
    run(tmp_path / "snapshot", trainer, cycles=1, start=tmp_path / "rewind.safetensors")
    assert mask_of(tmp_path / "init") == mask_of(tmp_path / "snapshot")
    assert torch.equal(trainer.starts["rst/transform_01"]["body.bias"], start["body.bias"])
    mask, weights = mask_of(tmp_path / "init"), initial_state(PLAN.seed)
    kept = torch.cat([weights[name][keep] for name, keep in mask.items()]).abs()
    pruned = torch.cat([weights[name][~keep] for name, keep in mask.items()]).abs()
    assert kept.min() < 0.05  # a magnitude ticket keeps none of these
    assert pruned.max() > 2.0


def test_frozen_parameters_are_not_drawn():
    table = ParameterTable(
        dataclasses.replace(entry, frozen=entry.name == "neck.weight") for entry in toy_table()
    )
    mask = rst_mask(table, PLAN, RST, cycle=2, previous=None)
    assert list(mask) == ["body.weight"]
    assert mask.kept == 72  # the rate holds for what is drawn from
    frozen = ParameterTable(dataclasses.replace(entry, frozen=True) for entry in toy_table())
    with pytest.raises(ConfigError, match="No prunable weight is trained"):
        rst_mask(frozen, PLAN, RST, cycle=1, previous=None)


@pytest.mark.parametrize("ratios", ["uniform", "erk", "published"])
def test_what_a_cycle_pruned_stays_pruned_whatever_is_drawn(ratios):
    rst = dataclasses.replace(RST, ratios=ratios)
    other = dataclasses.replace(PLAN, seed=PLAN.seed + 1)
    before = rst_mask(toy_table(), other, rst, cycle=1, previous=None)
    free = rst_mask(toy_table(), PLAN, rst, cycle=2, previous=None)
    bound = rst_mask(toy_table(), PLAN, rst, cycle=2, previous=before)
    assert not free.is_nested_in(before)
    assert bound.is_nested_in(before)
    assert [bound.kept_in(name) for name in bound] == [free.kept_in(name) for name in free]


def test_ratios():
    table = toy_table()
    half = dataclasses.replace(PLAN, prune_rates=(0.505,))

    def kept(ratios, plan=half, cycle=2, mask=None):
        rst = dataclasses.replace(RST, ratios=ratios, ratio_mask=mask)
        found = rst_mask(table, plan, rst, cycle=cycle, previous=None)
        return [found.kept_in(name) for name in found]

    assert kept("published") == [288 - 146, 48 - 25]  # ceil(145.44), ceil(24.24)
    assert sum(kept("uniform")) == round(336 * 0.495)
    body, neck = kept("erk")
    assert neck / 48 > body / 288
    given = rst_mask(
        table, dataclasses.replace(PLAN, seed=7), dataclasses.replace(RST, ratios="erk"), cycle=2,
        previous=None,
    )  # fmt: skip
    counts = [given.kept_in(name) for name in given]
    assert kept("ticket", mask=given) == counts
    # Half way there in the first of two cycles: the root of each layer's density.
    expected = [
        round(size * (count / size) ** 0.5) for size, count in zip((288, 48), counts, strict=True)
    ]
    assert kept("ticket", cycle=1, mask=given) == expected
    with pytest.raises(
        ConfigError, match=r"MASK_TICKET has no mask of the right shape for neck\.weight"
    ):
        kept("ticket", mask=given.restricted_to(["body.weight"]))


def test_a_group_with_its_own_rate_keeps_it():
    plan = dataclasses.replace(PLAN, group_prune_rates={"fpn": 0.5})
    mask = rst_mask(toy_table(), plan, RST, cycle=2, previous=None)
    assert [mask.kept_in(name) for name in mask] == [72, 24]
    first = rst_mask(toy_table(), plan, RST, cycle=1, previous=None)
    assert [first.kept_in(name) for name in first] == [144, 34]  # 0.5^(1/2) of 48
    with pytest.raises(ConfigError, match=r"GROUP_PRUNE_RATE\.RPN is 0\.5"):
        rst_mask(
            toy_table(), dataclasses.replace(plan, group_prune_rates={"rpn": 0.5}), RST, cycle=1,
            previous=None,
        )  # fmt: skip


def test_a_trainer_without_the_method_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="ToyTrainer cannot do the method 'rst'"):
        run(tmp_path, ToyTrainer())
    assert not (tmp_path / "rst").exists()


def test_a_ticket_of_another_transformation_is_not_built_on(tmp_path):
    with pytest.raises(RuntimeError, match="went away"):
        run(tmp_path, TransformToy(fail_in="rst"))
    record = json.loads((tmp_path / "rst/transform_02/stage.json").read_text())
    state = torch.load(tmp_path / "rst/transform_02/model_final.pth", weights_only=True)
    state["model"]["body.bias"] += 1
    torch.save(state, tmp_path / "rst/transform_02/model_final.pth")
    from lth_det.tickets.serialization import weights_sha256

    record["weights_sha256"] = weights_sha256(state["model"])
    (tmp_path / "rst/transform_02/stage.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="was made from other weights"):
        run(tmp_path)
    (tmp_path / "rst/ticket.safetensors").unlink()
    state["model"]["body.bias"] += 1
    torch.save(state, tmp_path / "rst/transform_02/model_final.pth")
    with pytest.raises(RunError, match="is not the file that its stage ended with"):
        run(tmp_path)
