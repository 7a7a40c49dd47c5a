"""Measures how much the loss grows when one module group is pruned alone, and keeps the answer in a file."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.scoring import Scoring, ScoringTrainer
from lth_det.io import atomic_write_json
from lth_det.pruning.allocation import GlobalAllocation
from lth_det.pruning.allocation_sensitivity import SensitivityCurve
from lth_det.pruning.criteria import MagnitudeCriterion
from lth_det.pruning.prune import prune
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.summary import sparsity_summary

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_SEED_STEP = 500_009  # other batches than those of gradient criteria


def measured_curves(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    sha256: str,
    table: ParameterTable,
    plan: ImpPlan,
    trainer: ScoringTrainer,
) -> dict[str, SensitivityCurve]:
    """Return the sensitivity curve of each module group that shares the budget; measured once in the life of a run.

    Each group is pruned alone, by the magnitude of the dense trained weights over the whole group and without
    training, to each rate of ``LTH.SENSITIVITY.RATES``, and the mean training loss over the same seeded batches of
    training images is taken. The loss is smoother and cheaper than AP, and no validation image is looked at.

    Args:
        path: the file of the curves, ``sensitivity.json``.
        weights: state dict of the dense trained model.
        sha256: of these weights; a file that was measured on others is refused.
        table: parameters of the model.
        plan: rates, number of batches, seed, and the groups with rates of their own, which are left out.
        trainer: computes losses.

    Raises:
        RunError: the file is damaged or of other weights.
        ScopeError: a loss is not finite.
    """
    found = _read(path)
    if found is None:
        found = _measure(weights, table, plan, trainer)
        found["weights_sha256"] = sha256
        atomic_write_json(path, found)
    elif found["weights_sha256"] != sha256:
        raise RunError(
            f"{path} was measured on other weights than those of the dense round; delete it and run again."
        )
    return {
        group: SensitivityCurve.from_losses(found["rates"], row["losses"], found["dense_loss"])
        for group, row in found["groups"].items()
    }


def record_decision(path: Path, round_number: int, table: ParameterTable, mask: Mask) -> None:
    """Write into the file of the curves what was made of them: the rates of each group after a round."""
    content = _read(path)
    if content is None:
        raise RunError(f"{path} is gone; run the same command again.")
    groups = sparsity_summary(table, mask).to_dict()["groups"]
    content.setdefault("decisions", {})[f"round_{round_number:02d}"] = {
        group: {key: groups[group][key] for key in ("prune_rate", "pruned_parameters")}
        for group in content["groups"]
    }
    atomic_write_json(path, content)


def _measure(
    weights: Mapping[str, Tensor], table: ParameterTable, plan: ImpPlan, trainer: ScoringTrainer
) -> dict[str, Any]:
    group_of = table.group_of
    names: dict[str, list[str]] = {}
    for name in table.prunable_names:
        if group_of[name] not in plan.group_prune_rates:
            names.setdefault(group_of[name], []).append(name)
    groups: dict[str, Any] = {}
    with trainer.scoring(
        weights, batches=plan.sensitivity_batches, seed=plan.seed + _SEED_STEP
    ) as scoring:
        dense = _mean_loss(scoring)
        for group, members in names.items():
            losses = [
                _loss_when_pruned(scoring, weights, members, rate)
                for rate in plan.sensitivity_rates
            ]
            curve = SensitivityCurve.from_losses(plan.sensitivity_rates, losses, dense)
            groups[group] = {"losses": losses, "increases": list(curve.increases[1:])}
            logger.info(
                "Sensitivity of %s: loss %s at prune rates %s (dense %.4f).",
                group,
                ", ".join(f"{loss:.4f}" for loss in losses),
                ", ".join(f"{rate:g}" for rate in plan.sensitivity_rates),
                dense,
            )
    return {
        "format_version": FORMAT_VERSION,
        "measure": "mean training loss over seeded batches of training images",
        "batches": plan.sensitivity_batches,
        "rates": list(plan.sensitivity_rates),
        "dense_loss": dense,
        "groups": groups,
    }


def _loss_when_pruned(
    scoring: Scoring, weights: Mapping[str, Tensor], names: list[str], rate: float
) -> float:
    chosen = {name: weights[name] for name in names}
    mask = prune(
        chosen,
        table_groups=dict.fromkeys(names, "group"),
        criterion=MagnitudeCriterion(),
        allocation=GlobalAllocation(),
        density=1 - rate,
    )
    parameters = dict(scoring.model.named_parameters())
    try:
        apply_mask_(parameters, mask)
        return _mean_loss(scoring)
    finally:
        with torch.no_grad():
            for name, weight in chosen.items():
                parameters[name].copy_(weight)


@torch.no_grad()
def _mean_loss(scoring: Scoring) -> float:
    return sum(float(scoring.loss()) for _ in range(scoring.batches)) / scoring.batches


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it and run again.") from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise RunError(f"{path} is not a file of sensitivity curves; delete it and run again.")
    return content
