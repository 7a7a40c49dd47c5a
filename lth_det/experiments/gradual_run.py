"""Gradual pruning: one training that prunes as it goes, without rewinding (Zhu & Gupta 2017, arXiv 1710.01878)."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lth_det.errors import ConfigError, RunError
from lth_det.experiments.decide import check_plan, decide_mask
from lth_det.experiments.method_run import check_live_plan, method_ticket
from lth_det.experiments.method_specs import GradualPruning, require_method
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.protocols import Stage, StageResult
from lth_det.experiments.results import stage_record
from lth_det.experiments.stage_runner import StageRunner
from lth_det.io import to_json
from lth_det.pruning.schedules import CubicSchedule
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import save_ticket

STAGE = "gradual"


@dataclasses.dataclass(frozen=True)
class GradualPlan:
    """When and how far a gradual run prunes; criterion, scope and rates are those of the plan.

    Attributes:
        begin: share of the training before the first pruning.
        end: share of the training after which nothing is pruned any more.
        period: steps between two prunings.
        initial: prune rate of the first one; a group whose own rate is lower begins with that.
    """

    begin: float
    end: float
    period: int
    initial: float = 0.0

    def rate(self, final: float, progress: float) -> float:
        """Return the prune rate at a progress (0-1) on the cubic curve to ``final``.

        >>> GradualPlan(begin=0.0, end=1.0, period=1).rate(0.8, 0.5)
        0.7
        """
        curve = CubicSchedule(
            final=final, initial=min(self.initial, final), begin=self.begin, end=self.end
        )
        return float(curve.prune_rate_at(progress))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradualRun(StageRunner):
    """One training with gradual pruning.

    The results have one round, ``gradual`` with number 1, and in it ``gradual``: the curve and what was pruned when. Its
    ticket has the mask and the weights of the end; it is written when the training is over.

    Attributes:
        gradual: when to prune; the rate of the end is the last one of ``plan``.
    """

    gradual: GradualPlan

    def __call__(self) -> dict[str, Any]:
        """Train unless that is finished; return the content of ``results.json``.

        Raises:
            ConfigError: the plan cannot prune this model, or its criterion needs more than weights.
        """
        require_method(self.trainer, "gradual")
        self._check()
        record = self._record(STAGE)
        record = self._gradual_stage() if record is None else self._skip(STAGE, record)
        return self._write([record], [], complete=True)

    def stage_names(self) -> list[str]:
        """Return the one stage."""
        return [STAGE]

    def _check(self) -> None:
        if self.plan.prune_rates[-1] < self.gradual.initial:
            raise ConfigError(
                f"LTH.GRADUAL.INITIAL is {self.gradual.initial}, above the prune rate at the end, "
                f"{self.plan.prune_rates[-1]}."
            )
        check_live_plan(self.plan, "LTH.METHOD gradual")
        check_plan(self.trainer.table, self._plan_at(1.0), self.trainer)

    def _plan_at(self, progress: float) -> ImpPlan:
        """Return the plan of a one-shot pruning to the rates of this moment; each group follows its own curve."""
        return dataclasses.replace(
            self.plan,
            prune_rates=(self.gradual.rate(self.plan.prune_rates[-1], progress),),
            group_prune_rates={
                group: self.gradual.rate(rate, progress)
                for group, rate in self.plan.group_prune_rates.items()
            },
        )

    def _decide(
        self, weights: Mapping[str, Tensor], progress: float, previous: Mask | None
    ) -> Mask:
        return decide_mask(
            weights,
            self.trainer.table,
            self._plan_at(progress),
            1,
            previous,
            trainer=self.trainer,
        )

    def _gradual_stage(self) -> dict[str, Any]:
        stage = Stage(
            name=STAGE,
            folder=self.run.stage_folder(STAGE),
            ticket=None,
            seed=self.plan.seed,
            gradual=GradualPruning(
                begin=self.gradual.begin,
                end=self.gradual.end,
                period=self.gradual.period,
                decide=self._decide,
            ),
        )
        result = self.trainer.train(stage)

        def finish() -> bytes:
            return to_json(self._finish(stage, result)).encode()

        record: dict[str, Any] = json.loads(self.communicator.on_main(finish))
        return record

    def _finish(self, stage: Stage, result: StageResult) -> dict[str, Any]:
        if result.mask is None:
            raise RunError(
                f"{stage.folder}: the training ended without a mask; please report this."
            )
        weights = self.trainer.load_weights(result.weights)
        ticket = method_ticket(
            self,
            result.mask,
            weights,
            criterion=f"gradual {self.plan.criterion}",
            rewind="final",
            extra={"gradual": json.dumps(dataclasses.asdict(self.gradual), sort_keys=True)},
        )
        save_ticket(self.run.ticket_file(STAGE), ticket)
        record = stage_record(
            self.run,
            self.trainer.table,
            dataclasses.replace(stage, ticket=ticket),
            result,
            number=1,
            weights=weights,
        )
        record[STAGE] = {**dataclasses.asdict(self.gradual), **result.details}
        self.run.finish(STAGE, record)
        return record
