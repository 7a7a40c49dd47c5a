"""The compiled back end: ``_kernel.c`` built once with the system's C compiler and called through ctypes.

The library lies in a cache folder under a name made from the hash of source, compiler and flags, so a changed kernel
is built anew, two processes that build at the same time do not disturb each other (temporary file, rename), and nothing
is ever loaded that was built from other source.
"""

import ctypes
import functools
import hashlib
import locale
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.analysis.backends import GroupBits, PlainResults, Request, Scores, Verdicts
from lth_det.analysis.cells import Cells
from lth_det.analysis.checks import FloatArray

CACHE_VARIABLE = "LTH_DET_CACHE"
_FLAGS = ("-O3", "-std=gnu99", "-ffp-contract=off", "-shared", "-fPIC")
_COMPILE_SECONDS = 120
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)


class KernelUnavailableError(Exception):
    """The kernel cannot be built or loaded here; the message says why."""


def kernel_folder() -> Path:
    """Return the folder of built kernels: ``$LTH_DET_CACHE``, or ``lth_det`` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lth_det" / "kernels"


def build_kernel(folder: Path) -> Path:
    """Return the path of the built kernel in ``folder``, compiling it if it is not there.

    Raises:
        KernelUnavailableError: no compiler, the compiler fails, or the folder cannot be written.
    """
    source = Path(__file__).with_name("_kernel.c")
    compiler = os.environ.get("CC") or "cc"
    found = shutil.which(compiler) or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise KernelUnavailableError("there is no C compiler (cc, gcc or clang)")
    try:
        text = source.read_bytes()
    except OSError as error:
        raise KernelUnavailableError(f"{source} cannot be read ({error.strerror})") from error
    identity = "\0".join((found, *_FLAGS, platform.machine(), platform.system())).encode()
    digest = hashlib.sha256(identity + b"\0" + text).hexdigest()[:16]
    target = folder / f"analysis-{digest}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
        os.close(descriptor)
    except OSError as error:
        raise KernelUnavailableError(f"{folder} cannot be written ({error.strerror})") from error
    try:
        _compile(found, source, name)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _compile(compiler: str, source: Path, target: str) -> None:
    try:
        done = subprocess.run(
            [compiler, *_FLAGS, str(source), "-o", target],
            capture_output=True,
            text=True,
            timeout=_COMPILE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelUnavailableError(f"{compiler} cannot be run ({error})") from error
    if done.returncode:
        first = next(iter(done.stderr.strip().splitlines()), "no message")
        raise KernelUnavailableError(f"{compiler} failed: {first}")


@functools.cache
def load_compiled() -> "CompiledBackend":
    """Return the compiled back end, building the kernel on first use.

    Raises:
        KernelUnavailableError: it cannot be built or loaded.
    """
    try:
        library = ctypes.CDLL(str(build_kernel(kernel_folder())))
        abi = library.lth_abi()
    except (OSError, AttributeError) as error:
        raise KernelUnavailableError(f"the built kernel cannot be loaded ({error})") from error
    if abi != 1:
        raise KernelUnavailableError(f"the built kernel has interface {abi}, not 1")
    return CompiledBackend(library)


def _call(function: Any, *arguments: Any) -> None:
    """Call a kernel function: arrays become pointers, whole numbers 64-bit integers."""
    ready: list[Any] = []
    for value in arguments:
        if value is None:
            ready.append(None)
        elif isinstance(value, np.ndarray):
            if not value.flags.c_contiguous:
                raise ValueError("the kernel takes contiguous arrays only")
            ready.append(ctypes.c_void_p(value.ctypes.data))
        elif isinstance(value, np.uint64):
            ready.append(ctypes.c_uint64(int(value)))
        else:
            ready.append(ctypes.c_int64(int(value)))
    if function(*ready):
        raise MemoryError("the analysis kernel ran out of memory")


class CompiledBackend:
    """The four loops in C; see :class:`lth_det.analysis.backends.Backend`."""

    name = "compiled"

    def __init__(self, library: Any) -> None:
        self._library = library

    def box_iou(self, cells: Cells, detections: FloatArray, truth: FloatArray) -> FloatArray:
        """Return box IoU of all pairs of all cells."""
        out = np.zeros(int(cells.overlap_offset[-1]))
        _call(
            self._library.lth_box_iou,
            cells.detection_offset.size - 1,
            cells.detection_offset,
            cells.truth_offset,
            cells.overlap_offset,
            detections,
            truth,
            cells.truth.reusable,
            out,
        )
        return out

    def read_results(self, data: bytes) -> PlainResults | None:
        """Return the columns of a plain box result file, None when it is anything else."""
        if locale.localeconv()["decimal_point"] != ".":
            return None  # the kernel's strtod follows the locale
        most = data.count(b"{")
        image, category = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
        score, box = np.empty(most), np.empty((most, 4))
        read = self._library.lth_read_results
        read.restype = ctypes.c_int64
        columns = [ctypes.c_void_p(c.ctypes.data) for c in (image, category, score, box)]
        number = read(data, ctypes.c_int64(len(data)), ctypes.c_int64(most), *columns)
        return PlainResults(image, category, score, box) if number == most else None

    def match(
        self, cells: Cells, overlap: FloatArray, thresholds: FloatArray, bits: GroupBits
    ) -> Verdicts:
        """Match as COCO does, once per pattern of groups."""
        shape = (thresholds.size, cells.detections)
        hit, ignored = np.empty(shape, dtype=np.uint64), np.empty(shape, dtype=np.uint64)
        match = np.empty(shape, dtype=np.int32)
        _call(
            self._library.lth_match,
            cells.detection_offset.size - 1,
            thresholds.size,
            thresholds,
            bits.mask,
            cells.detection_offset,
            cells.truth_offset,
            cells.overlap_offset,
            overlap,
            cells.truth.reusable,
            bits.objects,
            bits.unmatched,
            cells.detections,
            hit,
            ignored,
            match,
        )
        return Verdicts(hit, ignored, match)

    def accumulate(
        self, cells: Cells, verdicts: Verdicts, bits: GroupBits, request: Request
    ) -> Scores:
        """Return AP and recall per threshold, class and group."""
        thresholds, (classes, groups) = request.thresholds.size, request.objects.shape
        points, wanted = request.recall_points.size, len(request.curve_groups)
        ap = np.empty((thresholds, classes, groups))
        normalised = np.empty_like(ap) if request.prevalence is not None else None
        recall = np.empty((len(request.limits), *ap.shape))
        curves = np.empty((wanted, thresholds, classes, points))
        _call(
            self._library.lth_accumulate,
            classes,
            thresholds,
            groups,
            cells.class_offset,
            cells.order,
            cells.rank,
            cells.detections,
            verdicts.hit,
            verdicts.ignored,
            bits.unmatched,
            np.ascontiguousarray(request.objects),
            None if request.prevalence is None else np.ascontiguousarray(request.prevalence),
            len(request.limits),
            np.array(request.limits, dtype=np.int32),
            points,
            request.recall_points,
            wanted,
            np.array(request.curve_groups, dtype=np.int32),
            ap,
            normalised,
            recall,
            curves,
        )
        for array in (ap, normalised, recall, curves):
            if array is not None:
                array[array < 0] = np.nan
        return Scores(ap, normalised, recall, curves)

    def bootstrap(
        self,
        cells: Cells,
        verdicts: Verdicts,
        bits: GroupBits,
        group: int,
        weights: FloatArray,
    ) -> FloatArray:
        """Return AP (B, T, K) of one group with image weights (B, I)."""
        thresholds, classes = verdicts.hit.shape[0], cells.class_offset.size - 1
        ap = np.empty((weights.shape[0], thresholds, classes))
        _call(
            self._library.lth_bootstrap,
            weights.shape[0],
            weights.shape[1],
            np.ascontiguousarray(weights, dtype=np.float64),
            classes,
            thresholds,
            cells.class_offset,
            cells.order,
            cells.image,
            cells.detections,
            verdicts.hit,
            verdicts.ignored,
            bits.unmatched,
            cells.truth.row.size,
            cells.truth.image,
            cells.truth.category,
            bits.objects,
            group,
            _RECALL_POINTS.size,
            _RECALL_POINTS,
            ap,
        )
        ap[ap < 0] = np.nan
        return ap
