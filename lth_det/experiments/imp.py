"""Iterative magnitude pruning with rewinding: train, prune, rewind, train again.

Round 0 trains the dense network and takes the rewind snapshot. Each further round prunes the trained weights of the
round before (masks are nested), sets the survivors back, and trains them under the mask. Every finished stage is on disk
before the next one starts, so running the same thing again goes on where it was stopped.
"""

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.decide import decide_mask
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.protocols import Communicator, SingleProcess, Stage, StageTrainer
from lth_det.experiments.results import stage_record, write_results
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.snapshot import load_snapshot
from lth_det.pruning.controls import random_like
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, save_ticket, weights_sha256
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ImpRun:
    """One run of :class:`ImpPlan`: the trainer, the folder, the processes, and facts for the results.

    Attributes:
        trainer: trains the stages.
        plan: what to do.
        run: the folder, already claimed for these settings.
        facts: copied into ``results.json`` (seed, versions, dataset, config hash).
        communicator: the processes that run this together.
    """

    trainer: StageTrainer
    plan: ImpPlan
    run: RunDir
    facts: Mapping[str, Any]
    communicator: Communicator = dataclasses.field(default_factory=SingleProcess)

    def __call__(self) -> dict[str, Any]:
        """Run every stage that is not finished; return the content of ``results.json``.

        Raises:
            LthDetError: see the parts; whatever was finished stays.
        """
        rounds = [self._dense()]
        controls: list[dict[str, Any]] = []
        self._write(rounds, controls, complete=False)
        for number in range(1, len(self.plan.prune_rates) + 1):
            rounds.append(self._pruned(number, rounds[-1]))
            self._write(rounds, controls, complete=False)
        for number in self.plan.control_rounds or (len(self.plan.prune_rates),):
            for name in self.plan.controls:
                controls.append(self._control(name, number, rounds[number]))
                self._write(rounds, controls, complete=False)
        return self._write(rounds, controls, complete=True)

    def finished_stages(self) -> int:
        """Return how many stages of the plan are on disk already."""
        return sum(self.run.record(name) is not None for name in self.stage_names())

    def stage_names(self) -> list[str]:
        """Return the folder names of all stages, in the order they run."""
        last = len(self.plan.prune_rates)
        names = [self.run.round_name(number) for number in range(last + 1)]
        for number in self.plan.control_rounds or (last,):
            names += [f"{self.run.round_name(number)}_{kind}" for kind in self.plan.controls]
        return names

    def _dense(self) -> dict[str, Any]:
        name = self.run.round_name(0)
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=None,
            seed=self.plan.seed,
            snapshot=self.run.snapshot_file,
            snapshot_iteration=self._snapshot_iteration,
        )
        return self._train(stage, number=0)

    @property
    def _snapshot_iteration(self) -> int:
        return self.plan.rewind_iteration if self.plan.rewind_to == "iteration" else 0

    def _pruned(self, number: int, before: Mapping[str, Any]) -> dict[str, Any]:
        name = self.run.round_name(number)
        finished = self.run.record(name)
        if finished is not None:
            return self._skip(name, finished)
        ticket = self._shared_ticket(name, lambda: self._make_ticket(number, before))
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=ticket,
            seed=self.plan.seed,
            start_iteration=self.plan.start_iteration,
        )
        return self._train(stage, number=number)

    def _control(self, kind: str, number: int, record: Mapping[str, Any]) -> dict[str, Any]:
        name = f"{self.run.round_name(number)}_{kind}"
        finished = self.run.record(name)
        if finished is not None:
            return self._skip(name, finished)
        # Far from the seeds that a user would give to repeated runs.
        seed = self.plan.seed + 1_000_003
        ticket = self._shared_ticket(name, lambda: self._make_control(kind, number, seed))
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=ticket,
            seed=seed if kind == "random_reinit" else self.plan.seed,
            start_iteration=0 if kind == "random_reinit" else self.plan.start_iteration,
        )
        return self._train(stage, number=number, control=kind)

    def _skip(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        logger.info("%s is finished: skipped.", name)
        return record

    def _shared_ticket(self, name: str, make: Any) -> Ticket:
        """Return the stage's ticket on every process: from its file, or made and saved by the main process."""
        path = self.run.ticket_file(name)
        content = None
        if self.communicator.is_main:
            # A ticket on disk is never made again: what a stopped stage was trained with is what it goes on with.
            if not path.exists():
                save_ticket(path, make())
            content = path.read_bytes()
        content = self.communicator.broadcast(content)
        if self.communicator.is_main:
            ticket = load_ticket(path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / path.name
                copy.write_bytes(content)
                ticket = load_ticket(copy)
        self.communicator.agree(ticket.mask.sha256(), f"The mask of {name}")
        return ticket

    def _make_ticket(self, number: int, before: Mapping[str, Any]) -> Ticket:
        trained = self._trained_weights(before)
        table = self.trainer.table
        previous_name = self.run.round_name(number - 1)
        parent = before.get("ticket_sha256")
        previous = load_ticket(self.run.ticket_file(previous_name)).mask if number > 1 else None
        mask = decide_mask(trained, table, self.plan, number, previous)
        summary = sparsity_summary(table, mask).to_dict()
        logger.info(
            "%s: pruned %d of %d prunable weights, network sparsity %.2f %%.",
            self.run.round_name(number),
            summary["pruned_parameters"],
            summary["prunable_parameters"],
            100 * summary["sparsity"],
        )
        return Ticket(
            mask=mask,
            weights=self._rewind_weights(trained),
            provenance=Provenance(
                criterion=self.plan.criterion,
                scope=self._scope,
                prune_rate=summary["prune_rate"],
                prune_rates_by_group={
                    group: row["prune_rate"] for group, row in summary["groups"].items()
                },
                sparsity=summary["sparsity"],
                round=number,
                parent_sha256=parent,
                source_task=self.plan.task,
                source_weights=self.plan.source_weights,
                seed=self.plan.seed,
                rewind=self.plan.rewind,
                versions=dict(self.facts.get("versions", {})),
                extra={
                    "trained_weights_sha256": weights_sha256(trained),
                    TABLE_KEY: table_to_text(table),
                },
            ),
        )

    @property
    def _scope(self) -> str:
        if self.plan.scope == "layer":
            return f"layer ({self.plan.layer_ratios})"
        return self.plan.scope

    def _trained_weights(self, record: Mapping[str, Any]) -> dict[str, Tensor]:
        weights = self.trainer.load_weights(self.run.root / record["weights"])
        digest = weights_sha256(weights)
        if digest != record["weights_sha256"]:
            raise RunError(
                f"{self.run.root / record['weights']} is not the file that its stage ended with; delete the folder of "
                "that stage and run again."
            )
        return weights

    def _rewind_weights(self, trained: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.plan.rewind_to == "final":
            return trained
        snapshot = load_snapshot(self.run.snapshot_file)
        if self.plan.rewind_to == "pretrained":
            return self.trainer.overlay(Path(self.plan.rewind_weights), snapshot)
        return snapshot

    def _make_control(self, kind: str, number: int, seed: int) -> Ticket:
        ticket = load_ticket(self.run.ticket_file(self.run.round_name(number)))
        mask: Mask = ticket.mask
        weights = ticket.weights
        if kind == "random_layer_ratios":
            mask = random_like(mask, seed)
        elif kind == "random_reinit":
            weights = None
        provenance = dataclasses.replace(
            ticket.provenance,
            criterion=kind,
            parent_sha256=None,
            extra={
                "control_of": self.run.round_name(number),
                "control_seed": str(seed),
                TABLE_KEY: table_to_text(self.trainer.table),
            },
        )
        return Ticket(mask=mask, weights=weights, provenance=provenance)

    def _train(self, stage: Stage, *, number: int, control: str | None = None) -> dict[str, Any]:
        finished = self.run.record(stage.name)
        if finished is not None:
            return self._skip(stage.name, finished)
        result = self.trainer.train(stage)
        weights = self.trainer.load_weights(result.weights)
        record = stage_record(
            self.run, self.trainer.table, stage, result, number=number, weights=weights
        )
        if control is not None:
            record["name"] = control
        if self.communicator.is_main:
            self.run.finish(stage.name, record)
        return record

    def _write(
        self, rounds: list[dict[str, Any]], controls: list[dict[str, Any]], *, complete: bool
    ) -> dict[str, Any]:
        facts = {**self.facts, "rewind": self.plan.rewind, "seed": self.plan.seed}
        return write_results(
            self.run,
            rounds,
            controls,
            facts=facts,
            complete=complete,
            write=self.communicator.is_main,
        )
