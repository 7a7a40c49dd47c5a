"""The node LTH of a configuration as the plan of an experiment."""

from typing import Any

from lth_det.experiments.plan import ImpPlan, round_prune_rates


def start_iteration(lth: Any) -> int:
    """Return the place in the schedule at which pruned rounds start."""
    # Weights from before the first iteration have the whole schedule before them.
    later = lth.REWIND.SCHEDULE == "remaining" and lth.REWIND.TO in ("iteration", "final")
    return int(lth.REWIND.ITERATION) if later else 0


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
    )
