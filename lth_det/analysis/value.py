"""The JSON value of an analysis, put together from evaluated models; see ``schema.md``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lth_det.analysis import breakdown, facts
from lth_det.analysis.axes import (
    FIRST,
    FULL,
    SECOND,
    Axis,
    FittedAxis,
    class_axis,
    cross_axis,
    object_axes,
)
from lth_det.analysis.breakdown import Frame, make_frame
from lth_det.analysis.class_axes import ClassAxis, difficulty_axis, frequency_axis
from lth_det.analysis.compare import Comparison, Side, interval_of
from lth_det.analysis.consensus import blank
from lth_det.analysis.errors_value import keypoints_dict, tide_dict
from lth_det.analysis.evaluated import Evaluated, TypeResults
from lth_det.analysis.file_scores import FileScores, mean_scores
from lth_det.analysis.found import by_majority, cuts_dict, exchange, lost_dicts
from lth_det.analysis.keypoint_errors import mean_keypoint_errors
from lth_det.analysis.options import Options
from lth_det.analysis.prepare import Plan
from lth_det.analysis.result import SCHEMA_VERSION
from lth_det.analysis.statistics import FEWEST_FOR_BCA
from lth_det.analysis.study import Study
from lth_det.analysis.tide_ap import mean_errors
from lth_det.version import __version__


def build_value(study: Study, evaluated: Mapping[str, Evaluated]) -> dict[str, Any]:
    """Return the whole value of schema version 1; NaN marks what cannot be computed."""
    plans, options = study.plans, study.options
    means = {
        n: {t: mean_scores(r.scores) for t, r in e.types.items()} for n, e in evaluated.items()
    }
    frames: dict[str, Frame] = {}
    labels: dict[str, tuple[ClassAxis, ClassAxis]] = {}
    for iou_type, plan in plans.items():
        ranker = means[study.ranker][iou_type]
        frequency = frequency_axis(
            study.truth, study.counts, plan.setting.cells.classes, scheme=options.frequency
        )
        difficulty, descriptive = _difficulty(study, plan, ranker)
        frames[iou_type] = _frame(study, plan, frequency, difficulty)
        labels[iou_type] = (frequency, descriptive)
    models: dict[str, dict[str, Any]] = {}
    for name, of_type in means.items():
        models[name] = {
            t: _model(study, frames[t], of_type[t], evaluated[name].types[t], labels[t])
            for t in plans
        }
    sides = {
        name: {
            t: Side(name, means[name][t], e.types[t].scores, e.types[t].replicates) for t in plans
        }
        for name, e in evaluated.items()
    }
    for name, of_side in sides.items():
        for t in plans:
            _add_intervals(study, frames[t], models[name][t], of_side[t])
    of_reference = evaluated[study.reference].types
    comparisons = [
        Comparison(
            frames[t], study.draws, options, model=sides[n][t], reference=sides[study.reference][t]
        ).to_dict()
        | _objects(study, frames[t], evaluated[n].types[t], of_reference[t])
        for n in evaluated
        if n != study.reference
        for t in plans
    ]
    value = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "iou_types": list(plans),
        "model_order": list(evaluated),
        "reference": study.reference,
        "difficulty_source": {t: _difficulty_source(options, study.reference) for t in plans},
        "inputs": facts.inputs(study, {n: e.sources for n, e in evaluated.items()}),
        "dataset": facts.dataset(study, labels),
        "parameters": facts.parameters(study, labels),
        "axes": {t: {a.name: a.to_dict() for a in f.axes} for t, f in frames.items()},
        "models": models,
        "comparisons": comparisons,
        "statistics": _statistics(study),
        "warnings": facts.warnings(study, {n: e.notes for n, e in evaluated.items()}, means),
    }
    blank(value, options.consensus)
    return value


def _difficulty(study: Study, plan: Plan, ranker: FileScores) -> tuple[FittedAxis, ClassAxis]:
    """Return the axis with its rankings, and the ranking on all images that labels the classes."""
    setting = plan.setting
    classes = setting.cells.classes
    ap, objects = ranker.values["AP"], setting.table.counts[:, 0]
    whole = difficulty_axis(
        ap[FULL][:, 0], objects, classes, source=f"AP of {study.ranker!r} on all images"
    )
    if study.options.difficulty_from:
        return FittedAxis("difficulty", ((FULL, whole),)), whole
    halves = study.halves
    rankings = []
    for ranked, scored, images in ((FIRST, SECOND, halves[0]), (SECOND, FIRST, halves[1])):
        there = setting.table.members[0] & images[setting.cells.image]
        number = np.bincount(setting.cells.category[there], minlength=classes.size).astype(float)
        source = f"cross-fitted: AP of {study.ranker!r} on one random half of the images, scored on the other, averaged"
        rankings.append((scored, difficulty_axis(ap[ranked][:, 0], number, classes, source=source)))
    return FittedAxis("difficulty", tuple(rankings)), whole


def _frame(study: Study, plan: Plan, frequency: ClassAxis, difficulty: FittedAxis) -> Frame:
    setting = plan.setting
    classes = setting.cells.classes
    fitted = {"frequency": FittedAxis("frequency", ((FULL, frequency),)), "difficulty": difficulty}
    axes: list[Axis] = object_axes(plan.attributes, setting.table, classes)
    axes += [class_axis(f) for f in fitted.values()]
    axes += [
        cross_axis(attributes, [fitted[n] for n in names], setting.table, classes)
        for attributes, names in plan.crosses
    ]
    names = study.truth.categories.names
    return make_frame(
        setting.table,
        setting.cells,
        axes,
        iou_type=setting.iou_type,
        names=names,
        halves=study.halves,
    )


def _model(
    study: Study,
    frame: Frame,
    mean: FileScores,
    results: TypeResults,
    labels: tuple[ClassAxis, ClassAxis],
) -> dict[str, Any]:
    """Return the ``MODEL`` object."""
    value: dict[str, Any] = dict(breakdown.coco_numbers(frame, mean))
    everything = frame.table.members[0]
    images = int(np.unique(frame.cells.image[everything]).size)
    value |= {
        "objects": int(everything.sum()),
        "images": images,
        "classes": int((frame.table.counts[:, 0] > 0).sum()),
        "detections": mean.detections,
        "detections_per_image": mean.detections / max(frame.cells.number_of_images, 1),
        "tie_rate": mean.tie_rate,
        "ap_by_threshold": [
            breakdown.class_mean(row, frame.cells.classes) for row in mean.by_threshold
        ],
        "seeds": [
            {k: breakdown.coco_numbers(frame, s)[k] for k in ("AP", "AP50", "AP75", "AR")}
            for s in results.scores
        ],
        "intervals": {"AP": None, "AP50": None, "AP75": None},
        "curves": breakdown.curves(frame, mean),
        "errors": _errors(study, frame, results, labels),
        "sensitivity": breakdown.sensitivity(frame, mean),
    }
    found = by_majority(results.found)
    value["found"] = {"objects": int(everything.sum()), "found": int(found[everything].sum())}
    names = {k: n for k, n in enumerate(study.truth.categories.names) if frame.cells.classes[k]}
    value["score_cuts"] = cuts_dict(results.found[0].cuts, names)
    value |= {axis.key: breakdown.axis_dict(frame, axis, mean) for axis in frame.axes}
    value["by_category"] = _categories(study, frame, mean, labels)
    return value


def _categories(
    study: Study, frame: Frame, scores: FileScores, labels: tuple[ClassAxis, ClassAxis]
) -> dict[str, Any]:
    value = breakdown.axis_dict(frame, frame.categories, scores)
    for k, name in enumerate(study.truth.categories.names):
        if name in value:
            value[name] |= facts.class_facts(study.truth, study.counts, k)
            value[name] |= {"frequency": labels[0].bin_of(k), "difficulty": labels[1].bin_of(k)}
    return value


def _objects(
    study: Study, frame: Frame, model: TypeResults, reference: TypeResults
) -> dict[str, Any]:
    """Return what the model found and lost, as part of a comparison."""
    return {
        "objects": exchange(frame, by_majority(reference.found), by_majority(model.found)),
        "lost_total": model.lost[0],
        "lost_objects": lost_dicts(frame, study.truth, reference.found[0], model.lost[1]),
    }


def _errors(
    study: Study, frame: Frame, results: TypeResults, labels: tuple[ClassAxis, ClassAxis]
) -> dict[str, Any] | None:
    if results.tide:
        value = tide_dict(frame, mean_errors(results.tide), labels)
        if results.tide_replicates:
            rows = np.mean(results.tide_replicates, axis=0)
            for i, cell in enumerate(value["types"].values()):
                cell["interval"] = interval_of(
                    rows[:, i], cell["dAP"], study.draws, study.options.level
                )
        return value
    if results.keypoints:
        errors = mean_keypoint_errors(results.keypoints)
        points = errors.count.shape[1]
        # Of categories that disagree about their points, one that fits the data; else the points have numbers.
        known = study.truth.categories.keypoints
        names = next((n for n in known if len(n) == len(set(n)) == points), ())
        return keypoints_dict(frame, errors, names)
    return None


def _add_intervals(study: Study, frame: Frame, model: dict[str, Any], side: Side) -> None:
    """Fill in the intervals of one model's headline numbers and bins."""
    rows = side.model_replicates(study.draws, stream=0)
    if rows is None:
        return
    level = study.options.level
    for metric in model["intervals"]:
        values = rows.headline(metric, frame.cells.classes)
        model["intervals"][metric] = interval_of(values, model[metric], study.draws, level)
    for axis in (*frame.axes, frame.categories):
        for bin_ in axis.bins:
            cell = model[axis.key][bin_.name]
            cell["interval"] = interval_of(rows.of_bin(bin_), cell["AP"], study.draws, level)


