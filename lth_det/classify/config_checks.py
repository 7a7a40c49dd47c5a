"""Ranges and choices of the values of a source task's configuration."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lth_det.errors import ConfigError
from lth_det.experiments.controls import CONTROLS
from lth_det.experiments.rst_presets import MASKS, OF_PRESET, PENALTIES, PRESETS
from lth_det.pruning.criteria import CRITERIA

GROUPS = ("stem", "backbone", "head")
"""The module groups of a classifier."""

CHOICES: dict[str, tuple[str, ...]] = {
    "data.name": (
        *("shapes_cls", "image_folder"),
        *("cifar10", "cifar100", "fashion_mnist", "small_norb"),
    ),
    "method": ("imp", "rst"),
    "rst.preset": PRESETS,
    "rst.mask": MASKS,
    "rst.penalty": PENALTIES,
    "data.augment": ("none", "flip", "crop_flip", "resized_crop_flip"),
    "model.stem": ("imagenet", "cifar"),
    "solver.optimizer": ("sgd", "adamw"),
    "solver.schedule": ("step", "cosine"),
    "pruning.scope": ("global", "group", "layer", "sensitivity"),
    "pruning.mask_from": ("trained", "start"),
    "pruning.layer_ratios": ("uniform", "erk"),
    "rewind.to": ("iteration", "init", "final", "pretrained"),
    "rewind.schedule": ("full", "remaining"),
}
_LIST_CHOICES: dict[str, tuple[str, ...]] = {
    "controls": tuple(CONTROLS),
    "transfer.starts": ("source_final", "source_init", "random"),
    "transfer.controls": ("random_mask",),
    "transfer.finetune": ("frozen", "full"),
}
_ONCE = (
    *_LIST_CHOICES,
    *("control_rounds", "transfer.rounds", "transfer.head_layers"),
)
_NOT_EMPTY = ("transfer.starts", "transfer.finetune", "transfer.head_layers")

Check = tuple[str, Callable[[Any], bool], str]


def _positive(value: Any) -> bool:
    return bool(value > 0)


def _not_negative(value: Any) -> bool:
    return bool(value >= 0)


_RANGES: tuple[Check, ...] = (
    ("data.input_size", lambda v: 8 <= v <= 4096, "be between 8 and 4096 pixels"),
    ("data.mean", lambda v: len(v) == 3, "have three values (red, green, blue)"),
    ("data.std", lambda v: len(v) == 3 and min(v) > 0, "have three values above 0"),
    ("data.pad", _not_negative, "not be negative"),
    ("data.crop_share", lambda v: 0 < v <= 1, "lie in (0, 1]"),
    ("data.workers", _not_negative, "not be negative"),
    ("model.stem_width", _positive, "be above 0"),
    ("model.widths", lambda v: len(v) > 0 and min(v) > 0, "have values above 0"),
    ("model.blocks", lambda v: len(v) > 0 and min(v) > 0, "have values above 0"),
    ("solver.lr", _positive, "be above 0"),
    ("solver.momentum", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    ("solver.weight_decay", _not_negative, "not be negative"),
    ("solver.batch_size", lambda v: v >= 2, "be at least 2 (batch norm needs more than one image)"),
    ("solver.eval_batch_size", _positive, "be above 0"),
    ("solver.max_iter", _not_negative, "not be negative"),
    ("solver.epochs", _not_negative, "not be negative"),
    ("solver.gamma", lambda v: 0 < v <= 1, "lie in (0, 1]"),
    ("solver.warmup", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    ("solver.warmup_factor", lambda v: 0 <= v <= 1, "lie in [0, 1]"),
    ("solver.label_smoothing", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    ("solver.checkpoint_period", _not_negative, "not be negative"),
    (
        "solver.steps",
        lambda v: list(v) == sorted(v) and all(0 < x < 1 for x in v),
        "ascend, as fractions of the schedule in (0, 1)",
    ),
    ("pruning.criterion_batches", _positive, "be above 0"),
    ("pruning.rounds", lambda v: v >= 1, "be at least 1"),
    ("pruning.prune_rate", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    ("pruning.prune_rate_per_round", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    (
        "pruning.targets",
        lambda v: list(v) == sorted(v) and all(0 <= x < 1 for x in v),
        "be prune rates in [0, 1) that ascend",
    ),
    ("rst.cycles", _positive, "be at least 1"),
    ("rst.check_period", _positive, "be at least 1"),
    ("rst.transform_iter", _not_negative, "not be negative"),
    ("rst.interval", _not_negative, "not be negative"),
    ("rst.power", _positive, "be above 0"),
    ("rst.stop_residual", _not_negative, "not be negative"),
    ("rst.batch_size", lambda v: v != 1 and v >= 0, "be at least 2, or 0"),
    ("rst.ceiling", lambda v: v > 0 or v == OF_PRESET, "be above 0, or -1"),
    ("rst.learning_rate", lambda v: v >= 0 or v == OF_PRESET, "not be negative, except -1"),
    ("rewind.iteration", _not_negative, "not be negative"),
    ("rewind.epoch", _not_negative, "not be negative"),
    ("transfer.head_layers", lambda v: set(v) <= {1, 2}, "have 1 or 2 only"),
    ("transfer.head_hidden", _not_negative, "not be negative"),
    ("transfer.rounds", lambda v: all(x >= 0 for x in v), "not have negative numbers"),
    ("seed", lambda v: 0 <= v < 2**31, "lie in [0, 2^31)"),
    ("threads", _not_negative, "not be negative"),
    (
        "device",
        lambda v: re.fullmatch(r"auto|cpu|cuda(:\d+)?", v) is not None,
        "be auto, cpu, cuda or cuda:N",
    ),
    ("output", bool, "name a folder"),
)


def check_values(values: Mapping[str, Any]) -> None:
    """Check the values of a configuration given as nested dictionaries.

    Raises:
        ConfigError: a value is out of its range, or two contradict each other; names the key and the value.
    """
    for key, allowed in CHOICES.items():
        check_choice(key, _get(values, key), allowed)
    for key, allowed in _LIST_CHOICES.items():
        for item in _get(values, key):
            check_choice(key, item, allowed)
    for key, is_good, must in _RANGES:
        value = _get(values, key)
        if not is_good(value):
            raise ConfigError(f"{key} is {_shown(value)}, but must {must}.")
    for key in _NOT_EMPTY:
        if not _get(values, key):
            raise ConfigError(f"{key} is empty; name at least one.")
    _check_once(values)
    _check_together(values)
    if values["method"] == "rst":
        _check_rst(values)


def check_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ConfigError with the choices when ``value`` is none of them."""
    if value not in allowed:
        shown = ", ".join(name or repr(name) for name in allowed)
        raise ConfigError(f"{key} is {value!r}; choose one of {shown}.")


