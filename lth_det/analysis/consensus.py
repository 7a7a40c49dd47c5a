"""Difficulty of single objects by consensus: how many of several reference runs find them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lth_det.analysis.attributes import Attribute, edges_to_bins
from lth_det.analysis.backends import Backend
from lth_det.analysis.checks import FloatArray
from lth_det.analysis.columns import GroundTruth
from lth_det.analysis.evaluate import match_file
from lth_det.analysis.found import by_majority, find_objects
from lth_det.analysis.inputs import OneResult
from lth_det.analysis.options import Options
from lth_det.analysis.prepare import make_plan
from lth_det.analysis.results_io import detections_of, load_results

AXIS = "consensus"


def consensus_attributes(
    truth: GroundTruth,
    iou_types: Sequence[str],
    models: Mapping[str, Sequence[OneResult]],
    options: Options,
    *,
    backend: Backend,
) -> dict[str, tuple[Attribute, ...]]:
    """Return per IoU type the attribute ``consensus``: the share of the runs ``options.consensus`` that find an object.

    "Found" is as in :mod:`lth_det.analysis.found`. Without such runs there is no attribute. The bins mean nothing for
    a run that takes part in the grading; :func:`blank` removes those numbers.

    Raises:
        InputError: a result file cannot be used.
    """
    if not options.consensus:
        return dict.fromkeys(iou_types, ())
    plain = replace(options, crosses=(), labels={})
    share = {t: np.zeros(truth.ids.size) for t in iou_types}
    for name in options.consensus:
        found: dict[str, list[Any]] = {t: [] for t in iou_types}
        for file in models[name]:
            loaded = load_results(file, name=name, backend=backend)
            for iou_type in iou_types:
                setting = make_plan(truth, iou_type, plain, backend=backend).setting
                detections = detections_of(loaded, truth, iou_type=iou_type)
                found[iou_type].append(
                    find_objects(setting, match_file(setting, detections), detections)
                )
        for iou_type in iou_types:
            rows = make_plan(truth, iou_type, plain, backend=backend).setting.cells.row
            share[iou_type][rows] += by_majority(found[iou_type]) / len(options.consensus)
    return {t: (_attribute(values, options.consensus),) for t, values in share.items()}


def _attribute(share: FloatArray, names: Sequence[str]) -> Attribute:
    return Attribute(
        name=AXIS,
        title="Consensus of reference runs",
        unit="share of the reference runs that find the object",
        source=f"objects found at 0.5 above the best-F1 score by {', '.join(names)}",
        bins=edges_to_bins(("rarely", "sometimes", "mostly"), (0.0, 0.334, 0.666, np.inf)),
        objects=lambda _: share,
    )


def blank(value: dict[str, Any], names: Sequence[str]) -> None:
    """Set the consensus bins of the runs ``names`` that did the grading, and comparisons with them, to None, in place."""
    for name in names:
        for model in value["models"][name].values():
            _blank_bins(model)
    for comparison in value["comparisons"]:
        if comparison["model"] in names or comparison["reference"] in names:
            _blank_bins(comparison)


def _blank_bins(part: dict[str, Any]) -> None:
    for key, bins in part.items():
        if AXIS in key.removeprefix("by_").split("_x_"):
            for cell in bins.values():
                for number in set(cell) - {"objects", "images", "classes", "thin"}:
                    cell[number] = None
