"""A source task's configuration as the plan of an experiment."""

import math

from lth_det.classify.config import ClassifyConfig
from lth_det.errors import ConfigError
from lth_det.experiments.plan import ImpPlan, round_prune_rates


def rewind_iteration(config: ClassifyConfig, *, images: int, total: int) -> int:
    """Return the steps after which the dense round takes its snapshot, for ``images`` training images.

    Raises:
        ConfigError: it is not below ``total``, the steps of the schedule.
    """
    rewind = config.rewind
    steps = rewind.iteration
    if rewind.epoch:
        steps = math.ceil(rewind.epoch * images / config.solver.batch_size)
    if rewind.to == "iteration" and not steps < total:
        raise ConfigError(
            f"The rewind point is iteration {steps} (rewind.iteration, rewind.epoch), but the schedule has {total} steps."
        )
    return steps


def imp_plan(config: ClassifyConfig, *, images: int, total: int) -> ImpPlan:
    """Return the plan that the sections ``pruning`` and ``rewind`` describe.

    Args:
        config: the configuration.
        images: number of training images.
        total: steps of a schedule.

    Raises:
        ConfigError: a prune rate or the rewind point is out of range.
    """
    pruning = config.pruning
    steps = rewind_iteration(config, images=images, total=total)
    later = config.rewind.schedule == "remaining" and config.rewind.to in ("iteration", "final")
    return ImpPlan(
        prune_rates=round_prune_rates(
            rounds=pruning.rounds,
            prune_rate=pruning.prune_rate,
            per_round=pruning.prune_rate_per_round,
            targets=pruning.targets,
        ),
        group_prune_rates={group: rate for group, rate in pruning.groups.items() if rate > 0},
        criterion=pruning.criterion,
        scope=pruning.scope,
        layer_ratios=pruning.layer_ratios,
        rewind_to=config.rewind.to,
        rewind_iteration=steps,
        rewind_weights=config.rewind.weights or config.model.weights,
        start_iteration=steps if later else 0,
        seed=config.seed,
        controls=config.controls,
        control_rounds=config.control_rounds,
        task=config.data.name,
        source_weights=config.model.weights,
        mask_from=pruning.mask_from,
        criterion_batches=pruning.criterion_batches,
        iterations=total,
        retraining_iterations=total - (steps if later else 0),
    )
