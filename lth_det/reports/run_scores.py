"""What a run is judged by: AP for boxes, masks and keypoints, accuracy for a classifier."""

from __future__ import annotations

from dataclasses import dataclass

TASK_TITLES = {"bbox": "Box", "segm": "Mask", "keypoints": "Keypoint"}
AP_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
TOP1 = "top1"
"""Metric and task of a classifier: percent of images whose class is the one with the highest score."""


@dataclass(frozen=True)
class Score:
    """How one task of a run is measured; all values are on the 0-100 scale.

    Attributes:
        task: ``bbox``, ``segm``, ``keypoints``, another owner of an ``AP``, or ``top1``.
        metric: name of the main value in the metrics of a round, such as ``bbox/AP``.
        unit: ``AP`` or ``accuracy``; the word for a value and for a change of it.
        title: name of the main value for people, such as ``Box AP``.
        columns: (heading, metric) of every value a table of the task shows, the main one first.
    """

    task: str
    metric: str
    unit: str
    title: str
    columns: tuple[tuple[str, str], ...]

    @property
    def is_accuracy(self) -> bool:
        """Whether the task is classification."""
        return self.task == TOP1

    @property
    def axis(self) -> str:
        """The main value with its unit, as the title of an axis."""
        return "top-1 accuracy (%)" if self.is_accuracy else "AP (0-100)"

    @property
    def second(self) -> tuple[str, str]:
        """(heading, metric) of the more lenient value beside the main one: AP50 or top-5."""
        return self.columns[1]


def score_of(task: str) -> Score:
    """Return how ``task`` is measured.

    >>> score_of("segm").metric, score_of("segm").title, score_of("top1").title
    ('segm/AP', 'Mask AP', 'Top-1 accuracy')
    """
    if task == TOP1:
        both = (("top-1", TOP1), ("top-5", "top5"))
        return Score(task, TOP1, "accuracy", "Top-1 accuracy", both)
    columns = tuple((name, f"{task}/{name}") for name in AP_METRICS)
    return Score(task, f"{task}/AP", "AP", f"{task_title(task)} AP", columns)


def task_of(metric: str) -> str | None:
    """Return the task whose main value ``metric`` is, or ``None``.

    >>> task_of("bbox/AP"), task_of("bbox/AP50"), task_of("top1")
    ('bbox', None, 'top1')
    """
    if metric == TOP1:
        return TOP1
    owner, _, name = metric.partition("/")
    return owner if name == "AP" else None


def task_title(task: str) -> str:
    """Return the name of ``task`` for people: ``bbox`` -> ``Box``; unknown tasks keep their name."""
    return TASK_TITLES.get(task, task)
