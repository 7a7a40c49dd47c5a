"""The result files of all models: names, seeds, which IoU types they hold."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lth_det.analysis.columns import IOU_TYPES, GroundTruth
from lth_det.analysis.overlap import sigmas_known
from lth_det.analysis.results_io import iou_types_of
from lth_det.errors import InputError
from lth_det.io import open_regular

PathLike = str | os.PathLike[str]
Records = Sequence[dict[str, Any]]
OneResult = PathLike | Records
Results = Mapping[str, OneResult | Sequence[OneResult]]
_PEEK_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model besides its results; None: not known."""

    sparsity: float | None = None
    prune_rate: float | None = None
    round: int | None = None
    control: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {
            "sparsity": self.sparsity,
            "prune_rate": self.prune_rate,
            "round": self.round,
            "control": self.control,
        }


def files_of_models(results: Results) -> dict[str, list[OneResult]]:
    """Return model name -> its result files, one per seed.

    A path or a list of result objects is one file; a list or tuple of those is several seeds.

    Raises:
        InputError: there is no model, a name is empty, or a model has no file.
    """
    if not results:
        raise InputError("--dt: give at least one result file, as NAME=RESULTS.json.")
    models: dict[str, list[OneResult]] = {}
    for name, value in results.items():
        if not name or "/" in name:
            raise InputError(
                f"--dt: the model name {name!r} is empty or holds a slash; choose another."
            )
        models[name] = _seeds(value)
        if not models[name]:
            raise InputError(f"--dt {name}: no result file is given.")
    return models


def _seeds(value: Any) -> list[OneResult]:
    if isinstance(value, str | os.PathLike):
        return [value]
    if isinstance(value, list | tuple) and any(
        isinstance(item, str | os.PathLike | list | tuple) for item in value
    ):
        return list(value)
    return [value]


def choose_iou_types(
    truth: GroundTruth,
    models: Mapping[str, Sequence[OneResult]],
    wanted: Sequence[str],
    *,
    sigmas: Sequence[float] | None,
) -> list[str]:
    """Return the IoU types to evaluate, in the order bbox, segm, keypoints.

    Without a wish: all that the ground truth and every result file have; keypoints only if their OKS constants are
    known (``sigmas``, the file's, or COCO's for 17 points).

    Raises:
        InputError: an unknown or unavailable type, or nothing in common.
    """
    available = {
        iou_type
        for iou_type, data in (("segm", truth.segmentation), ("keypoints", truth.keypoints))
        if data is not None
    } | {"bbox"}
    unknown = [w for w in wanted if w not in IOU_TYPES]
    if unknown:
        raise InputError(f"--iou-type {unknown[0]}: choose from {', '.join(IOU_TYPES)}.")
    lacking = [w for w in wanted if w not in available]
    if lacking:
        raise InputError(
            f"--iou-type {lacking[0]}: the ground truth has no {'masks' if lacking[0] == 'segm' else 'keypoints'}; "
            f"it can be evaluated for {', '.join(t for t in IOU_TYPES if t in available)}."
        )
    if wanted:
        return [t for t in IOU_TYPES if t in wanted]
    if not sigmas_known(truth, sigmas):
        available.discard("keypoints")
    for first in map(_first_record, chain.from_iterable(models.values())):
        if first is not None:
            available &= set(iou_types_of([first]))
    if not available:
        raise InputError(
            "the ground truth and the result files have no IoU type in common; every result needs `bbox`, "
            "`segmentation` or `keypoints`."
        )
    return [t for t in IOU_TYPES if t in available]


def _first_record(file: OneResult) -> dict[str, Any] | None:
    """Return the first result without reading a whole file; None when it cannot be seen that way."""
    if not isinstance(file, str | os.PathLike):
        first: Any = file[0] if file else None
        return first if isinstance(first, dict) else None
    try:
        with open_regular(file) as handle:
            text = handle.read(_PEEK_BYTES).decode("utf-8", errors="replace").lstrip()
        value, _ = (
            json.JSONDecoder().raw_decode(text[1:].lstrip()) if text[:1] == "[" else (None, 0)
        )
    except (OSError, ValueError, RecursionError):
        return None  # the full reader says what is wrong with the file
    return value if isinstance(value, dict) else None