def _check_once(values: Mapping[str, Any]) -> None:
    for key in _ONCE:
        items = list(_get(values, key))
        twice = [item for item in items if items.count(item) > 1]
        if twice:
            raise ConfigError(f"{key} names {twice[0]!r} twice; name it once.")


def _check_together(values: Mapping[str, Any]) -> None:
    model, solver, pruning = values["model"], values["solver"], values["pruning"]
    if len(model["widths"]) != len(model["blocks"]):
        raise ConfigError(
            f"model.widths has {len(model['widths'])} stages, but model.blocks has {len(model['blocks'])}; give as many."
        )
    if solver["max_iter"] == 0 and solver["epochs"] == 0:
        raise ConfigError("solver.max_iter and solver.epochs are both 0; give one of them.")
    if pruning["criterion"] not in CRITERIA:
        check_choice("pruning.criterion", pruning["criterion"], tuple(sorted(CRITERIA)))
    for group, rate in pruning["groups"].items():
        check_choice("pruning.groups", group, GROUPS)
        if not (rate == -1 or 0 <= rate < 1):
            raise ConfigError(
                f"pruning.groups.{group} is {rate}; choose -1 (shares the budget), 0 (dense) or a prune rate below 1."
            )
    rewind, transfer = values["rewind"], values["transfer"]
    if rewind["to"] == "pretrained" and not (rewind["weights"] or model["weights"]):
        raise ConfigError(
            "rewind.to is 'pretrained', but neither rewind.weights nor model.weights names a file."
        )
    if transfer["source"] and transfer["ticket"]:
        raise ConfigError("transfer.source and transfer.ticket are both given; give one of them.")
    rounds = len(pruning["targets"]) or pruning["rounds"]
    for number in values["control_rounds"]:
        if not 1 <= number <= rounds:
            raise ConfigError(f"control_rounds has {number}, but the rounds are 1 to {rounds}.")


def _check_rst(values: Mapping[str, Any]) -> None:
    rst, transfer, pruning = values["rst"], values["transfer"], values["pruning"]
    rounds = len(pruning["targets"]) or pruning["rounds"]
    if rounds > 1:
        raise ConfigError(
            f"method 'rst' prunes to one rate, but there are {rounds} rounds; set pruning.targets [], pruning.rounds 1 and "
            "pruning.prune_rate (and rst.cycles for more cycles)."
        )
    if values["controls"]:
        raise ConfigError(
            f"controls is {list(values['controls'])}, but method 'rst' has none; compare with a run of method imp."
        )
    if transfer["source"] or transfer["ticket"]:
        raise ConfigError(
            "method is 'rst', but a transfer trains given tickets; leave method out of it."
        )
    if (rst["mask"] == "ticket") != bool(rst["mask_ticket"]):
        raise ConfigError(
            f"rst.mask is {rst['mask']!r} and rst.mask_ticket {rst['mask_ticket']!r}; the mask 'ticket' needs a ticket "
            "file, and only it."
        )
    if (rst["ramp"] == OF_PRESET) != (rst["hold"] == OF_PRESET):
        raise ConfigError(
            f"rst.ramp is {rst['ramp']} and rst.hold {rst['hold']}; give both, or -1 for both."
        )


def _get(values: Mapping[str, Any], key: str) -> Any:
    value: Any = values
    for part in key.split("."):
        value = value[part]
    return value


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else repr(value)
