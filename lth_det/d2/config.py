"""The ``LTH`` node of the configuration; with its defaults a training run equals plain Detectron2 bit for bit."""

from typing import Any

from detectron2.config import CfgNode

from lth_det.d2.config_methods import add_method_config, check_method_config
from lth_det.d2.config_pruning import add_pruning_config, check_choice, check_pruning_config
from lth_det.d2.step_options import PRECISIONS
from lth_det.errors import ConfigError

GROUP_KEYS = (
    "STEM",
    "BACKBONE",
    "FPN",
    "RPN",
    "BOX_HEAD",
    "MASK_HEAD",
    "KEYPOINT_HEAD",
    "RES5",
    "PREDICTORS",
)
SHARE = -1.0  # a group with this rate takes part in the global budget
DENSE = 0.0
DENSE_KEYS = ("STEM", "PREDICTORS")  # groups that stay dense unless they are asked for


def add_lth_config(cfg: Any) -> None:
    """Add the node ``LTH`` to a Detectron2 configuration, in place.

    Args:
        cfg: a ``detectron2.config.CfgNode``, usually fresh from ``get_cfg()``.
    """
    lth = CfgNode()
    cfg.LTH = lth

    # Run the lottery-ticket rounds. False: plain Detectron2 training; of this node only NUM_THREADS,
    # CHANNELS_LAST and AUTOCAST are read.
    lth.ENABLED = False
    # If not empty: a ticket file to train instead of searching for one, in the folder "ticket" of OUTPUT_DIR: its mask on
    # its weights (on the initialisation of MODEL.WEIGHTS and SEED if it has none), with RETRAIN_OPTS and REWIND.SCHEDULE
    # as in a pruned round. With --eval-only its mask is put on MODEL.WEIGHTS.
    lth.TICKET = ""

    # Python modules of yours to import first, by name: they may register criteria, allocations and module-group rules,
    # which the keys below can then name (docs/pruning.md). Their code runs.
    lth.IMPORTS = ()

    _add_prunable_set(lth)
    _add_rounds(lth)
    _add_rewind(lth)
    _add_training(lth)
    add_pruning_config(lth)
    add_method_config(lth)


def _add_prunable_set(lth: Any) -> None:
    # ---- Which weights may be pruned --------------------------------------------------------------------------------
    # With "default" the weights of all convolutions and linear layers of the groups below, shortcut convolutions
    # included, frozen parameters excluded (they could not adapt around their zeros). With "paper" the set of Girish
    # et al. (CVPR 2021): stem and block convolutions even when frozen, no shortcuts.
    lth.PRESET = "default"
    # Final prune rate of each module group: -1 = takes part in the budget of PRUNE_RATE, 0 = stays dense,
    # between 0 and 1 = its own rate, whatever the others do.
    # Under the preset "paper" the stem takes part in the budget as the predecessor's did.
    lth.GROUP_PRUNE_RATE = CfgNode()
    for key in GROUP_KEYS:
        lth.GROUP_PRUNE_RATE[key] = DENSE if key in DENSE_KEYS else SHARE
    # If not empty: only these module groups are pruned (they share the budget of PRUNE_RATE) and all others stay dense,
    # whatever the preset and the zeros above say; for example ("backbone", "fpn"). Names are those of GROUP_PRUNE_RATE in
    # small letters; the paper's "backbone" of COCO models is ("stem", "backbone"), its "Top" of C4 models is "res5".
    lth.PRUNE_ONLY = ()


def _add_rounds(lth: Any) -> None:
    # ---- Rounds (round 0 is the dense one) --------------------------------------------------------------------------
    # Number of prune-rewind-retrain rounds; 1 = one-shot.
    lth.ROUNDS = 1
    # Pruned share of the prunable weights after the last round; round r of N keeps (1 - PRUNE_RATE)^(r / N).
    lth.PRUNE_RATE = 0.8
    # If above 0: share of the surviving weights removed in each round, in place of PRUNE_RATE.
    lth.PRUNE_RATE_PER_ROUND = 0.0
    # If not empty: the prune rate after each round, ascending, in place of the three keys above.
    lth.TARGETS = ()


def _add_rewind(lth: Any) -> None:
    # ---- Rewinding --------------------------------------------------------------------------------------------------
    lth.REWIND = CfgNode()
    # "iteration": the surviving weights go back to their values after REWIND.ITERATION iterations of the dense round.
    # "init": to their values before the first iteration of the dense round (pre-trained where MODEL.WEIGHTS gave them).
    # "pretrained": those found in REWIND.WEIGHTS go back to that file's values, the others to the dense round's start.
    # "final": no rewinding of weights, only of the learning-rate schedule (Renda et al., ICLR 2020).
    lth.REWIND.TO = "iteration"
    lth.REWIND.ITERATION = 0
    # Checkpoint for TO "pretrained"; empty = MODEL.WEIGHTS.
    lth.REWIND.WEIGHTS = ""
    # "full": retrain for the whole schedule again (the predecessor's COCO runs); "remaining": from REWIND.ITERATION on
    # (after TO "init" or "pretrained", and for the control "random_reinit", the whole schedule remains).
    lth.REWIND.SCHEDULE = "full"


