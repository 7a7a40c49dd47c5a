"""The node LTH of a configuration as the plan of an experiment."""

from typing import Any

from lth_det.d2.setup_cfg import merge_options
from lth_det.errors import ConfigError
from lth_det.experiments.plan import ImpPlan, round_prune_rates


def start_iteration(lth: Any) -> int:
    """Return the place in the schedule at which pruned rounds start."""
    # Weights from before the first iteration have the whole schedule before them.
    later = lth.REWIND.SCHEDULE == "remaining" and lth.REWIND.TO in ("iteration", "final")
    return int(lth.REWIND.ITERATION) if later else 0


def retraining_cfg(cfg: Any) -> Any:
    """Return a copy of the configuration with ``LTH.RETRAIN_OPTS`` merged in, not frozen.

    Raises:
        ConfigError: an option is unknown, has the wrong type, or lacks its value.
    """
    copy = cfg.clone()
    copy.defrost()
    try:
        merge_options(copy, list(cfg.LTH.RETRAIN_OPTS))
    except ConfigError as error:
        raise ConfigError(f"LTH.RETRAIN_OPTS: {error}") from error
    return copy


def imp_plan(cfg: Any) -> ImpPlan:
    """Return the plan that ``cfg.LTH`` describes."""
    lth = cfg.LTH
    own = {key.lower(): rate for key, rate in lth.GROUP_PRUNE_RATE.items() if 0 < rate < 1}
    return ImpPlan(
        prune_rates=round_prune_rates(
            rounds=lth.ROUNDS,
            prune_rate=lth.PRUNE_RATE,
            per_round=lth.PRUNE_RATE_PER_ROUND,
            targets=lth.TARGETS,
        ),
        group_prune_rates=own,
        criterion=lth.CRITERION,
        scope=lth.SCOPE,
        layer_ratios=lth.LAYER_RATIOS,
        rewind_to=lth.REWIND.TO,
        rewind_iteration=lth.REWIND.ITERATION,
        rewind_weights=lth.REWIND.WEIGHTS or cfg.MODEL.WEIGHTS,
        start_iteration=start_iteration(lth),
        seed=cfg.SEED,
        controls=tuple(lth.CONTROLS),
        control_rounds=tuple(lth.CONTROL_ROUNDS),
        task=", ".join(cfg.DATASETS.TRAIN),
        source_weights=cfg.MODEL.WEIGHTS,
        mask_from=lth.MASK_FROM,
        criterion_batches=lth.CRITERION_BATCHES,
        criterion_steps=lth.CRITERION_STEPS,
        sensitivity_rates=tuple(lth.SENSITIVITY.RATES),
        sensitivity_batches=lth.SENSITIVITY.BATCHES,
        perturbed_fraction=lth.PERTURBED_FRACTION,
        iterations=cfg.SOLVER.MAX_ITER,
        retraining_iterations=retraining_cfg(cfg).SOLVER.MAX_ITER - start_iteration(lth),
    )


def stretch_schedule(cfg: Any, iterations: int) -> None:
    """Set the length of the schedule, in place: the drops of the learning rate keep their relative places.

    The warm-up stays as long as it is: it is there for the first steps, however many follow.
    """
    factor = iterations / cfg.SOLVER.MAX_ITER
    cfg.SOLVER.STEPS = tuple(round(step * factor) for step in cfg.SOLVER.STEPS)
    cfg.SOLVER.MAX_ITER = iterations
