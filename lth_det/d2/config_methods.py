"""The keys of the methods beside IMP: random sparse transformation, gradual pruning, early-bird tickets."""

from typing import Any

from detectron2.config import CfgNode

from lth_det.errors import ConfigError
from lth_det.experiments.rst_presets import MASKS, OF_PRESET, PENALTIES, PRESETS

METHODS = ("imp", "rst", "gradual")


def add_method_config(lth: Any) -> None:
    """Add ``METHOD``, ``RST``, ``GRADUAL`` and ``EARLY_BIRD`` to the node ``LTH``, in place."""
    # ---- Method -----------------------------------------------------------------------------------------------------
    # "imp": dense round, then prune-rewind-retrain rounds. "rst": random sparse network transformation (below).
    # "gradual": one training that prunes as it goes, without rewinding (below). The last two end at PRUNE_RATE (or at the
    # one rate in TARGETS), and leave REWIND.TO aside.
    lth.METHOD = "imp"
    _add_rst(lth)
    _add_gradual(lth)
    _add_early_bird(lth)


def _add_rst(lth: Any) -> None:
    # ---- Random sparse network transformation (Bai et al., ICLR 2022) -------------------------------------------------
    # A random mask; a training in which a growing penalty empties what it prunes while all weights learn on; then the
    # hard mask, and fine-tuning as in a pruned round (RETRAIN_OPTS, REWIND.SCHEDULE).
    rst = lth.RST = CfgNode()
    # "budget": the transformation takes as many iterations as the dense round of IMP (SOLVER.MAX_ITER, divided among the
    # cycles), with the learning rates of SOLVER and a penalty that does not depend on them.
    # "paper" does what the authors' code does: 90,000 iterations (20,000 in each of several cycles) of SGD at a constant
    # learning rate of 1e-3 with the coupled penalty, and their rounding of the count in each layer.
    # Keys below that are -1, 0 or "" where it says so take the preset's value.
    rst.PRESET = "budget"
    # Ratios of the random mask: "uniform" (each layer the same), "erk", or "ticket" (those of MASK_TICKET, which then
    # also decides the prune rate). Frozen parameters are never in the mask.
    rst.MASK = "uniform"
    rst.MASK_TICKET = ""
    # "" = the initialisation (random, or MODEL.WEIGHTS); else a rewind.safetensors of a run of the same model.
    rst.START = ""
    # Cycle c of C ends at the prune rate 1 - (1 - PRUNE_RATE)^(c / C); what is pruned stays pruned, and the penalty
    # starts again from zero. 1 = one-shot.
    rst.CYCLES = 1
    # Iterations of one cycle's transformation; 0 = the preset's.
    rst.TRANSFORM_ITERS = 0
    # Shares of them in which the penalty grows, and stays at its ceiling. -1 = the preset's: 5/9 and 4/9
    # (1/2 and 1/2 with "paper" and several cycles).
    rst.RAMP = OF_PRESET
    rst.HOLD = OF_PRESET
    # "coupled": a term lambda / 2 * |w|^2 of the loss, as published; how fast it empties depends on the learning rate.
    # "decoupled": after each step the weights to be pruned are multiplied by 1 - lambda. "" = the preset's.
    rst.PENALTY = ""
    # Largest lambda. -1 = 1.0 for "coupled" and 0.1 for "decoupled".
    rst.CEILING = OF_PRESET
    # The penalty grows every INTERVAL iterations, as x^POWER of the ramp that is done. 0 = the preset's interval (1;
    # 5 with "paper" and one cycle).
    rst.INTERVAL = 0
    rst.POWER = 1.0
    # Constant learning rate of the transformation; 0 = the schedule of SOLVER, its steps scaled to the length; -1 = the
    # preset's (0; 1e-3 with "paper").
    rst.LEARNING_RATE = OF_PRESET
    # End the transformation in its hold as soon as |weights to be pruned| / |all weights of the mask| is at most this;
    # 0 = hold to the end. Looked at (and recorded) every CHECK_PERIOD iterations.
    rst.STOP_RESIDUAL = 0.0
    rst.CHECK_PERIOD = 20
    # KEY VALUE pairs merged into the configuration of the transformation only.
    rst.TRANSFORM_OPTS = []


