"""The parameters of a classifier: module groups, and which may be pruned."""

from torch import Tensor, nn

from lth_det.classify.config import ClassifyConfig
from lth_det.tickets.scope import ParameterTable, parameter_table

STEM_MODULES = ("conv1", "bn1")
HEAD = "fc"


def group_of(name: str) -> str:
    """Return ``stem``, ``backbone`` or ``head`` for a parameter of a ResNet with torchvision's names."""
    first = name.split(".", maxsplit=1)[0]
    if first in STEM_MODULES:
        return "stem"
    return "head" if first == HEAD else "backbone"


def classifier_table(model: nn.Module, config: ClassifyConfig) -> ParameterTable:
    """Return the parameter table of a classifier.

    Prunable are the weights of convolutions and linear layers (2 and more dimensions) in the groups that the
    configuration does not leave dense. Whether a layer is frozen plays no part: in a transfer to frozen convolutions
    the mask is theirs all the same.
    """

    def reason(name: str, parameter: Tensor) -> str:
        if parameter.ndim < 2:
            return "bias" if name.endswith(".bias") else "normalisation"
        group = group_of(name)
        return "" if config.group_rate(group) != 0 else f"{group} stays dense"

    return parameter_table(model.named_parameters(), lambda name, parameter: group_of(name), reason)
