"""The keys of ``LTH`` that say how weights are chosen, and which controls are run."""

import inspect
from typing import Any

from detectron2.config import CfgNode

from lth_det.errors import ConfigError
from lth_det.experiments.controls import CONTROLS
from lth_det.pruning.allocation import ALLOCATIONS
from lth_det.pruning.criteria import CRITERIA

SCOPES = ("global", "group", "layer", "sensitivity")
_BUILT_IN = frozenset(ALLOCATIONS) | set(SCOPES)


def add_pruning_config(lth: Any) -> None:
    """Add the keys to the node ``LTH``, in place."""
    _add_choice_of_weights(lth)
    _add_controls(lth)


def _add_choice_of_weights(lth: Any) -> None:
    # ---- How the weights are chosen (docs/pruning.md) ---------------------------------------------------------------
    # Name in lth_det.pruning.criteria.CRITERIA: magnitude, random, snip, grasp, synflow, taylor, or one of your own.
    lth.CRITERION = "magnitude"
    # Training batches (of SOLVER.IMS_PER_BATCH images) that a criterion with gradients looks at.
    lth.CRITERION_BATCHES = 8
    # Prunings in each round, with new scores after each, for criteria that look at the model; 0 = the criterion's own
    # number: 100 for synflow, 1 for the others.
    lth.CRITERION_STEPS = 0
    # Weights that the scores are of: "trained" (those that the round before ended with) or "start" (those that the pruned
    # round starts from; with REWIND.TO "init" this is pruning at initialisation).
    lth.MASK_FROM = "trained"
    # Whose scores compete: "global" (all prunable weights), "group" (each module group keeps the same share), "layer" (each
    # layer by itself), "sensitivity" (each group gets the rate that costs least loss in all, as measured on the dense
    # network), or an allocation of your own.
    lth.SCOPE = "global"
    # With SCOPE "layer": "uniform" (same prune rate in each layer), "erk" (Erdos-Renyi-kernel ratios) or the file of a
    # ticket, whose layer ratios are taken.
    lth.LAYER_RATIOS = "uniform"
    # With SCOPE "sensitivity": each group is pruned alone to each of these rates, and the training loss is taken over
    # BATCHES batches of training images. No group gets a higher rate than the last one.
    lth.SENSITIVITY = CfgNode()
    lth.SENSITIVITY.RATES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    lth.SENSITIVITY.BATCHES = 8


def _add_controls(lth: Any) -> None:
    # ---- Controls ---------------------------------------------------------------------------------------------------
    # Runs that share everything with a pruned round (or with the ticket of LTH.TICKET) and differ in one thing; names from
    # lth_det.experiments.controls.CONTROLS, explained in docs/pruning.md:
    #   random_layer_ratios  random mask with the ticket's count in each layer     random_erk  random mask, ERK counts
    #   reshuffled           ticket's count in each filter, places drawn           complement  none of the ticket's weights
    #   perturbed            PERTURBED_FRACTION of the kept weights moved          random_reinit  another initialisation
    #   dense_rewound        nothing pruned, same start                            dense_same_budget  dense, as long as all
    # A control can be added to a finished run: run the same command again with its name added.
    lth.CONTROLS = ()
    lth.PERTURBED_FRACTION = 0.1
    # Rounds that get the controls; empty = the last one.
    lth.CONTROL_ROUNDS = ()


def check_pruning_config(cfg: Any) -> None:
    """Check these keys of ``cfg.LTH``.

    Raises:
        ConfigError: a value is out of range, or a name is unknown; names the key and the value.
    """
    lth = cfg.LTH
    check_choice("LTH.CRITERION", lth.CRITERION, tuple(sorted(CRITERIA)))
    check_choice("LTH.MASK_FROM", lth.MASK_FROM, ("trained", "start"))
    check_choice("LTH.SCOPE", lth.SCOPE, (*SCOPES, *_own_allocations()))
    for key in ("CRITERION_BATCHES", "CRITERION_STEPS"):
        least = 1 if key == "CRITERION_BATCHES" else 0
        if lth[key] < least:
            raise ConfigError(f"LTH.{key} is {lth[key]}, but must be at least {least}.")
    if lth.SCOPE == "sensitivity":
        _check_sensitivity(lth)
    _check_controls(lth)


def check_choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Check that the value of a key is one of those allowed.

    Raises:
        ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{key} is {value!r}; choose one of {', '.join(allowed)}.")


def _own_allocations() -> list[str]:
    """Return the allocations that somebody registered and that need no options."""
    own = []
    for name in sorted(set(ALLOCATIONS) - _BUILT_IN):
        parameters = inspect.signature(ALLOCATIONS[name]).parameters.values()
        if all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):  # fmt: skip
            own.append(name)
    return own


def _check_sensitivity(lth: Any) -> None:
    rates = list(lth.SENSITIVITY.RATES)
    numbers = all(isinstance(rate, int | float) and 0 < rate < 1 for rate in rates)
    if not rates or not numbers or sorted(set(rates)) != rates:
        raise ConfigError(
            f"LTH.SENSITIVITY.RATES is {tuple(rates)}, but must be ascending prune rates between 0 and 1."
        )
    if lth.SENSITIVITY.BATCHES < 1:
        raise ConfigError("LTH.SENSITIVITY.BATCHES is less than 1, but a loss needs a batch.")
    highest = max(lth.TARGETS or (lth.PRUNE_RATE,))
    if not lth.PRUNE_RATE_PER_ROUND and highest >= rates[-1]:
        raise ConfigError(
            f"LTH.SENSITIVITY.RATES ends at {rates[-1]}, but the network is to be pruned by {highest}; add a higher rate, "
            "so that there is something to choose."
        )


def _check_controls(lth: Any) -> None:
    for name in lth.CONTROLS:
        check_choice("LTH.CONTROLS", name, tuple(CONTROLS))
    if len(set(lth.CONTROLS)) != len(lth.CONTROLS):
        raise ConfigError(f"LTH.CONTROLS names a control twice: {tuple(lth.CONTROLS)}.")
    if not 0 <= lth.PERTURBED_FRACTION <= 1:
        raise ConfigError(
            f"LTH.PERTURBED_FRACTION is {lth.PERTURBED_FRACTION}, but a fraction lies in [0, 1]."
        )
    rounds = len(lth.TARGETS) or lth.ROUNDS
    for number in lth.CONTROL_ROUNDS:
        if not 1 <= number <= rounds:
            raise ConfigError(f"LTH.CONTROL_ROUNDS has {number}, but the rounds are 1 to {rounds}.")
