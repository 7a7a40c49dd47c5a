"""Error types of a model as the ``ERRORS`` object of the JSON."""

import math
from typing import Any

import numpy as np

from lth_det.analysis import keypoint_errors as kp
from lth_det.analysis import tide
from lth_det.analysis.breakdown import Frame
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.class_axes import ClassAxis
from lth_det.analysis.tide_ap import FileErrors

DEFINITION = (
    "TIDE (Bolya et al. 2020) at IoU 0.5 / 0.1, 100 detections per image: dAP is the gain of AP50 when all errors of a "
    "type are mended, each type on its own; classes without objects are left out, detections on crowds are no errors. "
    "Per bin of an object attribute: errors about objects of the bin (background: detections of that value) and the gain "
    "of mending those; per bin of classes: the gain of the bin's own AP50"
)


def tide_dict(
    frame: Frame, errors: FileErrors, labels: tuple[ClassAxis, ClassAxis]
) -> dict[str, Any]:
    """Return the errors of boxes or masks; ``labels`` are the frequency and difficulty of classes."""
    classes = frame.cells.classes
    now = _mean(errors.ap50, classes)
    types = {
        name: {
            "count": _whole(errors.count[i].sum()),
            "dAP": _mean(errors.mended[i], classes) - now,
            "interval": None,
        }
        for i, name in enumerate(tide.TYPES)
    }
    value: dict[str, Any] = {
        "kind": "tide",
        "iou": tide.FOREGROUND,
        "background_iou": tide.BACKGROUND,
        "AP50": now,
        "definition": DEFINITION,
        "types": types,
        "special": {
            name: {"dAP": _mean(errors.special[i], classes) - now}
            for i, name in enumerate(("false_positive", "false_negative"))
        },
    }
    for axis in _object_axes(frame):
        value[f"by_{axis}"] = {
            name: {
                kind: {"count": _whole(errors.group_count[i, g]), "dAP": errors.group_gain[i, g]}
                for i, kind in enumerate(tide.TYPES)
            }
            for name, g in frame.table.of_axis(axis).items()
        }
    for label in labels:
        value[f"by_{label.name}"] = {
            name: {
                kind: {
                    "count": _whole(errors.count[i, inside].sum()),
                    "dAP": _mean(errors.mended[i], inside) - _mean(errors.ap50, inside),
                }
                for i, kind in enumerate(tide.TYPES)
            }
            for name, inside in label.bins.items()
        }
    return value


def keypoints_dict(
    frame: Frame, errors: kp.KeypointErrors, names: tuple[str, ...]
) -> dict[str, Any]:
    """Return the errors of keypoints; ``names`` are those of the points, numbers where the file has none."""
    total = float(errors.count.sum())
    points = names or tuple(str(i) for i in range(errors.count.shape[1]))
    value: dict[str, Any] = {
        "kind": "keypoints",
        "definition": kp.DEFINITION,
        "matched": _whole(errors.matched),
        "keypoints": _whole(total),
        "types": _shares(errors.count.sum(axis=1)),
        "background": {"count": _whole(errors.background)},
        "missed": {"count": _whole(errors.missed)},
        "by_keypoint": {
            name: {kind: cell["share"] for kind, cell in _shares(errors.count[:, i]).items()}
            for i, name in enumerate(points)
        },
    }
    for axis in _object_axes(frame):
        value[f"by_{axis}"] = {
            name: _shares(errors.group_count[:, g]) for name, g in frame.table.of_axis(axis).items()
        }
    return value


def _object_axes(frame: Frame) -> list[str]:
    return [a.name for a in frame.axes if a.kind in ("geometry", "state")]


def _shares(counts: FloatArray) -> dict[str, dict[str, Any]]:
    total = float(counts.sum())
    return {
        kind: {
            "count": _whole(counts[i]),
            "share": float(counts[i]) / total if total else math.nan,
        }
        for i, kind in enumerate(kp.TYPES)
    }


def _mean(values: FloatArray, inside: BoolArray) -> float:
    known = values[inside & np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _whole(count: float) -> int | None:
    """Return a count; the mean over seeds is rounded, and what was not counted is None."""
    return round(float(count)) if math.isfinite(count) else None
