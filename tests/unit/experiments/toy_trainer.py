"""A stage trainer without Detectron2: "training" is a seeded, deterministic change of a small state dict."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lth_det.experiments.protocols import Stage, StageResult
from lth_det.experiments.snapshot import save_snapshot
from lth_det.tickets.apply import apply_mask_, require_fit
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.ticket import Ticket

SHAPES = {
    "body.weight": (8, 4, 3, 3),
    "neck.weight": (6, 8),
    "head.weight": (3, 6),
    "body.bias": (8,),
}
GROUPS = {
    "body.weight": "backbone",
    "neck.weight": "fpn",
    "head.weight": "predictors",
    "body.bias": "backbone",
}
PRUNABLE = ("body.weight", "neck.weight")
STEPS = 6


def toy_table() -> ParameterTable:
    return ParameterTable(
        ParameterEntry(
            name=name,
            shape=shape,
            numel=torch.Size(shape).numel(),
            group=GROUPS[name],
            prunable=name in PRUNABLE,
            frozen=False,
            reason="" if name in PRUNABLE else "dense",
        )
        for name, shape in SHAPES.items()
    )


def initial_state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@dataclasses.dataclass
class ToyTrainer:
    """Keeps a log of the stages it trained; raises in a stage when ``fail_in`` names it."""

    fail_in: str = ""
    log: list[str] = dataclasses.field(default_factory=list)
    starts: dict[str, dict[str, Tensor]] = dataclasses.field(default_factory=dict)
    seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    lengths: dict[str, int | None] = dataclasses.field(default_factory=dict)
    table: ParameterTable = dataclasses.field(default_factory=toy_table)

    def train(self, stage: Stage) -> StageResult:
        self.log.append(stage.name)
        self.seeds[stage.name] = stage.seed
        self.lengths[stage.name] = stage.iterations
        stage.folder.mkdir(parents=True, exist_ok=True)
        state = initial_state(stage.initialisation)
        if stage.ticket is not None:
            if stage.ticket.weights is not None:
                state = capture_weights(stage.ticket.weights)
            apply_mask_(state, stage.ticket.mask)
        self.starts[stage.name] = capture_weights(state)
        if stage.name == self.fail_in:
            raise RuntimeError("the machine went away")
        for step in range(stage.start_iteration, stage.iterations or STEPS):
            if stage.snapshot is not None and step == stage.snapshot_iteration:
                save_snapshot(stage.snapshot, capture_weights(state), iteration=step)
            generator = torch.Generator().manual_seed(1000 + step)
            for name in sorted(state):  # files may hold another order
                state[name] += 0.3 * torch.randn(state[name].shape, generator=generator)
            if stage.ticket is not None:
                apply_mask_(state, stage.ticket.mask)
        weights = stage.folder / "model_final.pth"
        torch.save({"model": state}, weights)
        score = float(sum(tensor.abs().sum() for tensor in state.values()))
        return StageResult(weights, {"bbox/AP": score, "bbox/APs": float("nan")}, None, 1.5, 0.25)

    def check(self, ticket: Ticket) -> None:
        require_fit(initial_state(0), ticket.mask)

    def load_weights(self, path: Path) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = torch.load(path, weights_only=True)["model"]
        return weights

    def overlay(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**state, **torch.load(path, weights_only=True)}
