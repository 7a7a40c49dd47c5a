"""Training a given ticket: one stage, as a pruned round of an IMP run would train it, and its controls."""

import dataclasses
from typing import Any

from lth_det.experiments.controls import budget_of_ticket
from lth_det.experiments.protocols import Stage
from lth_det.experiments.stage_runner import StageRunner
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.ticket import Ticket
from lth_det.transfer.admission import admitted_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class TicketRun(StageRunner):
    """Trains and evaluates a model from a ticket that somebody else found.

    The results have one round with the ticket's number. The ticket is copied into the run's folder, byte for byte what
    was loaded, so that the run needs the original file no longer.

    Attributes:
        ticket: mask, and the weights to start from; without weights the initialisation of the plan's seed.
    """

    ticket: Ticket

    @property
    def table(self) -> ParameterTable:
        """The model's table; a transferred ticket brings its own prunable set with it."""
        return admitted_table(self.trainer.table, self.ticket)

    def __call__(self) -> dict[str, Any]:
        """Train the ticket unless that is finished; return the content of ``results.json``.

        Raises:
            MaskMismatchError: the ticket is of another model; all differences are named.
            ScopeError: it prunes parameters that ``LTH.PRESET`` and ``LTH.GROUP_PRUNE_RATE`` keep dense, and is not
                a transferred ticket, or prunes biases or norm layers.
            ConfigError: a control of ``LTH.CONTROLS`` cannot be made for this ticket.
        """
        self.trainer.check(self.ticket)
        sparsity_summary(self.table, self.ticket.mask)
        self._check_controls([self.ticket.provenance.round])
        name = self.stage_names()[0]
        ticket = self._shared_ticket(name, lambda: self.ticket)
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=ticket,
            seed=self.plan.seed,
            start_iteration=self.plan.start_iteration,
        )
        number = ticket.provenance.round
        record = self._train(stage, number=number)
        controls: list[dict[str, Any]] = []
        self._write([record], controls, complete=not self.plan.controls)
        for kind in self.plan.controls:
            controls.append(self._control(kind, name, number))
            self._write([record], controls, complete=False)
        return self._write([record], controls, complete=True)

    def _described(self, ticket: Ticket) -> Ticket:
        # The ticket itself is copied as it is; its controls say what the run says.
        return ticket if ticket is self.ticket else super()._described(ticket)

    def _budget(self, number: int) -> int:
        del number
        return budget_of_ticket(self.plan, self.ticket)

    def stage_names(self) -> list[str]:
        """Return the folder names of the ticket's stage and of its controls, in the order they run."""
        return ["ticket", *(f"ticket_{kind}" for kind in self.plan.controls)]
