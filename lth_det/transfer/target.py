"""What a ticket is transferred to: the names, shapes and module groups of a detector, and its input."""

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from lth_det.tickets.scope import ParameterTable
from lth_det.transfer.names import canonical_detector_name
from lth_det.transfer.preprocessing import InputFacts

TRUNK_GROUPS = ("stem", "backbone", "res5")
"""The module groups that hold the ResNet."""

SHARED_GROUPS = (*TRUNK_GROUPS, "fpn", "rpn", "box_head")
"""What two detectors of different tasks share (Girish et al., CVPR 2021, 4.3): all but task heads and predictors."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A detector as the goal of a transfer.

    Attributes:
        table: Its parameters, with what its configuration says about pruning.
        shapes: Name in the state dict -> shape; parameters and buffers.
        groups: Name in the state dict -> module group.
        inputs: What its configuration feeds it.
        options: The configuration's value of each key that the input side depends on.
        initial: Returns the state dict that a run would start from.
        seed: That ``initial`` draws with.
        weights_label: Where ``initial`` comes from, in words.
    """

    table: ParameterTable
    shapes: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, str]
    inputs: InputFacts
    options: Mapping[str, object]
    initial: Callable[[], Mapping[str, Tensor]]
    seed: int
    weights_label: str

    @property
    def canonical(self) -> dict[str, str]:
        """Canonical name -> name in the state dict."""
        return {canonical_detector_name(name): name for name in self.shapes}

    @property
    def parameters(self) -> frozenset[str]:
        """Names of parameters; the others are buffers."""
        return frozenset(entry.name for entry in self.table)

    @property
    def has_bottlenecks(self) -> bool:
        """Whether the blocks have three convolutions, of which one of two may have the stride."""
        return any(name.startswith("res2.0.conv3.") for name in self.canonical)

    def weight_names(self) -> frozenset[str]:
        """Return the parameters that a mask may name: convolutions and linear layers."""
        return frozenset(entry.name for entry in self.table if len(entry.shape) > 1)
