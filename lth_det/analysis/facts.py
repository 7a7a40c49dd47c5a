"""What an analysis was made of: inputs, data set, parameters, warnings, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lth_det.analysis.axes import THIN_IMAGES, THIN_OBJECTS
from lth_det.analysis.class_axes import ClassAxis, TrainCounts
from lth_det.analysis.columns import GroundTruth, Source
from lth_det.analysis.evaluate import IOU_THRESHOLDS
from lth_det.analysis.file_scores import FileScores
from lth_det.analysis.inputs import ModelInfo
from lth_det.analysis.study import Study

Labels = Mapping[str, tuple[ClassAxis, ClassAxis]]


def class_facts(truth: GroundTruth, counts: TrainCounts, k: int) -> dict[str, Any]:
    """Return id and training counts of class ``k``; None where a count is not known."""
    return {
        "id": int(truth.categories.ids[k]),
        "train_images": _known(counts.images[k]),
        "train_instances": _known(counts.instances[k]),
    }


def _known(number: Any) -> int | None:
    return int(number) if number >= 0 else None


def inputs(study: Study, sources: Mapping[str, Sequence[Source]]) -> dict[str, Any]:
    """Return the ``inputs`` object; ``sources`` are the files of every model."""
    train = study.counts.source
    return {
        "gt": study.truth.source.to_dict(),
        "train_gt": train.to_dict() if train else None,
        "models": {
            name: {
                "files": {t: [s.to_dict() for s in files] for t in study.plans},
                "seeds": len(files),
                **study.info.get(name, ModelInfo()).to_dict(),
            }
            for name, files in sources.items()
        },
    }


def dataset(study: Study, labels: Labels) -> dict[str, Any]:
    """Return the ``dataset`` object; ``labels`` are the frequency and difficulty axes per IoU type."""
    truth = study.truth
    objects = truth.objects
    categories = []
    for k, name in enumerate(truth.categories.names):
        mine = objects & (truth.category == k)
        categories.append(
            {
                "name": name,
                "objects": int(mine.sum()),
                "images": int(np.unique(truth.image[mine]).size),
                "frequency": next(iter(labels.values()))[0].bin_of(k),
                "difficulty": {t: pair[1].bin_of(k) for t, pair in labels.items()},
                **class_facts(truth, study.counts, k),
            }
        )
    return {
        "images": int(truth.images.ids.size),
        "annotations": int(truth.ids.size),
        "crowd": int(truth.crowd.sum()),
        "objects": int(objects.sum()),
        "style": truth.style,
        "categories": categories,
    }


def parameters(study: Study, labels: Labels) -> dict[str, Any]:
    """Return the ``parameters`` object."""
    plans = study.plans
    first = next(iter(plans.values())).setting
    sigmas = next((p.setting.sigmas for p in plans.values() if p.setting.sigmas is not None), None)
    return {
        "max_dets": {t: list(p.setting.limits) for t, p in plans.items()},
        "iou_thresholds": IOU_THRESHOLDS.round(2).tolist(),
        "recall_points": 101,
        "area": next(a.source for a in plans[first.iou_type].attributes if a.name == "size"),
        "frequency_scheme": study.options.frequency,
        "frequency_source": next(iter(labels.values()))[0].source,
        "keypoint_sigmas": None if sigmas is None else sigmas.tolist(),
        "thin_objects": THIN_OBJECTS,
        "thin_images": THIN_IMAGES,
        "backend": first.backend.name,
    }


def warnings(
    study: Study,
    notes: Mapping[str, Sequence[str]],
    means: Mapping[str, Mapping[str, FileScores]],
) -> list[str]:
    """Return sentences about what a reader should know; ``notes`` are those of every model's files."""
    truth = study.truth
    found = list(truth.notes)
    if not truth.objects.any():
        found.append("The ground truth has no objects; nothing can be computed.")
    for name, own in notes.items():
        found += own
        rate = max(s.tie_rate for s in means[name].values())
        if rate > 0.01:
            found.append(
                f"{name}: {rate:.1%} of the detections share their score with another one of the same image and class; "
                "ties are broken by file order, and bootstrap replicates only approximate repeated images."
            )
    return list(dict.fromkeys(found))
