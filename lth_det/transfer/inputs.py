"""Pre-processing and stride of source and target: equal, set right, folded into the weights, or refused."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lth_det.errors import ConfigError, TicketFormatError
from lth_det.transfer.preprocessing import (
    InputFacts,
    Preprocessing,
    differing_options,
    options_for,
    options_text,
)
from lth_det.transfer.source import Source
from lth_det.transfer.target import Target

POLICIES = ("refuse", "fix", "fold", "accept")
"""What to do when source and target differ: see :func:`settle_inputs`."""

REQUIRED_KEY = "required_options"
"""The entry of ``Provenance.extra`` with the ``KEY VALUE`` pairs that runs of a ticket must have, as JSON."""

STEM = "stem.conv1.weight"


@dataclasses.dataclass(frozen=True)
class SettledInputs:
    """What came out of the comparison.

    Attributes:
        required: ``KEY VALUE`` pairs that a run with the ticket must have.
        accepted: Pairs that would have been right and that the policy ``accept`` passes over.
        fold_to: The pre-processing that the first convolution is to be rewritten for, None if it stays.
        facts: What the values of the ticket expect from now on.
        note: One sentence for the report.
    """

    required: list[tuple[str, Any]]
    accepted: list[tuple[str, Any]]
    fold_to: Preprocessing | None
    facts: InputFacts
    note: str


def settle_inputs(
    source: Source,
    target: Target,
    *,
    policy: str,
    values_move: bool,
    stem_moves: bool,
    stem_masked: bool,
) -> SettledInputs:
    """Compare what the source's input layer expects with what the target's configuration feeds it.

    The values of a network are worth nothing behind another channel order, scale or stride; a mask alone is a matter of
    the channel order only, and of that only where it names the stem.

    Args:
        source: Its facts may be unknown.
        target: Its options.
        policy: ``refuse`` a difference; ``fix`` it by options that runs of the ticket must have; ``fold`` the difference
            of channel order and deviation into the first convolution; ``accept`` it, as the predecessor did.
        values_move: Whether the source's values go into the ticket.
        stem_moves: Whether the first convolution is among what moves.
        stem_masked: Whether the mask names the first convolution.

    Raises:
        ConfigError: they differ and the policy is ``refuse``; the facts of a checkpoint are unknown; folding is not
            possible (other means, another stride, or a first convolution that does not move).
    """
    if policy not in POLICIES:
        raise ConfigError(f"The policy is {policy!r}; choose one of {', '.join(POLICIES)}.")
    required = options_for(source.inputs, bottleneck=target.has_bottlenecks)
    if not values_move:
        required = [pair for pair in required if pair[0] == "INPUT.FORMAT" and stem_masked]
    elif source.inputs.preprocessing is None and source.provenance is None and policy != "accept":
        raise ConfigError(
            f"{source.label} does not say which pre-processing its weights were trained with; add "
            "--source-preprocessing torchvision, msra or target (the same as the target's configuration)."
        )
    differing = differing_options(required, target.options)
    facts = source.inputs if values_move and source.inputs.preprocessing else target.inputs
    if not differing:
        return SettledInputs(required, [], None, facts, _agreement(source, required))
    if policy == "accept":
        note = f"accepted although it differs from the source ({options_text(differing)})"
        return SettledInputs([], differing, None, target.inputs, note)
    if policy == "fix":
        note = f"runs of this ticket need {options_text(differing)}"
        return SettledInputs(required, [], None, facts, note)
    if policy == "fold":
        return _fold(source, target, differing, stem_moves=stem_moves)
    raise ConfigError(
        f"{source.label} expects another input ({source.inputs.origin}) than the target's configuration gives: add "
        f"{options_text(differing)} to this command and to the run's, or use --fix to have the ticket demand it, or "
        "--preset paper to accept the difference as the predecessor did."
    )


def _agreement(source: Source, required: list[tuple[str, Any]]) -> str:
    if source.inputs.preprocessing is None:
        return f"not checked: {source.inputs.origin} what its values were trained with"
    if not required:
        return "not checked: the mask alone moves, and it does not depend on it"
    return f"the target's configuration agrees with the source ({source.inputs.origin})"


def _fold(
    source: Source, target: Target, differing: list[tuple[str, Any]], *, stem_moves: bool
) -> SettledInputs:
    theirs, ours = source.inputs.preprocessing, target.inputs.preprocessing
    impossible = None
    if not stem_moves:
        impossible = "the first convolution does not move, so there is nothing to rewrite"
    elif any(key == "MODEL.RESNETS.STRIDE_IN_1X1" for key, _ in differing):
        impossible = "the stride of the blocks cannot be folded"
    elif theirs is None or ours is None:
        impossible = "the pre-processing of one side is not known"
    elif not theirs.in_format(ours.format).same_numbers(ours, "mean"):
        impossible = "the means differ, and the zeros at the image border would mean another colour"
    if impossible is not None:
        raise ConfigError(
            f"--fold-preprocessing is not possible: {impossible}; use --fix, or add {options_text(differing)}."
        )
    keys = [
        pair for pair in target.options.items() if pair[0].startswith(("INPUT.", "MODEL.PIXEL"))
    ]
    note = f"the first convolution is rewritten for {options_text(keys)}"
    facts = dataclasses.replace(source.inputs, preprocessing=ours, origin="folded")
    return SettledInputs(keys, [], ours, facts, note)


def fold_stem_weight(weight: Tensor, source: Preprocessing, target: Preprocessing) -> Tensor:
    """Return the first convolution's weight for images pre-processed as ``target`` in place of ``source``.

    With equal means (x - m) / s_source = ((x - m) / s_target) (s_target / s_source), so that each input channel is
    scaled; another channel order turns the input channels round. The outputs are equal up to rounding.

    Args:
        weight: (out, 3, height, width), for images in ``source.format``.
        source: What the weight was trained with.
        target: With the same means, in its own channel order.
    """
    scales = [
        new / old for new, old in zip(target.std, source.in_format(target.format).std, strict=True)
    ]
    turned = fold_stem_mask(weight, source, target)
    return turned * weight.new_tensor(scales).reshape(1, 3, 1, 1)


def fold_stem_mask(mask: Tensor, source: Preprocessing, target: Preprocessing) -> Tensor:
    """Return a tensor over the first convolution's weight with its input channels in the target's order."""
    return mask if source.format == target.format else mask.flip(1)


def required_options_of(extra: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Return the options that a ticket demands of its runs; empty if it demands none.

    Raises:
        TicketFormatError: the entry is not a list of pairs.
    """
    try:
        pairs = json.loads(extra.get(REQUIRED_KEY, "[]"))
        return [(str(key), value) for key, value in pairs]
    except (ValueError, TypeError, RecursionError) as error:
        raise TicketFormatError(
            f"The ticket's entry {REQUIRED_KEY} is no list of KEY, VALUE pairs; the file is damaged: make it again with "
            "tools/transfer_ticket.py."
        ) from error
