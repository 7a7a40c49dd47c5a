"""What the engine needs computed fast, and which of two implementations computes it.

:class:`Backend` is the interface; ``numpy_backend`` needs nothing but NumPy, ``compiled`` calls a small C kernel. Their
results are equal (tests compare them), only their speed differs.
"""

import functools
import logging
import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.errors import InputError

Bits = npt.NDArray[np.uint64]
MAX_GROUPS = 64
BACKEND_VARIABLE = "LTH_DET_ANALYSIS_BACKEND"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupBits:
    """Membership in ``count`` (at most 64) groups.

    ``objects`` (N,), bit k set if the annotation is an object of group k (no bit for ignored ones); ``unmatched`` (M,),
    bit k set if the detection, unmatched, is a false positive there.
    """

    objects: Bits
    unmatched: Bits
    count: int

    @property
    def mask(self) -> np.uint64:
        """One bit for every group."""
        one_each: np.uint64 = np.uint64((1 << self.count) - 1)
        return one_each


@dataclass(frozen=True)
class Verdicts:
    """What every detection is, per IoU threshold (T) and for up to 64 object groups (one bit each).

    ``hit`` (T, M): it found an object of the group. ``ignored`` (T, M): it counts neither way. Neither: a false
    positive. ``match`` (T, M) int32: the annotation (index in :class:`Truth`) that it took for group 0, -1 for none.
    """

    hit: Bits
    ignored: Bits
    match: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scores:
    """AP and recall per threshold (T), class (K) and group (G); NaN where the class has no object in the group.

    ``ap`` (T, K, G); ``ap_normalised`` (T, K, G) or None; ``recall`` (L, T, K, G) for the L detection limits;
    ``curves`` (C, T, K, R): precision at the R recall points for the C groups asked for.
    """

    ap: FloatArray
    ap_normalised: FloatArray | None
    recall: FloatArray
    curves: FloatArray


@dataclass(frozen=True)
class Request:
    """What :meth:`Backend.accumulate` shall compute.

    ``thresholds`` (T,), ``recall_points`` (R,), ``limits`` detection limits per cell, ``objects`` (K, G) number of
    objects, ``prevalence`` (K, G) factor ``N / objects`` of the normalised precision or None, ``curve_groups`` group
    indices whose curves are wanted.
    """

    thresholds: FloatArray
    recall_points: FloatArray
    limits: tuple[int, ...]
    objects: FloatArray
    prevalence: FloatArray | None
    curve_groups: tuple[int, ...]


@dataclass(frozen=True)
class PlainResults:
    """The columns of a file of box results, unchecked: ids (M,) int64, ``score`` (M,), ``box`` (M, 4)."""

    image_id: IntArray
    category_id: IntArray
    score: FloatArray
    box: FloatArray


class Backend(Protocol):
    """The hot loops."""

    name: str

    def read_results(self, data: bytes) -> PlainResults | None:
        """Return the columns of a file that holds plain box results and nothing else; None for any other content."""

    def box_iou(self, cells: Cells, detections: FloatArray, truth: FloatArray) -> FloatArray:
        """Return box IoU of all pairs of all cells; boxes (M, 4) and (N, 4) XYWH in the order of the cells."""

    def match(
        self,
        cells: Cells,
        overlap: FloatArray,
        thresholds: FloatArray,
        bits: GroupBits,
    ) -> Verdicts:
        """Match as COCO does, once per group."""

    def accumulate(
        self, cells: Cells, verdicts: Verdicts, bits: GroupBits, request: Request
    ) -> Scores:
        """Return AP and recall; ``bits`` are those given to :meth:`match`."""

    def bootstrap(
        self,
        cells: Cells,
        verdicts: Verdicts,
        bits: GroupBits,
        group: int,
        weights: FloatArray,
    ) -> FloatArray:
        """Return AP (B, T, K) of one group with image weights (B, I); NaN where a class has no weighted object."""


@functools.cache
def get_backend(name: str | None = None) -> Backend:
    """Return the back end to use: ``compiled``, ``numpy``, or None for the best one there is.

    None honours the environment variable ``LTH_DET_ANALYSIS_BACKEND`` and falls back to NumPy, with a log line, when
    the kernel cannot be compiled or loaded.

    Raises:
        InputError: an unknown name, or ``compiled`` was demanded and cannot be had.
    """
    from lth_det.analysis.compiled import KernelUnavailableError, load_compiled
    from lth_det.analysis.numpy_backend import NumpyBackend

    wanted = name or os.environ.get(BACKEND_VARIABLE) or None
    if wanted not in (None, "compiled", "numpy"):
        raise InputError(
            f"{BACKEND_VARIABLE}: {wanted!r} is not a back end; use compiled or numpy."
        )
    if wanted == "numpy":
        return NumpyBackend()
    try:
        return load_compiled()
    except KernelUnavailableError as error:
        if wanted == "compiled":
            raise InputError(f"the compiled analysis kernel cannot be used: {error}") from error
        _log.info("analysis runs on NumPy alone: %s", error)
        return NumpyBackend()