def _statistics(study: Study) -> dict[str, Any]:
    options = study.options
    if not study.draws.count:
        method = "none"
    elif study.draws.count >= FEWEST_FOR_BCA:
        method = "paired multinomial bootstrap over images, BCa intervals (50-block jackknife)"
    else:
        method = "paired multinomial bootstrap over images, percentile intervals"
    return {
        "replicates": study.draws.count,
        "seed": options.seed,
        "level": options.level,
        "margin": options.margin,
        "method": method,
        "note": "intervals of a model with fewer than 3 seeds hold image noise only; bins of an axis are corrected by "
        "Holm (a p at the floor of the bootstrap is continued by the normal law), classes by Benjamini-Hochberg at 5 %",
        "class_p": "normal p from delta / bootstrap standard error (a bootstrap p is never below 2 / (replicates + 1))",
    }


def _difficulty_source(options: Options, reference: str) -> dict[str, Any]:
    if options.difficulty_from:
        independent = options.difficulty_from != reference
        note = (
            "classes ranked by another run than the one compared with"
            if independent
            else "classes ranked by the run compared with: extremes regress to the mean"
        )
        return {"kind": "reference model", "model": options.difficulty_from, "note": note}
    note = "ranked on one random half of the images and scored on the other, both ways, averaged"
    return {"kind": "cross-fitted", "model": reference, "note": note}
