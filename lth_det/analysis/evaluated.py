"""One model through the engine: every file (seed) and IoU type, keeping only small arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lth_det.analysis.bootstrap import Replicates, bootstrap_file, groups_to_bootstrap
from lth_det.analysis.checks import FloatArray
from lth_det.analysis.columns import Detections, Source
from lth_det.analysis.evaluate import Matched, Setting, match_file
from lth_det.analysis.file_scores import FileScores, file_scores
from lth_det.analysis.found import Found, Loss, find_objects, lost_objects
from lth_det.analysis.inputs import OneResult
from lth_det.analysis.keypoint_errors import KeypointErrors, keypoint_errors
from lth_det.analysis.results_io import detections_of, load_results
from lth_det.analysis.study import Study
from lth_det.analysis.tide import find_errors
from lth_det.analysis.tide_ap import FileErrors, file_errors
from lth_det.analysis.tide_bootstrap import error_replicates


@dataclass
class TypeResults:
    """One model and IoU type; the lists have one entry per file. ``lost`` compares the first files with each other."""

    scores: list[FileScores] = field(default_factory=list)
    replicates: list[Replicates] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    tide: list[FileErrors] = field(default_factory=list)
    tide_replicates: list[FloatArray] = field(default_factory=list)
    keypoints: list[KeypointErrors] = field(default_factory=list)
    lost: tuple[int, list[Loss]] = (0, [])


@dataclass(frozen=True)
class Evaluated:
    """One model: the sources of its files, its results per IoU type, and notes about its files."""

    sources: tuple[Source, ...]
    types: dict[str, TypeResults]
    notes: tuple[str, ...]


def evaluate_model(
    study: Study, name: str, files: Sequence[OneResult], reference: Evaluated | None
) -> Evaluated:
    """Evaluate every file of one model for every IoU type.

    Args:
        study: the ground truth side and the options.
        name: the model's name, for sentences.
        files: one result file per seed.
        reference: the reference model, None while that is the one evaluated.

    Raises:
        InputError: a file cannot be used.
    """
    types = {t: TypeResults() for t in study.plans}
    sources: list[Source] = []
    notes: list[str] = []
    for number, file in enumerate(files):
        loaded = load_results(file, name=name, backend=study.backend)
        sources.append(loaded.source)
        for iou_type, plan in study.plans.items():
            detections = detections_of(loaded, study.truth, iou_type=iou_type)
            notes += [n for n in detections.notes if n not in notes]
            matched = match_file(plan.setting, detections)
            result = types[iou_type]
            _add(study, plan.setting, result, detections, matched)
            if reference is not None and number == 0:
                result.lost = lost_objects(
                    plan.setting,
                    (reference.types[iou_type].found[0], result.found[0]),
                    detections,
                    matched,
                    most=study.options.most_lost,
                )
    return Evaluated(tuple(sources), types, tuple(notes))


def _add(
    study: Study, setting: Setting, result: TypeResults, detections: Detections, matched: Matched
) -> None:
    result.scores.append(file_scores(setting, matched, study.fitting_halves))
    result.found.append(find_objects(setting, matched, detections))
    rows = bootstrap_file(
        setting,
        matched,
        study.draws,
        groups=groups_to_bootstrap(setting, study.draws.count, study.options.bootstrap_axes),
        halves=study.fitting_halves,
    )
    if rows is not None:
        result.replicates.append(rows)
    if not study.options.errors:
        return
    if setting.iou_type == "keypoints":
        result.keypoints.append(keypoint_errors(setting, detections))
    else:
        errors = find_errors(setting, detections)
        result.tide.append(file_errors(setting, detections, errors))
        gains = error_replicates(
            errors,
            setting.table.members[0],
            setting.cells.classes,
            study.draws,
            backend=setting.backend,
        )
        if gains is not None:
            result.tide_replicates.append(gains)
