"""Iterative magnitude pruning with rewinding: train, prune, rewind, train again.

Round 0 trains the dense network and takes the rewind snapshot. Each further round prunes the trained weights of the
round before (masks are nested), sets the survivors back, and trains them under the mask. Every finished stage is on disk
before the next one starts, so running the same thing again goes on where it was stopped.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.controls import BUDGET_KEY, finding_iterations
from lth_det.experiments.decide import check_plan, decide_mask, scope_in_words, scoring_trainer
from lth_det.experiments.protocols import Stage
from lth_det.experiments.sensitivity import measured_curves, record_decision
from lth_det.experiments.snapshot import load_snapshot
from lth_det.experiments.stage_runner import StageRunner
from lth_det.pruning.allocation_sensitivity import SensitivityCurve
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, read_manifest, weights_sha256
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

logger = logging.getLogger(__name__)

_TRAINED = (
    "trained_weights_sha256"  # entry of a ticket's provenance: the weights its mask was decided on
)


class ImpRun(StageRunner):
    """One run of :class:`~lth_det.experiments.plan.ImpPlan`."""

    def __call__(self) -> dict[str, Any]:
        """Run every stage that is not finished; return the content of ``results.json``.

        Raises:
            LthDetError: see the parts; whatever was finished stays.
        """
        check_plan(self.trainer.table, self.plan, self.trainer)
        self._check_controls(self._control_rounds)
        rounds = [self._dense()]
        controls: list[dict[str, Any]] = []
        self._write(rounds, controls, complete=False)
        for number in range(1, len(self.plan.prune_rates) + 1):
            rounds.append(self._pruned(number, rounds[-1]))
            self._write(rounds, controls, complete=False)

        for number in self._control_rounds:
            for kind in self.plan.controls:
                controls.append(self._control(kind, self.run.round_name(number), number))
                self._write(rounds, controls, complete=False)
        return self._write(rounds, controls, complete=True)

    def stage_names(self) -> list[str]:
        """Return the folder names of all stages, in the order they run."""
        last = len(self.plan.prune_rates)
        names = [self.run.round_name(number) for number in range(last + 1)]
        for number in self._control_rounds:
            names += [f"{self.run.round_name(number)}_{kind}" for kind in self.plan.controls]
        return names

    @property
    def _control_rounds(self) -> Sequence[int]:
        return self.plan.control_rounds or (len(self.plan.prune_rates),)

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
        self.communicator.on_main(lambda: self._check_parent(name, before))
        finished = self._record(name)
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

    def _check_parent(self, name: str, before: Mapping[str, Any]) -> bytes:
        """Refuse to build on a round that was trained again after this stage's ticket was made from it."""
        path = self.run.ticket_file(name)
        if not path.exists():
            return b""
        source = read_manifest(path)["provenance"]["extra"].get(_TRAINED)
        if source != before["weights_sha256"]:
            raise RunError(
                f"{path} was made from other weights than those of {before['stage']}; delete the folder of this stage "
                "and those after it, and run again."
            )
        return b""

    def _make_ticket(self, number: int, before: Mapping[str, Any]) -> Ticket:
        trained = self._trained_weights(before)
        table = self.trainer.table
        previous_name = self.run.round_name(number - 1)
        parent = before.get("ticket_sha256")
        previous = load_ticket(self.run.ticket_file(previous_name)).mask if number > 1 else None
        weights = self._rewind_weights(trained)
        mask = self._decide(trained if self._from_trained else weights, number, previous)
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
            weights=weights,
            provenance=Provenance(
                criterion=self.plan.criterion,
                scope=scope_in_words(self.plan),
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
                    _TRAINED: weights_sha256(trained),
                    BUDGET_KEY: str(finding_iterations(self.plan, number)),
                    TABLE_KEY: table_to_text(table),
                    **({} if self._from_trained else {"mask_from": self.plan.mask_from}),
                },
            ),
        )

    @property
    def _from_trained(self) -> bool:
        return self.plan.mask_from == "trained"

    def _decide(self, weights: Mapping[str, Tensor], number: int, previous: Mask | None) -> Mask:
        if previous is not None and not self._from_trained:
            # Scores belong to the network as it starts: without what the rounds before pruned.
            weights = {name: weight.clone() for name, weight in weights.items()}
            apply_mask_(weights, previous)
        measured = self.plan.scope == "sensitivity"
        mask = decide_mask(
            weights,
            self.trainer.table,
            self.plan,
            number,
            previous,
            trainer=self.trainer,
            curves=self._curves() if measured else None,
        )
        if measured:
            record_decision(self.run.sensitivity_file, number, self.trainer.table, mask)
        return mask

    def _curves(self) -> dict[str, SensitivityCurve]:
        dense = self.run.record(self.run.round_name(0))
        if dense is None:
            raise RunError(f"The dense round of {self.run.root} is not finished; run again.")
        return measured_curves(
            self.run.sensitivity_file,
            self._trained_weights(dense),
            sha256=dense["weights_sha256"],
            table=self.trainer.table,
            plan=self.plan,
            trainer=scoring_trainer(self.trainer, "LTH.SCOPE sensitivity"),
        )

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
