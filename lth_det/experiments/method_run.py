"""What runs of RST and gradual pruning share: their tickets."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lth_det.errors import ConfigError
from lth_det.experiments.decide import scope_in_words
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.stage_runner import StageRunner
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import weights_sha256
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

TRAINED_KEY = "trained_weights_sha256"
"""The entry of a ticket's provenance that names the weights it was made from."""


def method_ticket(
    runner: StageRunner,
    mask: Mask,
    weights: Mapping[str, Tensor] | None,
    *,
    criterion: str,
    rewind: str,
    extra: Mapping[str, str],
) -> Ticket:
    """Return a ticket of round 1 with the provenance of the run.

    Args:
        runner: the run.
        mask: true = keep.
        weights: whole state dict, or ``None``.
        criterion: how the mask was found.
        rewind: what the weights are, in words.
        extra: further provenance.
    """
    table, plan = runner.trainer.table, runner.plan
    summary = sparsity_summary(table, mask).to_dict()
    made_from = {} if weights is None else {TRAINED_KEY: weights_sha256(weights)}
    return Ticket(
        mask=mask,
        weights=weights,
        provenance=Provenance(
            criterion=criterion,
            scope=scope_in_words(plan),
            prune_rate=summary["prune_rate"],
            prune_rates_by_group={
                group: row["prune_rate"] for group, row in summary["groups"].items()
            },
            sparsity=summary["sparsity"],
            round=1,
            parent_sha256=None,
            source_task=plan.task,
            source_weights=plan.source_weights,
            seed=plan.seed,
            rewind=rewind,
            versions=dict(runner.facts.get("versions", {})),
            extra={TABLE_KEY: table_to_text(table), **made_from, **extra},
        ),
    )


def check_live_plan(plan: ImpPlan, what: str) -> None:
    """Check that masks of a plan can be decided in the middle of a training.

    Raises:
        ConfigError: the scope measures the trained network first, or the plan prunes the network at its start.
    """
    if plan.scope == "sensitivity":
        raise ConfigError(
            f"{what} decides masks while it trains; LTH.SCOPE sensitivity, which measures a trained network, is not for it."
        )
    if plan.mask_from != "trained":
        raise ConfigError(
            f"{what} decides masks on the live weights; LTH.MASK_FROM {plan.mask_from} is not for it, set it to 'trained'."
        )


def without_times(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without its wall times, which differ between equal runs."""
    return {key: value for key, value in record.items() if not key.endswith("_seconds")}
