"""Random sparse network transformation: draw a mask, empty what it prunes while training, prune, fine-tune.

Folders: ``rst/transform_01``, ... for the cycles (``ticket.safetensors`` there is the mask alone, on disk before the
training begins), and ``rst`` for the fine-tuning with the ticket. Every finished stage is on disk before the next
one starts, so running the same thing again goes on where it was stopped.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.method_run import TRAINED_KEY, method_ticket, without_times
from lth_det.experiments.method_specs import Transform, require_method
from lth_det.experiments.protocols import Stage, StageResult
from lth_det.experiments.rst_plan import RstPlan, rst_mask
from lth_det.experiments.snapshot import load_snapshot
from lth_det.experiments.stage_runner import StageRunner
from lth_det.io import to_json
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import read_manifest, weights_sha256
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.ticket import Ticket

logger = logging.getLogger(__name__)

STAGE = "rst"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RstRun(StageRunner):
    """One run of :class:`~lth_det.experiments.rst_plan.RstPlan`.

    The results have one round, ``rst`` with number 1; its key ``transform`` has the record of each cycle.

    Attributes:
        rst: the transformation; prune rates and seed are those of ``plan``.
    """

    rst: RstPlan

    def __call__(self) -> dict[str, Any]:
        """Run every stage that is not finished; return the content of ``results.json``.

        Raises:
            LthDetError: see the parts; whatever was finished stays.
        """
        require_method(self.trainer, "rst")
        mask: Mask | None = None
        transforms: list[dict[str, Any]] = []
        for cycle in range(1, self.rst.cycles + 1):
            mask, record = self._transform(cycle, mask, transforms)
            transforms.append(record)
        if mask is None:
            raise RunError("RST needs at least one cycle.")
        record = self._fine_tune(mask, transforms[-1])
        # The time of the whole: what this ticket cost.
        for key in ("train_seconds", "eval_seconds"):
            record[key] = round(record[key] + sum(before[key] for before in transforms), 3)
        record["transform"] = {
            **self.rst.to_dict(),
            "cycles_done": [without_times(before) for before in transforms],
        }
        return self._write([record], [], complete=True)

    def stage_names(self) -> list[str]:
        """Return the folder names of all stages, in the order they run."""
        cycles = range(1, self.rst.cycles + 1)
        return [*(self._transform_name(cycle) for cycle in cycles), STAGE]

    def _with_later(
        self, rounds: list[dict[str, Any]], controls: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        # One round, written once everything is finished.
        return rounds, controls

    @staticmethod
    def _transform_name(cycle: int) -> str:
        return f"{STAGE}/transform_{cycle:02d}"

    def _transform(
        self, cycle: int, previous: Mask | None, before: list[dict[str, Any]]
    ) -> tuple[Mask, dict[str, Any]]:
        name = self._transform_name(cycle)
        # From its file if it is there: a mask is drawn once, whatever the code or the seed would draw later.
        mask = self._shared_ticket(name, lambda: self._mask_ticket(cycle, previous)).mask
        finished = self._record(name)
        if finished is not None:
            return mask, self._skip(name, finished)
        stage = Stage(
            name=name,
            folder=self.run.stage_folder(name),
            ticket=None,
            seed=self.plan.seed,
            start=self._start(before),
            transform=Transform(
                mask=mask,
                schedule=self.rst.schedule,
                decoupled=self.rst.decoupled,
                stop_residual=self.rst.stop_residual,
                check_period=self.rst.check_period,
            ),
        )
        result = self.trainer.train(stage)

        def finish() -> bytes:
            record = self._transform_record(stage, result, cycle=cycle, mask=mask)
            self.run.finish(name, record)
            return to_json(record).encode()

        record: dict[str, Any] = json.loads(self.communicator.on_main(finish))
        return mask, record

    def _mask_ticket(self, cycle: int, previous: Mask | None) -> Ticket:
        mask = rst_mask(self.trainer.table, self.plan, self.rst, cycle=cycle, previous=previous)
        return method_ticket(
            self,
            mask,
            None,
            criterion=f"random ({self.rst.ratios})",
            rewind="none",
            extra={"rst_cycle": str(cycle)},
        )

    def _start(self, before: list[dict[str, Any]]) -> dict[str, Tensor] | None:
        if before:
            return self._trained_weights(before[-1])
        return None if self.rst.start is None else load_snapshot(self.rst.start)

    def _trained_weights(self, record: Mapping[str, Any]) -> dict[str, Tensor]:
        path = self.run.root / record["weights"]
        weights = self.trainer.load_weights(path)
        if weights_sha256(weights) != record["weights_sha256"]:
            raise RunError(
                f"{path} is not the file that its stage ended with; delete {self.run.stage_folder(STAGE)} and run again."
            )
        return weights

    def _transform_record(
        self, stage: Stage, result: StageResult, *, cycle: int, mask: Mask
    ) -> dict[str, Any]:
        weights = self.trainer.load_weights(result.weights)
        summary = sparsity_summary(self.trainer.table, mask).to_dict()
        residuals = result.details.get("residuals", [])
        return {
            "stage": stage.name,
            "cycle": cycle,
            "prune_rate": summary["prune_rate"],
            "sparsity": summary["sparsity"],
            "mask_sha256": mask.sha256(),
            "planned_iterations": self.rst.schedule.iterations,
            "iterations": result.iterations,
            "stopped_early": bool(result.details.get("stopped_early", False)),
            "residual_start": residuals[0][2] if residuals else None,
            "residual_end": residuals[-1][2] if residuals else None,
            "residuals": residuals,
            "metrics": dict(result.metrics),
            "weights": self.run.relative(result.weights),
            "weights_sha256": weights_sha256(weights),
            "train_seconds": result.train_seconds,
            "eval_seconds": result.eval_seconds,
        }

    def _fine_tune(self, mask: Mask, before: Mapping[str, Any]) -> dict[str, Any]:
        self.communicator.on_main(lambda: self._check_parent(before))
        ticket = self._shared_ticket(STAGE, lambda: self._ticket(mask, before))
        stage = Stage(
            name=STAGE,
            folder=self.run.stage_folder(STAGE),
            ticket=ticket,
            seed=self.plan.seed,
            start_iteration=self.plan.start_iteration,
        )
        return self._train(stage, number=1)

    def _check_parent(self, before: Mapping[str, Any]) -> bytes:
        path = self.run.ticket_file(STAGE)
        if path.exists():
            source = read_manifest(path)["provenance"]["extra"].get(TRAINED_KEY)
            if source != before["weights_sha256"]:
                raise RunError(
                    f"{path} was made from other weights than those of {before['stage']}; delete "
                    f"{self.run.stage_folder(STAGE)} and run again."
                )
        return b""

    def _ticket(self, mask: Mask, before: Mapping[str, Any]) -> Ticket:
        return method_ticket(
            self,
            mask,
            self._trained_weights(before),
            criterion="rst",
            rewind="transformed",
            extra={
                "rst": json.dumps(self.rst.to_dict(), sort_keys=True),
                "residual": repr(before["residual_end"]),
            },
        )
