"""The AP of every bin as flat metrics, in Detectron2's manner: percent, ``AP-axis-bin``."""

import math
from collections.abc import Mapping
from typing import Any


def bin_metrics(value: Mapping[str, Any], model: str) -> dict[str, dict[str, float]]:
    """Return ``{iou_type: {"AP-size-small": 12.3, ...}}`` in 0-100 for the plain axes of one model.

    Crosses and classes are left out (classes are already among Detectron2's metrics). NaN: not computable.

    Args:
        value: the JSON object of an analysis.
        model: name of the model.
    """
    found: dict[str, dict[str, float]] = {}
    for iou_type in value["iou_types"]:
        numbers = found.setdefault(iou_type, {})
        for axis, facts in value["axes"][iou_type].items():
            if facts["kind"] == "cross":
                continue
            for name, cell in value["models"][model][iou_type][f"by_{axis}"].items():
                ap = cell["AP"]
                numbers[f"AP-{axis}-{name}"] = math.nan if ap is None else 100.0 * ap
    return found
