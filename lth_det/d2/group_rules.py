"""Which module group a module belongs to: a table from module types to the groups of their parts.

A rule names a module type and says in which group the module itself (key ``""``) and its children (by attribute name)
are. The rules of a type hold for its subclasses too; the most derived type wins. A module without a rule is in the
group of the module that contains it, and the outermost one is ``other``.

The groups are read from types and attributes, not from parameter names: in ``backbone.fpn_lateral2.weight`` and
``backbone.top_block.p6.weight`` only the first name says ``fpn``.
"""

from collections.abc import Mapping

from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone
from detectron2.modeling.backbone import FPN, RegNet, ResNet
from detectron2.modeling.meta_arch import GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.meta_arch.fcos import FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import (
    BaseKeypointRCNNHead,
    BaseMaskRCNNHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    ROIHeads,
)
from torch import nn

from lth_det.errors import ConfigError
from lth_det.tickets.scope import GROUPS

FALLBACK_GROUP = "other"

_RULES: dict[type[nn.Module], dict[str, str]] = {}


def register_group_rule(module_type: type[nn.Module], groups: Mapping[str, str]) -> None:
    """Put modules of a type, or their parts, into module groups; the way to add one's own detector.

    A rule registered later for the same type wins part by part, so the built-in rules can be changed too. Names of
    children that a module lacks are passed over, because heads are often optional.

    Args:
        module_type: the class whose instances (and those of its subclasses) the rule is for.
        groups: ``""`` (the module itself) or the attribute name of a direct child -> one of
            :data:`lth_det.tickets.scope.GROUPS`. A module's own ``""`` rule wins over what its container says.

    Raises:
        ConfigError: a group has an unknown name.

    Example:
        A head with a tower of convolutions and an output layer::

            register_group_rule(MyHead, {"tower": "box_head", "logits": "predictors"})
    """
    for part, group in groups.items():
        if group not in GROUPS:
            raise ConfigError(
                f"The group rule of {module_type.__name__} puts {part or 'the module'!r} into {group!r}; "
                f"choose one of {', '.join(GROUPS)}."
            )
    _RULES.setdefault(module_type, {}).update(groups)


def module_groups(model: nn.Module) -> dict[str, str]:
    """Return the group of every module of ``model`` by its qualified name (``""`` is the model itself).

    A module that is reachable by several names is listed under the first one, as ``named_parameters`` does.
    """
    groups: dict[str, str] = {}
    for path, module in model.named_modules():
        parent_path, _, child = path.rpartition(".")
        inherited = groups[parent_path] if path else FALLBACK_GROUP
        if path:
            inherited = _rule(model.get_submodule(parent_path)).get(child, inherited)
        groups[path] = _rule(module).get("", inherited)
    return groups


def shortcut_modules(model: nn.Module) -> frozenset[str]:
    """Return the qualified names of all modules in the shortcuts of residual blocks (1x1 convolutions and norms)."""
    names = set()
    for path, module in model.named_modules():
        shortcut = getattr(module, "shortcut", None)
        if isinstance(module, CNNBlockBase) and isinstance(shortcut, nn.Module):
            prefix = f"{path}.shortcut" if path else "shortcut"
            names |= {
                f"{prefix}.{name}" if name else prefix for name, _ in shortcut.named_modules()
            }
    return frozenset(names)


def _rule(module: nn.Module) -> dict[str, str]:
    merged: dict[str, str] = {}
    for base in reversed(type(module).__mro__):
        merged.update(_RULES.get(base, {}))
    return merged


def _register_built_in_rules() -> None:
    register_group_rule(Backbone, {"": "backbone"})
    register_group_rule(ResNet, {"stem": "stem", "linear": "predictors"})
    register_group_rule(RegNet, {"stem": "stem"})
    # Lateral and output convolutions, and the extra levels P6 and P7, which are FPN.top_block.
    register_group_rule(FPN, {"": "fpn", "bottom_up": "backbone"})

    register_group_rule(GeneralizedRCNN, {"proposal_generator": "rpn"})
    register_group_rule(ProposalNetwork, {"proposal_generator": "rpn"})
    register_group_rule(RPN, {"": "rpn"})
    register_group_rule(
        StandardRPNHead, {"objectness_logits": "predictors", "anchor_deltas": "predictors"}
    )

    register_group_rule(
        ROIHeads,
        {
            "box_head": "box_head",
            "mask_head": "mask_head",
            "keypoint_head": "keypoint_head",
            "box_predictor": "predictors",
            "res5": "res5",  # C4: the last ResNet stage works on each region
        },
    )
    register_group_rule(FastRCNNOutputLayers, {"": "predictors"})
    register_group_rule(BaseMaskRCNNHead, {"": "mask_head"})
    register_group_rule(MaskRCNNConvUpsampleHead, {"predictor": "predictors"})
    register_group_rule(BaseKeypointRCNNHead, {"": "keypoint_head"})
    register_group_rule(KRCNNConvDeconvUpsampleHead, {"score_lowres": "predictors"})

    # One-stage detectors: the two towers do what the box head does in an R-CNN.
    register_group_rule(
        RetinaNetHead, {"": "box_head", "cls_score": "predictors", "bbox_pred": "predictors"}
    )
    register_group_rule(FCOSHead, {"ctrness": "predictors"})
    # Semantic segmentation has no group of its own; only its output layer is known to be one.
    register_group_rule(SemSegFPNHead, {"": FALLBACK_GROUP, "predictor": "predictors"})


_register_built_in_rules()
