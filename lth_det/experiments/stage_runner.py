"""What every experiment does with a stage: its ticket on all processes, its training, its record, the results."""

import abc
import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lth_det.errors import ConfigError
from lth_det.experiments.controls import CONTROLS, budget_of_round, control_seed, control_ticket
from lth_det.experiments.emptied import emptied
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.protocols import Communicator, SingleProcess, Stage, StageTrainer
from lth_det.experiments.results import stage_record, write_results
from lth_det.experiments.run_dir import RunDir
from lth_det.io import to_json
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket, save_ticket
from lth_det.tickets.ticket import Ticket

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StageRunner(abc.ABC):
    """Base of the experiments: the trainer, the plan, the folder, the processes, and facts for the results.

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

    @abc.abstractmethod
    def __call__(self) -> dict[str, Any]:
        """Run every stage that is not finished; return the content of ``results.json``."""

    @abc.abstractmethod
    def stage_names(self) -> list[str]:
        """Return the folder names of all stages, in the order they run."""

    @property
    def table(self) -> ParameterTable:
        """The parameters of the model, and which of them the experiment may prune."""
        return self.trainer.table

    def finished_stages(self) -> int:
        """Return how many stages of the plan are on disk already."""
        return sum(self.run.record(name) is not None for name in self.stage_names())

    def _record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a finished stage: what the main process finds, so that all processes do the same."""
        text = self.communicator.on_main(lambda: json.dumps(self.run.record(name)).encode())
        record: dict[str, Any] | None = json.loads(text)
        return record

    def _skip(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        logger.info("%s is finished: skipped.", name)
        return record

    def _shared_ticket(self, name: str, make: Callable[[], Ticket]) -> Ticket:
        """Return the stage's ticket on every process: from its file, or made and saved by the main process."""
        path = self.run.ticket_file(name)

        def saved() -> bytes:
            # A ticket on disk is never made again: what a stopped stage was trained with is what it goes on with.
            if not path.exists():
                save_ticket(path, self._described(make()))
            return path.read_bytes()

        content = self.communicator.on_main(saved)
        if self.communicator.is_main:
            ticket = load_ticket(path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / path.name
                copy.write_bytes(content)
                ticket = load_ticket(copy)
        self.communicator.agree(ticket.mask.sha256(), f"The mask of {name}")
        lost = emptied(self.table, ticket.mask) if self.communicator.is_main else []
        if lost:
            logger.warning(
                "%s: the mask keeps no weight of %s: nothing passes there any more; a lower prune rate or another "
                "LTH.SCOPE keeps some.",
                name,
                ", ".join(lost),
            )
        return ticket

    def _described(self, ticket: Ticket) -> Ticket:
        """Return the ticket with what the facts say about the network's input: a transfer has to know it."""
        extra = {**self.facts.get("input", {}), **ticket.provenance.extra}
        return dataclasses.replace(
            ticket, provenance=dataclasses.replace(ticket.provenance, extra=extra)
        )

    def _budget(self, number: int) -> int:
        """Return the iterations of the control ``dense_same_budget`` of round ``number``."""
        return budget_of_round(self.plan, number)

    def _check_controls(self, numbers: Sequence[int]) -> None:
        """Find out before anything is trained whether the plan's controls can be made."""
        for kind in self.plan.controls:
            if kind not in CONTROLS:
                raise ConfigError(f"LTH.CONTROLS has {kind!r}; choose from {', '.join(CONTROLS)}.")
            for number in numbers if CONTROLS[kind].same_budget else ():
                self._budget(number)

    def _control(self, kind: str, of: str, number: int) -> dict[str, Any]:
        """Train a control of the stage ``of``, which is finished."""
        name = f"{of}_{kind}"
        finished = self._record(name)
        if finished is not None:
            return self._skip(name, finished)
        control = CONTROLS[kind]
        parent = self._shared_ticket(of, lambda: load_ticket(self.run.ticket_file(of)))
        ticket = None
        if control.mask is not None:

            def make() -> Ticket:
                return control_ticket(kind, parent, of=of, plan=self.plan, table=self.table)

            ticket = self._shared_ticket(name, make)
        whole = control.fresh or control.same_budget  # from the initialisation
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=ticket,
            seed=self.plan.seed,
            init_seed=control_seed(self.plan) if control.fresh else None,
            start_iteration=0 if whole else self.plan.start_iteration,
            iterations=self._budget(number) if control.same_budget else None,
        )
        return self._train(stage, number=number, control=kind)

    def _train(self, stage: Stage, *, number: int, control: str | None = None) -> dict[str, Any]:
        finished = self._record(stage.name)
        if finished is not None:
            return self._skip(stage.name, finished)
        result = self.trainer.train(stage)

        def finish() -> bytes:
            weights = self.trainer.load_weights(result.weights)
            record = stage_record(
                self.run, self.table, stage, result, number=number, weights=weights
            )
            if control is not None:
                record["name"] = control
            self.run.finish(stage.name, record)
            return to_json(record).encode()

        record: dict[str, Any] = json.loads(self.communicator.on_main(finish))
        return record

    def _write(
        self, rounds: list[dict[str, Any]], controls: list[dict[str, Any]], *, complete: bool
    ) -> dict[str, Any]:
        if self.communicator.is_main:
            rounds, controls = self._with_later(rounds, controls)
        facts = {**self.facts, "rewind": self.plan.rewind, "seed": self.plan.seed}
        return write_results(
            self.run,
            rounds,
            controls,
            facts=facts,
            complete=complete,
            write=self.communicator.is_main,
        )

    def _with_later(
        self, rounds: list[dict[str, Any]], controls: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Add what is finished further on: a finished run that is run again, and stopped, keeps all its rows."""
        rounds, controls = list(rounds), list(controls)
        done = {record["stage"] for record in (*rounds, *controls)}
        for name in self.stage_names():
            record = self.run.record(name)
            if record is None:
                break  # what follows was made from a stage that is gone
            if name not in done:
                (controls if "name" in record else rounds).append(record)
        # Controls are made from their round alone, so a control that is not finished yet says nothing about them.
        controls += self._earlier_controls([record["stage"] for record in rounds], controls)
        return rounds, controls

    def _earlier_controls(
        self, stages: Sequence[str], known: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the finished controls of these stages that an earlier command asked for and this one does not."""
        done = {record["stage"] for record in known}
        names = [f"{stage}_{kind}" for stage in stages for kind in CONTROLS]
        found = [self.run.record(name) for name in names if name not in done]
        return [record for record in found if record is not None]
