"""The parameter table of a detector: module group of every parameter, and whether it may be pruned or why not."""

from collections.abc import Collection, Mapping
from typing import Any

from detectron2.layers import CycleBatchNormList, DeformConv, ModulatedDeformConv
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase as BatchNormBase
from torch.nn.modules.conv import _ConvNd as ConvolutionBase
from torch.nn.parallel import DistributedDataParallel

from lth_det.d2.config import GROUP_KEYS
from lth_det.d2.group_rules import (
    FALLBACK_GROUP,
    module_groups,
    register_group_rule,
    shortcut_modules,
)
from lth_det.errors import ConfigError
from lth_det.tickets.scope import GROUPS, ParameterTable
from lth_det.tickets.scope import parameter_table as build_table

__all__ = [
    "DENSE_GROUPS",
    "PRESETS",
    "module_groups",
    "parameter_table",
    "parameter_table_from_cfg",
    "register_group_rule",
]

PRESETS = ("default", "paper")
DENSE_GROUPS = {
    # Few weights, and every feature or every output depends on them. Unknown parts may hold output layers.
    "default": ("stem", "predictors", FALLBACK_GROUP),
    # The predecessor's name rule took the stem; no output layer's name matched it. C4 models: see below.
    "paper": ("predictors", FALLBACK_GROUP),
}
"""Groups that stay dense under each preset when nothing else is said."""

# With grouped and transposed convolutions, and detectron2.layers.Conv2d, which is a torch.nn.Conv2d.
_WEIGHT_LAYERS = (ConvolutionBase, nn.Linear, DeformConv, ModulatedDeformConv)
_NORM_LAYERS = (BatchNormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, CycleBatchNormList)


def parameter_table(
    model: nn.Module, *, preset: str, dense_groups: Collection[str] | None = None
) -> ParameterTable:
    """Return all parameters of a detector with their groups, and which of them the preset prunes.

    Only shapes and module types are read, so a model on the ``meta`` device will do. A parameter shared by several
    modules or applied at several feature levels is listed once. Biases and the parameters of norm layers are never
    prunable; each entry says why.

    * ``default``: the weights of all convolutions (transposed too) and linear layers, shortcut convolutions
      included, that are trained: a frozen weight cannot adapt to the zeros around it.
    * ``paper``: the set of Girish et al. (CVPR 2021), whose rule for COCO was "the name has 'weight' and one of conv,
      fpn, fcn, fc1, fc2": stem, block, FPN, RPN and head weights even where frozen, without the shortcuts of residual
      blocks and without output layers. Ours is decided by module types, so a norm layer inside a convolution
      (``conv1.norm.weight``) does not slip in; RetinaNet, where that rule finds only the backbone and the FPN's
      lateral and output convolutions, is treated like the others. Their code for C4 models could not reach the stem,
      so there it stays dense.

    Args:
        model: a Detectron2 model, wrapped in ``DistributedDataParallel`` or not; names are those without ``module.``.
        preset: ``default`` or ``paper``.
        dense_groups: groups that stay dense; None means :data:`DENSE_GROUPS` of the preset.

    Raises:
        ConfigError: an unknown preset or group.
    """
    if preset not in PRESETS:
        raise ConfigError(f"The preset is {preset!r}; choose one of {', '.join(PRESETS)}.")
    model = _unwrap(model)
    groups = module_groups(model)
    if dense_groups is None:
        dense = frozenset(DENSE_GROUPS[preset])
        if preset == "paper" and _is_c4(groups):
            dense |= {"stem"}
    else:
        dense = frozenset(dense_groups)
    unknown = sorted(dense - set(GROUPS))
    if unknown:
        raise ConfigError(
            f"There is no module group {', '.join(map(repr, unknown))}; choose from {', '.join(GROUPS)}."
        )
    return build_table(
        model.named_parameters(),
        group_of=lambda name, _: groups[_owner(name)],
        reason_not_prunable=_Prunability(model, groups, dense, paper=preset == "paper"),
    )


def parameter_table_from_cfg(cfg: Any, model: nn.Module) -> ParameterTable:
    """Return the table that ``cfg.LTH.PRESET``, ``GROUP_PRUNE_RATE`` and ``PRUNE_ONLY`` ask for.

    With ``PRUNE_ONLY`` exactly the groups it names are prunable, under every preset. Without it a group whose rate is 0 stays dense; ``other`` (parts without a group rule) has no key and stays dense. Under the
    preset ``paper`` the stem is part of the pool (except in C4 models) although ``GROUP_PRUNE_RATE.STEM`` is 0 by
    default.

    Raises:
        ConfigError: an unknown preset, or a group of ``PRUNE_ONLY`` has no prunable weight in this model.
    """
    if cfg.LTH.PRUNE_ONLY:
        return _table_of_groups(model, cfg.LTH.PRESET, tuple(cfg.LTH.PRUNE_ONLY))
    rates = cfg.LTH.GROUP_PRUNE_RATE
    dense = {key.lower() for key in GROUP_KEYS if rates[key] == 0} | {FALLBACK_GROUP}
    if cfg.LTH.PRESET == "paper" and not _is_c4(module_groups(_unwrap(model))):
        dense.discard("stem")
    return parameter_table(model, preset=cfg.LTH.PRESET, dense_groups=dense)


def _table_of_groups(model: nn.Module, preset: str, groups: tuple[str, ...]) -> ParameterTable:
    table = parameter_table(
        model, preset=preset, dense_groups=[group for group in GROUPS if group not in groups]
    )
    empty = [group for group in groups if not any(e.prunable for e in table.in_group(group))]
    if empty:
        frozen = any(entry.reason == "frozen" for group in empty for entry in table.in_group(group))
        raise ConfigError(
            f"LTH.PRUNE_ONLY names {', '.join(empty)}, but this model has no prunable weight there "
            f"({'it is frozen' if frozen else 'preset ' + preset}); the model has the groups {', '.join(table.groups)}."
        )
    return table


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _is_c4(groups: Mapping[str, str]) -> bool:
    return "res5" in groups.values()


class _Prunability:
    """Parameter name -> why it may not be pruned, "" if it may."""

    def __init__(
        self, model: nn.Module, groups: Mapping[str, str], dense: frozenset[str], *, paper: bool
    ) -> None:
        self._modules = dict(model.named_modules())
        self._groups = groups
        self._dense = dense
        self._paper = paper
        self._shortcuts = shortcut_modules(model) if paper else frozenset()

    def __call__(self, name: str, parameter: Tensor) -> str:
        owner = _owner(name)
        reason = _kind_reason(self._modules[owner], name.rpartition(".")[2])
        if reason:
            return reason
        if owner in self._shortcuts:
            return "shortcut convolution (preset paper)"
        if not self._paper and not parameter.requires_grad:
            return "frozen"
        if self._groups[owner] in self._dense:
            return f"module group {self._groups[owner]} stays dense"
        return ""


def _kind_reason(owner: nn.Module, attribute: str) -> str:
    if isinstance(owner, _NORM_LAYERS):
        return "norm layer"
    if attribute == "bias" or attribute.endswith("_bias"):
        return "bias"
    if isinstance(owner, _WEIGHT_LAYERS) and attribute == "weight":
        return ""
    return "not the weight of a convolution or linear layer"


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
