"""The analysis from ground truth and result files to numbers: the entry point of the package."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lth_det.analysis.attributes import Attribute
from lth_det.analysis.backends import get_backend
from lth_det.analysis.bootstrap import draw
from lth_det.analysis.class_axes import train_counts
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.consensus import consensus_attributes
from lth_det.analysis.evaluated import Evaluated, evaluate_model
from lth_det.analysis.inputs import (
    ModelInfo,
    Results,
    choose_iou_types,
    files_of_models,
)
from lth_det.analysis.options import Options
from lth_det.analysis.prepare import CLASS_AXES, Plan, image_halves, make_plan
from lth_det.analysis.result import AnalysisResult
from lth_det.analysis.study import Study
from lth_det.analysis.value import build_value
from lth_det.errors import InputError


def analyze(
    ground_truth: str | os.PathLike[str] | Mapping[str, Any],
    results: Results,
    *,
    train: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    options: Options | None = None,
    info: Mapping[str, ModelInfo] | None = None,
    attributes: Sequence[Attribute] = (),
) -> AnalysisResult:
    """Return AP by size, frequency, difficulty and more of one or more models, and their differences.

    Inputs are never modified. Files are read one at a time, so memory does not grow with their number.

    Args:
        ground_truth: COCO or LVIS annotations, a path or the parsed value.
        results: model name -> result file (path or list of results), or a list of those: several seeds.
        train: training annotations, for class frequency.
        options: choices; see :class:`Options`.
        info: what is known of the models, such as their sparsity.
        attributes: further attributes of objects.

    Raises:
        InputError: one sentence that names the file or option and what is wrong.
    """
    options = options or Options()
    truth = read_ground_truth(ground_truth)
    models = files_of_models(results)
    reference = _check_name(options.reference, models, "--reference") or next(iter(models))
    _check_name(options.difficulty_from, models, "--difficulty-from")
    backend = get_backend(options.backend)
    for name in options.consensus:
        _check_name(name, models, "--consensus")
    iou_types = choose_iou_types(truth, models, options.iou_types, sigmas=options.keypoint_sigmas)
    graded = consensus_attributes(truth, iou_types, models, options, backend=backend)
    plans = {
        iou_type: make_plan(
            truth, iou_type, options, backend=backend, extra=(*attributes, *graded[iou_type])
        )
        for iou_type in iou_types
    }
    _check_axes(options.bootstrap_axes or (), plans)
    study = Study(
        truth=truth,
        plans=plans,
        counts=train_counts(truth, train),
        options=options,
        reference=reference,
        info=info or {},
        halves=image_halves(truth.images.ids.size, options.seed),
        backend=backend,
        draws=draw(truth.images.ids.size, options.replicates, options.seed),
    )
    # The reference goes first: what others lose is listed while their detections are in memory.
    order = sorted(models, key=lambda name: name != reference)
    evaluated: dict[str, Evaluated] = {}
    for name in order:
        evaluated[name] = evaluate_model(study, name, models[name], evaluated.get(reference))
    return AnalysisResult(build_value(study, {name: evaluated[name] for name in models}))


def _check_name(name: str | None, models: Mapping[str, Any], option: str) -> str | None:
    if name is not None and name not in models:
        raise InputError(
            f"{option} {name}: there is no such model; choose from {', '.join(models)}."
        )
    return name


def _check_axes(wanted: Sequence[str], plans: Mapping[str, Plan]) -> None:
    """Refuse axes that no IoU type has as groups of objects; those of classes always get intervals."""
    groups = [group for plan in plans.values() for group in plan.setting.table.groups]
    known = dict.fromkeys(group.axis for group in groups if group.axis)
    for name in wanted:
        if name not in known and name not in CLASS_AXES:
            raise InputError(
                f"--bootstrap-axes {name}: there is no such axis of objects; choose from {', '.join(known)}."
            )
