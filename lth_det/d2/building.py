"""A configured network, or one sentence about why there is none."""

from typing import Any

from detectron2.modeling import build_model
from torch import nn

from lth_det.errors import ConfigError

# What Detectron2's builders raise for options that contradict each other; an unknown name is a KeyError or an assertion.
_UNBUILDABLE = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    NotImplementedError,
)
_LONGEST = 200


def build_configured(cfg: Any) -> nn.Module:
    """Return Detectron2's ``build_model(cfg)``.

    Raises:
        ConfigError: the node ``MODEL`` describes no network.
    """
    try:
        model: nn.Module = build_model(cfg)
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split())[:_LONGEST]
        raise ConfigError(
            f"Detectron2 cannot build the network of this configuration ({type(error).__name__}: {reason}); check the "
            "options in MODEL that name parts, such as META_ARCHITECTURE, BACKBONE.NAME, OUT_FEATURES and IN_FEATURES."
        ) from error
    return model
