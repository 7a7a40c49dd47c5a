"""Which tensor of a source goes to which place of a target; what has no place is listed, or refused."""

import dataclasses
from collections.abc import Collection, Mapping

from lth_det.errors import ConfigError, MaskMismatchError
from lth_det.tickets.differences import list_names
from lth_det.tickets.scope import GROUPS
from lth_det.transfer.names import is_trunk
from lth_det.transfer.source import Source
from lth_det.transfer.target import SHARED_GROUPS, TRUNK_GROUPS, Target

_COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class Match:
    """One tensor that moves: its canonical name, its names on both sides, shape and module group."""

    canonical: str
    source: str
    target: str
    shape: tuple[int, ...]
    group: str


@dataclasses.dataclass(frozen=True)
class Matching:
    """What moves and what does not.

    Attributes:
        groups: Module groups that move.
        matched: What moves, in the target's order.
        source_left: Name in the source -> why it stays there.
        target_left: Name in the target -> why nothing comes.
    """

    groups: tuple[str, ...]
    matched: tuple[Match, ...]
    source_left: Mapping[str, str]
    target_left: Mapping[str, str]


def moved_groups(source: Source, target: Target, groups: Collection[str] | None) -> tuple[str, ...]:
    """Return the module groups that move, in the order of tables.

    Args:
        source: A classifier gives its ResNet (stem, backbone, res5), a detector also FPN, RPN and box head; mask and
            keypoint heads and output layers stay unless they are named.
        target: Groups that it lacks are left out of the default.
        groups: What to move instead; None is the default.

    Raises:
        ConfigError: an unknown group, or one that the target does not have.
    """
    present = set(target.groups.values())
    if groups is None:
        default = SHARED_GROUPS if source.is_detector else TRUNK_GROUPS
        if source.kind in ("magnitude", "checkpoint"):
            default = TRUNK_GROUPS
        return tuple(group for group in default if group in present)
    wrong = [group for group in groups if group not in GROUPS]
    if wrong or not groups:
        raise ConfigError(
            f"--groups has {', '.join(map(repr, wrong)) or 'no name'}; choose from {', '.join(GROUPS)}."
        )
    absent = [group for group in groups if group not in present]
    if absent:
        raise ConfigError(
            f"--groups names {', '.join(absent)}, but the target has only "
            f"{', '.join(group for group in GROUPS if group in present)}."
        )
    return tuple(group for group in GROUPS if group in groups)


def match(source: Source, target: Target, groups: Collection[str] | None = None) -> Matching:
    """Return what goes where.

    A group moves as a whole or not at all: a source that has only some of its parameters, or more blocks than the
    target's ResNet, is another network, and loading the part that fits would pass for success.

    Raises:
        ConfigError: see :func:`moved_groups`.
        MaskMismatchError: nothing matches, shapes differ, or a group matches in part; everything is listed.
    """
    moving = moved_groups(source, target, groups)
    places, shapes = target.canonical, _source_shapes(source)
    matched, target_left, wrong = [], {}, []
    for canonical, name in places.items():
        group = target.groups[name]
        if group not in moving:
            target_left[name] = f"module group {group} is not moved"
        elif canonical not in shapes:
            target_left[name] = "not in the source"
        elif shapes[canonical] != target.shapes[name]:
            wrong.append(f"{name} {target.shapes[name]} from {shapes[canonical]}")
        else:
            matched.append(
                Match(
                    canonical,
                    source.named.file_names[canonical],
                    name,
                    target.shapes[name],
                    group,
                )
            )
    if wrong:
        raise MaskMismatchError(
            f"{source.label} does not fit the target: these shapes differ: {list_names(wrong)}; choose a target of the "
            "same architecture, or --groups without those parts."
        )
    found = Matching(
        moving, tuple(matched), _source_left(source, target, places, moving), target_left
    )
    _refuse_parts(source, target, found)
    return found


def _source_shapes(source: Source) -> dict[str, tuple[int, ...]]:
    shapes = {name: tuple(value.shape) for name, value in source.masks.items()}
    return shapes | {name: tuple(value.shape) for name, value in source.weights.items()}


def _source_left(
    source: Source, target: Target, places: Mapping[str, str], moving: Collection[str]
) -> dict[str, str]:
    left = dict(source.named.left_out)
    for canonical, name in source.named.file_names.items():
        if canonical not in places:
            left[name] = _no_place(canonical, places)
        elif target.groups[places[canonical]] not in moving:
            left[name] = f"module group {target.groups[places[canonical]]} is not moved"
    return left


def _no_place(canonical: str, places: Mapping[str, str]) -> str:
    if canonical.endswith(_COUNTER):
        return "counter that the target's norm layers do not have"
    stage = canonical.split(".", maxsplit=1)[0]
    if is_trunk(canonical) and not any(place.startswith(f"{stage}.") for place in places):
        return f"the target has no {stage}"
    return "the target has no such tensor"


def _refuse_parts(source: Source, target: Target, found: Matching) -> None:
    if not any(match.target in target.parameters for match in found.matched):
        raise MaskMismatchError(
            f"Nothing of {source.label} has a place in the module groups {', '.join(found.groups)} of the target."
        )
    extra = [
        name
        for canonical, name in source.named.file_names.items()
        if found.source_left.get(name) == "the target has no such tensor" and is_trunk(canonical)
    ]
    missing: list[str] = []
    if source.weights:
        arrived = {match.group for match in found.matched}
        missing = [
            name
            for name, reason in found.target_left.items()
            if reason == "not in the source"
            and name in target.parameters
            and (target.groups[name] in arrived or target.groups[name] in TRUNK_GROUPS)
        ]
    if extra or missing:
        parts = [f"the target has no {list_names(extra)}"] * bool(extra)
        parts += [f"the source has no {list_names(missing)}"] * bool(missing)
        raise MaskMismatchError(
            f"{source.label} is another network than the target's: {'; '.join(parts)}; choose a target of the same "
            "depth and norm layers, or --groups without those parts."
        )
