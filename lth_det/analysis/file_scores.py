"""What is kept of one result file after its evaluation, and the mean over the files (seeds) of one model."""

from dataclasses import dataclass

import numpy as np

from lth_det.analysis.axes import FIRST, FULL, SECOND
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.evaluate import Matched, Setting, Table, score

METRICS = ("AP", "AP50", "AP75", "AR", "APn")


@dataclass(frozen=True)
class FileScores:
    """One result file, one IoU type.

    ``values`` {metric: {images: (K, G)}}; ``recall`` (L, K, G) mean over thresholds per detection limit; ``recall_at``
    (2, K) recall of group "all" at IoU 0.5 and 0.75; ``by_threshold`` (T, K) AP of "all"; ``curves``
    {group: (3, K, R)} precision at 0.5, 0.75 and the mean over thresholds.
    """

    values: dict[str, dict[str, FloatArray]]
    recall: FloatArray
    recall_at: FloatArray
    by_threshold: FloatArray
    curves: dict[int, FloatArray]
    detections: int
    tie_rate: float


def file_scores(
    setting: Setting, matched: Matched, halves: tuple[BoolArray, BoolArray] | None
) -> FileScores:
    """Return the scores of a matched file, on all images and, for cross-fitting, on each half."""
    full = score(setting, matched)
    tables = {FULL: full}
    if halves is not None:
        tables[FIRST] = score(setting, matched, images=halves[0])
        tables[SECOND] = score(setting, matched, images=halves[1])
    values = {m: {images: _metric(m, t) for images, t in tables.items()} for m in METRICS}
    return FileScores(
        values=values,
        recall=full.recall.mean(axis=1),
        recall_at=full.recall[-1][[0, 5], :, 0],
        by_threshold=full.ap[:, :, 0],
        curves={
            g: np.stack([curve[0], curve[5], curve.mean(axis=0)])
            for g, curve in full.curves.items()
        },
        detections=matched.cells.detections,
        tie_rate=tie_rate(matched.cells),
    )


def _metric(name: str, table: Table) -> FloatArray:
    value: FloatArray
    if name == "AP":
        value = table.ap.mean(axis=0)
    elif name == "AP50":
        value = table.ap[0]
    elif name == "AP75":
        value = table.ap[5]
    elif name == "AR":
        value = table.recall[-1].mean(axis=0)
    else:
        value = table.ap_normalised.mean(axis=0)
    return value


def mean_scores(files: list[FileScores]) -> FileScores:
    """Return the mean over the seeds of a model; NaN cells are the same in all, they depend on the ground truth."""
    first = files[0]
    if len(files) == 1:
        return first

    def mean(arrays: list[FloatArray]) -> FloatArray:
        return np.asarray(np.mean(np.stack(arrays), axis=0), dtype=np.float64)

    return FileScores(
        values={
            m: {images: mean([f.values[m][images] for f in files]) for images in first.values[m]}
            for m in METRICS
        },
        recall=mean([f.recall for f in files]),
        recall_at=mean([f.recall_at for f in files]),
        by_threshold=mean([f.by_threshold for f in files]),
        curves={g: mean([f.curves[g] for f in files]) for g in first.curves},
        detections=round(sum(f.detections for f in files) / len(files)),
        tie_rate=float(np.mean([f.tie_rate for f in files])),
    )


def tie_rate(cells: Cells) -> float:
    """Return the share of detections with the score of another detection of the same image and class; 0 if none."""
    if cells.detections < 2:
        return 0.0
    same_cell = cells.rank[1:] > 0
    equal = same_cell & (np.diff(cells.score) == 0)
    tied = np.append(equal, False) | np.append(False, equal)
    return float(tied.mean())
