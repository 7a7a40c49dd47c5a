"""The two inputs as columns: ground truth and detections, in file order, never changed after reading."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lth_det.analysis.checks import BoolArray, FloatArray, IntArray

IOU_TYPES = ("bbox", "segm", "keypoints")


@dataclass(frozen=True)
class Source:
    """Where an input came from; ``path``, ``sha256`` and ``size`` are None for data given in memory."""

    path: str | None
    sha256: str | None
    size: int | None
    records: int

    def to_dict(self) -> dict[str, Any]:
        """Return the ``FILE`` object of the schema."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "bytes": self.size,
            "records": self.records,
        }


@dataclass(frozen=True)
class Categories:
    """The K classes, sorted by id.

    ``frequency`` holds LVIS's letters ``r c f`` or "", ``train_images`` / ``train_instances`` the counts that the file
    states (LVIS ``image_count`` / ``instance_count``), -1 where it states none; ``keypoints`` the names of the points.
    """

    ids: IntArray
    names: tuple[str, ...]
    frequency: tuple[str, ...]
    train_images: IntArray
    train_instances: IntArray
    keypoints: tuple[tuple[str, ...], ...]
    sigmas: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Images:
    """The I images, sorted by id; ``width`` and ``height`` in pixels are 0 where the file does not state them."""

    ids: IntArray
    names: tuple[str, ...]
    width: IntArray
    height: IntArray


@dataclass(frozen=True)
class GroundTruth:
    """N annotations in file order.

    ``image`` and ``category`` (N,) index :attr:`images` and :attr:`categories`; ``box`` (N, 4) XYWH pixels; ``area``
    (N,) px^2 from the ``area`` field (the box where the field is missing); ``crowd`` (N,). ``segmentation`` has one
    RLE per annotation (None: it has no mask), or is None when no annotation has one. ``keypoints`` (N, P, 3) x, y,
    visibility, NaN rows for annotations without; None when no annotation has any.
    ``unverified`` lists ``image * K + category`` cells in which an unmatched detection is ignored (LVIS: the class was
    not checked on the image, or not exhaustively); ``verified`` the cells checked (None: all of them, plain COCO).
    """

    images: Images
    categories: Categories
    ids: IntArray
    image: IntArray
    category: IntArray
    box: FloatArray
    area: FloatArray
    crowd: BoolArray
    segmentation: tuple[dict[str, Any] | None, ...] | None
    keypoints: FloatArray | None
    num_keypoints: IntArray
    verified: IntArray | None
    unverified: IntArray
    source: Source
    notes: tuple[str, ...]

    @property
    def style(self) -> str:
        """``"lvis"`` when the file states which classes were verified per image, else ``"coco"``."""
        return "coco" if self.verified is None else "lvis"

    @property
    def objects(self) -> BoolArray:
        """(N,) true for annotations that are objects, not crowd regions."""
        return ~self.crowd


@dataclass(frozen=True)
class Detections:
    """M detections of one result file in file order, for one IoU type.

    ``box`` (M, 4) XYWH pixels, ``area`` (M,) px^2 as the IoU type measures it, ``rle`` one mask each (segm only),
    ``keypoints`` (M, P, 3) (keypoints only).
    """

    image: IntArray
    category: IntArray
    score: FloatArray
    box: FloatArray
    area: FloatArray
    rle: tuple[dict[str, Any], ...] | None
    keypoints: FloatArray | None
    source: Source
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.score.size)


def empty_floats(*shape: int) -> FloatArray:
    """Return float64 zeros of ``shape``; a name for the common case of empty input."""
    return np.zeros(shape, dtype=np.float64)
