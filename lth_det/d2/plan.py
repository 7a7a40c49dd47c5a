"""The node LTH of a configuration as the plan of an experiment."""

from typing import Any

from lth_det.experiments.plan import ImpPlan, round_prune_rates


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
        start_iteration=lth.REWIND.ITERATION if lth.REWIND.SCHEDULE == "remaining" else 0,
        seed=cfg.SEED,
        controls=tuple(lth.CONTROLS),
        control_rounds=tuple(lth.CONTROL_ROUNDS),
        task=", ".join(cfg.DATASETS.TRAIN),
        source_weights=cfg.MODEL.WEIGHTS,
    )