def _add_gradual(lth: Any) -> None:
    # ---- Gradual pruning (Zhu & Gupta 2017) ---------------------------------------------------------------------------
    # One training from the initialisation: every PERIOD iterations CRITERION, SCOPE and GROUP_PRUNE_RATE prune the live
    # weights further, final + (INITIAL - final) * (1 - t)^3, with t from 0 at BEGIN to 1 at END (shares of the training).
    # A group with a rate of its own follows the same curve to it. Masks are nested; nothing is rewound.
    gradual = lth.GRADUAL = CfgNode()
    gradual.BEGIN = 0.1
    gradual.END = 0.7
    gradual.PERIOD = 100
    gradual.INITIAL = 0.0


def _add_early_bird(lth: Any) -> None:
    # ---- Early-bird tickets (You et al., ICLR 2020) -------------------------------------------------------------------
    early = lth.EARLY_BIRD = CfgNode()
    # During the dense round of "imp", record the mask that would be picked, and compare it with the final one in
    # OUTPUT_DIR/early_bird.json.
    early.ENABLED = False
    # Iterations between two masks.
    early.PERIOD = 100
    # Prune rate of these masks (one-shot); 0 = that of the last round. Groups with rates of their own keep those.
    early.PRUNE_RATE = 0.0
    # Stable = the mask differs from each of the last PATIENCE ones in less than THRESHOLD of the prunable weights.
    early.PATIENCE = 5
    early.THRESHOLD = 0.1
    # End the dense round as soon as the mask is stable (not before the rewind point) and draw the tickets there.
    early.STOP = False


def check_method_config(cfg: Any) -> None:
    """Check the values of the method's keys, before anything is trained.

    Raises:
        ConfigError: a value is out of range, or two keys contradict each other.
    """
    lth = cfg.LTH
    _choice("LTH.METHOD", lth.METHOD, METHODS)
    if lth.METHOD != "imp":
        _check_other_keys(lth)
    if lth.METHOD == "rst":
        _check_rst(lth.RST)
    if lth.METHOD == "gradual":
        _check_gradual(lth.GRADUAL, cfg.SOLVER.MAX_ITER)
    if lth.EARLY_BIRD.ENABLED:
        _check_early_bird(lth)


def _check_other_keys(lth: Any) -> None:
    if lth.TICKET:
        raise ConfigError(
            f"LTH.TICKET is set, but LTH.METHOD is {lth.METHOD!r}; a given ticket is trained with LTH.METHOD imp."
        )
    if len(lth.TARGETS) > 1 or lth.ROUNDS > 1:
        raise ConfigError(
            f"LTH.METHOD {lth.METHOD!r} prunes to one rate, but LTH.TARGETS is {tuple(lth.TARGETS)} and LTH.ROUNDS "
            f"{lth.ROUNDS}; set LTH.TARGETS '()', LTH.ROUNDS 1 and LTH.PRUNE_RATE"
            + (" (and LTH.RST.CYCLES for more cycles)." if lth.METHOD == "rst" else ".")
        )
    if lth.CONTROLS:
        raise ConfigError(
            f"LTH.CONTROLS is {tuple(lth.CONTROLS)}, but LTH.METHOD {lth.METHOD!r} has no controls of its own; give its "
            "ticket to a run with LTH.TICKET."
        )
    if lth.EARLY_BIRD.ENABLED:
        raise ConfigError(
            f"LTH.EARLY_BIRD.ENABLED needs the dense round of LTH.METHOD imp, not {lth.METHOD!r}."
        )


