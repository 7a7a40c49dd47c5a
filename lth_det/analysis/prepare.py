"""From options to the evaluation setting of one IoU type: attributes, crosses, groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_det.analysis.attributes import (
    FINE_SIZE,
    Attribute,
    default_attributes,
    external_attribute,
    size_bins,
)
from lth_det.analysis.backends import Backend
from lth_det.analysis.cells import sort_truth
from lth_det.analysis.checks import BoolArray
from lth_det.analysis.columns import GroundTruth
from lth_det.analysis.evaluate import DETECTION_LIMITS, Setting
from lth_det.analysis.groups import group_table, make_groups
from lth_det.analysis.options import Options
from lth_det.analysis.overlap import resolve_sigmas
from lth_det.errors import InputError

CLASS_AXES = ("frequency", "difficulty")


@dataclass(frozen=True)
class Plan:
    """One IoU type: the setting, its attributes, and the crosses split into attributes and class axes."""

    setting: Setting
    attributes: tuple[Attribute, ...]
    crosses: tuple[tuple[tuple[Attribute, ...], tuple[str, ...]], ...]


def make_plan(
    truth: GroundTruth,
    iou_type: str,
    options: Options,
    *,
    backend: Backend,
    extra: Sequence[Attribute] = (),
) -> Plan:
    """Return the plan of one IoU type; ``extra`` are attributes beyond the default and external ones.

    Raises:
        InputError: an unknown axis in a cross, or keypoint constants that do not fit.
    """
    attributes = list(default_attributes(iou_type))
    if options.size_edges:
        own = size_bins(options.size_edges)
        attributes = [replace(a, bins=own) if a is FINE_SIZE else a for a in attributes]
    attributes += [
        external_attribute(name, dict(labels), "labels given by the user")
        for name, labels in options.labels.items()
    ]
    attributes += list(extra)
    crosses = tuple(_cross(names, attributes) for names in options.crosses)
    object_crosses = {a for a, _ in crosses if len(a) > 1}
    groups = make_groups(attributes, sorted(object_crosses, key=lambda c: [a.name for a in c]))
    cells = sort_truth(truth, iou_type)
    table = group_table(groups, truth, cells)
    sizes = [i for name, i in table.of_axis("size").items() if name in ("small", "medium", "large")]
    setting = Setting(
        iou_type=iou_type,
        truth=truth,
        cells=cells,
        table=table,
        backend=backend,
        limits=DETECTION_LIMITS[iou_type],
        sigmas=resolve_sigmas(truth, options.keypoint_sigmas) if iou_type == "keypoints" else None,
        curve_groups=(0, *sizes),
    )
    return Plan(setting, tuple(attributes), crosses)


def _cross(
    names: Sequence[str], attributes: Sequence[Attribute]
) -> tuple[tuple[Attribute, ...], tuple[str, ...]]:
    known: dict[str, Attribute] = {}
    for attribute in attributes:
        known.setdefault(attribute.axis, attribute)  # `size` is the coarse one: it comes first
    known |= {a.name: a for a in attributes if a.name not in known}
    unknown = [n for n in names if n not in known and n not in CLASS_AXES]
    if unknown or len(names) < 2 or len(set(names)) < len(names):
        choices = ", ".join((*known, *CLASS_AXES))
        raise InputError(
            f"--cross {','.join(names)}: name two or more different axes of {choices}."
        )
    return (
        tuple(known[n] for n in names if n in known),
        tuple(n for n in names if n in CLASS_AXES),
    )


def image_halves(images: int, seed: int) -> tuple[BoolArray, BoolArray]:
    """Return two random halves of the images (I,), for cross-fitting."""
    first = np.random.default_rng([seed, 2]).permutation(images) < images // 2
    return first, ~first
