"""What an analysis is about: everything that is the same for all of its models."""

from collections.abc import Mapping
from dataclasses import dataclass

from lth_det.analysis.backends import Backend
from lth_det.analysis.bootstrap import Draws
from lth_det.analysis.checks import BoolArray
from lth_det.analysis.class_axes import TrainCounts
from lth_det.analysis.columns import GroundTruth
from lth_det.analysis.inputs import ModelInfo
from lth_det.analysis.options import Options
from lth_det.analysis.prepare import Plan


@dataclass(frozen=True)
class Study:
    """Ground truth, one plan per IoU type, class counts, options, and what is drawn at random.

    ``halves`` are two random halves (I,) of the images, ``draws`` the image weights of the bootstrap.
    """

    truth: GroundTruth
    plans: Mapping[str, Plan]
    counts: TrainCounts
    options: Options
    reference: str
    info: Mapping[str, ModelInfo]
    halves: tuple[BoolArray, BoolArray]
    draws: Draws
    backend: Backend

    @property
    def ranker(self) -> str:
        """The model whose AP ranks the classes by difficulty."""
        return self.options.difficulty_from or self.reference

    @property
    def fitting_halves(self) -> tuple[BoolArray, BoolArray] | None:
        """The image halves, or None when difficulty needs no cross-fitting."""
        return None if self.options.difficulty_from else self.halves
