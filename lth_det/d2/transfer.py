"""A Detectron2 configuration as the target of a transfer, and what a run checks about a transferred ticket."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth_det.d2.building import build_configured
from lth_det.d2.checkpoint import unwrap
from lth_det.d2.module_groups import module_groups, parameter_table, parameter_table_from_cfg
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.d2.train_data import kept_random_state, seed_everything
from lth_det.errors import ConfigError
from lth_det.tickets.rewinding import capture_weights
from lth_det.tickets.scope import GROUPS, ParameterTable
from lth_det.tickets.ticket import Ticket
from lth_det.transfer.inputs import required_options_of
from lth_det.transfer.preprocessing import (
    InputFacts,
    Preprocessing,
    differing_options,
    facts_to_extra,
    options_text,
)
from lth_det.transfer.target import Target

INPUT_KEYS = (
    "INPUT.FORMAT",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.STRIDE_IN_1X1",
)
"""The options that a network's values depend on beside the network itself."""


def transfer_target(
    cfg: Any, *, seed: int | None = None, groups: Collection[str] | None = None
) -> Target:
    """Return the configured detector as the target of a transfer; no memory is taken for its weights yet.

    Args:
        cfg: from :func:`~lth_det.d2.setup_cfg.load_config`. ``LTH.PRESET`` and ``LTH.GROUP_PRUNE_RATE`` say what the
            kind ``magnitude`` may prune.
        seed: of the initialisation of what the source does not have; None = ``SEED`` of the configuration.
        groups: these module groups alone are prunable, whatever ``GROUP_PRUNE_RATE`` says; None leaves it to the
            configuration.

    Raises:
        ConfigError: an unknown group, a network that cannot be built, or ``MODEL.WEIGHTS`` names a file that does not
            exist.
    """
    number = max(cfg.SEED, 0) if seed is None else seed
    model = _meta_model(cfg)
    owners = module_groups(model)
    state = model.state_dict()
    return Target(
        table=_table(cfg, model, groups),
        shapes={name: tuple(value.shape) for name, value in state.items()},
        groups={name: owners[name.rpartition(".")[0]] for name in state},
        inputs=input_facts(cfg),
        options={key: _option(cfg, key) for key in INPUT_KEYS},
        initial=lambda: _initial_weights(cfg, number),
        seed=number,
        weights_label=cfg.MODEL.WEIGHTS or f"random initialisation (seed {number})",
    )


def input_facts(cfg: Any) -> InputFacts:
    """Return what a configuration feeds its network."""
    fed = Preprocessing(
        cfg.INPUT.FORMAT,
        tuple(float(value) for value in cfg.MODEL.PIXEL_MEAN),
        tuple(float(value) for value in cfg.MODEL.PIXEL_STD),
    )
    return InputFacts(fed, bool(cfg.MODEL.RESNETS.STRIDE_IN_1X1), "the target's configuration")


def input_extra(cfg: Any) -> dict[str, str]:
    """Return what the tickets of a run say about their network's input, so that they can be transferred."""
    return facts_to_extra(input_facts(cfg))


def check_required_options(cfg: Any, ticket: Ticket) -> None:
    """Check that a run gives a transferred ticket the input that its weights were trained with.

    Raises:
        ConfigError: the configuration contradicts the ticket; the sentence has the ``KEY VALUE`` pairs that mend it.
    """
    required = required_options_of(ticket.provenance.extra)
    present = {key: _option(cfg, key) for key, _ in required}
    differing = differing_options(required, present)
    if differing:
        raise ConfigError(
            f"LTH.TICKET {cfg.LTH.TICKET} holds weights that were trained with another input than this configuration "
            f"gives; add {options_text(differing)} to the command."
        )


def _option(cfg: Any, key: str) -> Any:
    value = cfg
    for part in key.split("."):
        try:
            value = value[part]
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"The ticket demands the option {key}, which does not exist here."
            ) from error
    return list(value) if isinstance(value, tuple | list) else value


def _table(cfg: Any, model: nn.Module, groups: Collection[str] | None) -> ParameterTable:
    if groups is None:
        return parameter_table_from_cfg(cfg, model)
    dense = [group for group in GROUPS if group not in groups]
    return parameter_table(model, preset=cfg.LTH.PRESET, dense_groups=dense)


def _meta_model(cfg: Any) -> nn.Module:
    copy = cfg.clone()
    copy.defrost()
    copy.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_configured(copy)


def _initial_weights(cfg: Any, seed: int) -> dict[str, Tensor]:
    """Return what a run of this configuration and seed starts from: the same draw, then ``MODEL.WEIGHTS``."""
    copy = cfg.clone()
    copy.defrost()
    copy.MODEL.DEVICE = "cpu"
    path = copy.MODEL.WEIGHTS
    if path and "://" not in path and not Path(path).is_file():
        raise ConfigError(
            f"MODEL.WEIGHTS names {path}, which does not exist; check the path or use ''."
        )
    with kept_random_state():
        seed_everything(seed)
        model = build_configured(copy)
    if path:
        StrictCheckpointer(model).load(path)
    return capture_weights(unwrap(model).state_dict())