def _check_rst(rst: Any) -> None:
    _choice("LTH.RST.PRESET", rst.PRESET, PRESETS)
    _choice("LTH.RST.MASK", rst.MASK, MASKS)
    _choice("LTH.RST.PENALTY", rst.PENALTY, PENALTIES)
    if (rst.MASK == "ticket") != bool(rst.MASK_TICKET):
        raise ConfigError(
            f"LTH.RST.MASK is {rst.MASK!r} and LTH.RST.MASK_TICKET {rst.MASK_TICKET!r}; the mask 'ticket' needs a ticket "
            "file, and only it."
        )
    _at_least("LTH.RST.CYCLES", rst.CYCLES, 1)
    _at_least("LTH.RST.CHECK_PERIOD", rst.CHECK_PERIOD, 1)
    _at_least("LTH.RST.TRANSFORM_ITERS", rst.TRANSFORM_ITERS, 0)
    _at_least("LTH.RST.INTERVAL", rst.INTERVAL, 0)
    _at_least("LTH.RST.STOP_RESIDUAL", rst.STOP_RESIDUAL, 0)
    if (rst.RAMP == OF_PRESET) != (rst.HOLD == OF_PRESET):
        raise ConfigError(
            f"LTH.RST.RAMP is {rst.RAMP} and LTH.RST.HOLD {rst.HOLD}; give both, or -1 for both."
        )
    if rst.LEARNING_RATE != OF_PRESET:
        _at_least("LTH.RST.LEARNING_RATE", rst.LEARNING_RATE, 0)


def _check_gradual(gradual: Any, iterations: int) -> None:
    _at_least("LTH.GRADUAL.PERIOD", gradual.PERIOD, 1)
    if not 0 <= gradual.BEGIN < gradual.END <= 1:
        raise ConfigError(
            f"LTH.GRADUAL.BEGIN and END are {gradual.BEGIN} and {gradual.END}, but are shares of the training with "
            "0 <= BEGIN < END <= 1."
        )
    if not 0 <= gradual.INITIAL < 1:
        raise ConfigError(
            f"LTH.GRADUAL.INITIAL is {gradual.INITIAL}, but a prune rate lies in [0, 1)."
        )
    if (gradual.END - gradual.BEGIN) * iterations < gradual.PERIOD:
        raise ConfigError(
            f"LTH.GRADUAL.PERIOD is {gradual.PERIOD}, longer than the pruning itself ({gradual.BEGIN} to {gradual.END} of "
            f"{iterations} iterations); choose a shorter one."
        )


def _check_early_bird(lth: Any) -> None:
    early = lth.EARLY_BIRD
    if not lth.ENABLED or lth.TICKET:
        raise ConfigError(
            "LTH.EARLY_BIRD.ENABLED needs a dense round: set LTH.ENABLED True and leave LTH.TICKET empty."
        )
    _at_least("LTH.EARLY_BIRD.PERIOD", early.PERIOD, 1)
    _at_least("LTH.EARLY_BIRD.PATIENCE", early.PATIENCE, 1)
    if not 0 <= early.PRUNE_RATE < 1:
        raise ConfigError(
            f"LTH.EARLY_BIRD.PRUNE_RATE is {early.PRUNE_RATE}, but a prune rate lies in [0, 1)."
        )
    if not 0 < early.THRESHOLD <= 1:
        raise ConfigError(
            f"LTH.EARLY_BIRD.THRESHOLD is {early.THRESHOLD}, but is a share of the prunable weights in (0, 1]."
        )


def _choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        shown = ", ".join(name if name else repr(name) for name in allowed)
        raise ConfigError(f"{key} is {value!r}; choose one of {shown}.")


def _at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{key} is {value}, but must be at least {least}.")


def method_identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings without the keys of the methods that are not used: they change nothing.

    So a run from before there were these keys goes on.

    Args:
        settings: flat keys such as ``"LTH.RST.CYCLES"`` -> values.
    """
    method = settings["LTH.METHOD"]
    unused = [f"LTH.{name.upper()}." for name in METHODS if name not in ("imp", method)]
    if not settings["LTH.EARLY_BIRD.ENABLED"]:
        unused.append("LTH.EARLY_BIRD.")
    if method == "imp":
        unused.append("LTH.METHOD")
    return {key: value for key, value in settings.items() if not key.startswith(tuple(unused))}