def _add_training(lth: Any) -> None:
    # ---- Training ---------------------------------------------------------------------------------------------------
    # KEY VALUE pairs merged into the configuration of the pruned rounds only, for example
    # ["SOLVER.WARMUP_ITERS", 2000] as in the paper's schedules.
    lth.RETRAIN_OPTS = []
    # Also zero the gradients of pruned weights, so that they count neither in gradient clipping nor in momentum.
    # "auto": only when SOLVER.CLIP_GRADIENTS is on. "always" / "never".
    lth.MASK_GRADIENTS = "auto"
    # "SGD" is Detectron2's own optimizer; "ADAMW" uses SOLVER.BASE_LR and SOLVER.WEIGHT_DECAY with torch's AdamW.
    lth.OPTIMIZER = "SGD"
    # Add the AP of each size, class-frequency, difficulty and occlusion bin to the metrics of every evaluation of a
    # COCO-format dataset (bbox/AP-size-small, ...), as tools/analyze_coco.py computes it.
    lth.ATTRIBUTE_AP = False
    # Write OUTPUT_DIR/report at the end. False leaves it out, as in sweeps of many short runs; the same command with True
    # adds it to a finished run.
    lth.REPORT = True
    # CPU threads of torch in this process; 0 = leave torch's default. Small detectors are fastest with 1 or 2.
    lth.NUM_THREADS = 0
    # Images go through the network in the layout channels-last, which some CPUs and GPUs compute faster; sums round otherwise.
    lth.CHANNELS_LAST = False
    # "bfloat16": the forward pass of training in mixed precision, on the CPU or a GPU; weights and evaluation stay float32.
    # (float16 with a loss scaler, on GPUs, is Detectron2's own SOLVER.AMP.ENABLED.)
    lth.AUTOCAST = ""


def check_lth_config(cfg: Any) -> None:
    """Check the values of ``cfg.LTH`` that a run depends on, before anything is trained.

    Raises:
        ConfigError: a value is out of range, or two keys contradict each other; names the key and the value.
    """
    lth = cfg.LTH
    check_choice("LTH.PRESET", lth.PRESET, ("default", "paper"))
    check_choice("LTH.REWIND.TO", lth.REWIND.TO, ("iteration", "init", "pretrained", "final"))
    check_choice("LTH.REWIND.SCHEDULE", lth.REWIND.SCHEDULE, ("full", "remaining"))
    check_choice("LTH.MASK_GRADIENTS", lth.MASK_GRADIENTS, ("auto", "always", "never"))
    check_choice("LTH.OPTIMIZER", lth.OPTIMIZER, ("SGD", "ADAMW"))
    check_choice("LTH.AUTOCAST", lth.AUTOCAST, PRECISIONS)
    _check_rates(lth)
    check_method_config(cfg)
    _check_prune_only(lth)
    check_pruning_config(cfg)
    iteration, last = lth.REWIND.ITERATION, cfg.SOLVER.MAX_ITER
    if lth.ENABLED and not 0 <= iteration < last:
        raise ConfigError(
            f"LTH.REWIND.ITERATION is {iteration}, but must be at least 0 and below SOLVER.MAX_ITER ({last})."
        )
    if lth.REWIND.TO == "pretrained" and not (lth.REWIND.WEIGHTS or cfg.MODEL.WEIGHTS):
        raise ConfigError(
            "LTH.REWIND.TO is 'pretrained', but neither LTH.REWIND.WEIGHTS nor MODEL.WEIGHTS names a checkpoint."
        )


def _check_rates(lth: Any) -> None:
    rates = {
        "LTH.PRUNE_RATE": lth.PRUNE_RATE,
        "LTH.PRUNE_RATE_PER_ROUND": lth.PRUNE_RATE_PER_ROUND,
    }
    rates |= {f"LTH.TARGETS[{index}]": rate for index, rate in enumerate(lth.TARGETS)}
    for key, rate in lth.GROUP_PRUNE_RATE.items():
        if rate != SHARE:
            rates[f"LTH.GROUP_PRUNE_RATE.{key}"] = rate
    for key, rate in rates.items():
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ConfigError(f"{key} is {rate!r}, but a prune rate lies in [0, 1).")
    if list(lth.TARGETS) != sorted(lth.TARGETS):
        raise ConfigError(f"LTH.TARGETS is {list(lth.TARGETS)}, but prune rates must ascend.")
    if lth.ROUNDS < 1:
        raise ConfigError(f"LTH.ROUNDS is {lth.ROUNDS}, but at least one round is needed.")


def _check_prune_only(lth: Any) -> None:
    if not lth.PRUNE_ONLY:
        return
    known = tuple(key.lower() for key in GROUP_KEYS)
    for group in lth.PRUNE_ONLY:
        check_choice("LTH.PRUNE_ONLY", group, known)
    for key in GROUP_KEYS:
        rate, named = lth.GROUP_PRUNE_RATE[key], key.lower() in lth.PRUNE_ONLY
        default = DENSE if key in DENSE_KEYS else SHARE
        if rate != default and named == (rate == DENSE):
            raise ConfigError(
                f"LTH.PRUNE_ONLY is {tuple(lth.PRUNE_ONLY)}, but LTH.GROUP_PRUNE_RATE.{key} is {rate}; "
                "leave one of the two keys at its default."
            )
