"""Reading a COCO result file into columns for one IoU type, without changing what was given."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from lth_det.analysis import checks, rle
from lth_det.analysis.backends import Backend, PlainResults
from lth_det.analysis.checks import FloatArray, IntArray
from lth_det.analysis.columns import Detections, GroundTruth, Source, empty_floats
from lth_det.analysis.read_json import parse_json, read_bytes, source_of
from lth_det.errors import InputError

PathLike = str | os.PathLike[str]
KEY_OF = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


@dataclass(frozen=True)
class Loaded:
    """A result file as ``records``, or as checked columns when it is a plain file of boxes; ``where`` names it."""

    records: list[dict[str, Any]] | None
    plain: PlainResults | None
    source: Source
    where: str


def load_results(
    source: PathLike | Sequence[dict[str, Any]], *, name: str, backend: Backend
) -> Loaded:
    """Return a result file, read but not yet checked against the ground truth.

    Raises:
        InputError: unreadable, not JSON, or not a list of objects.
    """
    if isinstance(source, list | tuple):
        where = f"results {name!r}"
        records = checks.require_records(list(source), where=where, what="result")
        return Loaded(records, None, source_of(None, None, len(records)), where)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"results {name!r}: expected a file or a list of results.")
    data = read_bytes(source)
    where = os.fspath(source)
    plain = backend.read_results(data)
    # Whatever is wrong in a plain file is left to the general reader, whose sentences name the record.
    if plain is not None and _usable(plain):
        return Loaded(None, plain, source_of(source, data, plain.score.size), where)
    value = parse_json(data, where)
    if isinstance(value, dict):
        raise InputError(
            f"{where}: results are a list of {{image_id, category_id, score, ...}} but this file holds an object; "
            "was the ground truth given as results?"
        )
    records = checks.require_records(value, where=where, what="result")
    return Loaded(records, None, source_of(source, data, len(records)), where)


def _usable(plain: PlainResults) -> bool:
    in_range = np.isfinite(plain.score).all() and (np.abs(plain.box) <= checks.LARGEST_PIXEL).all()
    return bool(plain.score.size and in_range and (plain.box[:, 2:] >= 0).all())


def iou_types_of(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the IoU types that the first record has data for (all of them for an empty list)."""
    if not records:
        return list(KEY_OF)
    return [iou_type for iou_type, key in KEY_OF.items() if records[0].get(key)]


def detections_of(loaded: Loaded, truth: GroundTruth, *, iou_type: str) -> Detections:
    """Return the columns of a result file for one IoU type.

    The area that decides the size bin of a detection is that of its box for ``bbox``, that of its mask for ``segm``
    (also when the record has a box: Detectron2 drops the box first, plain pycocotools would use the box), and for
    ``keypoints`` that of its box, or of the extent of its points without a box.

    Raises:
        InputError: a record lacks a key, holds a wrong value, or names an unknown image or category.
    """
    if loaded.plain is not None:
        return _plain_boxes(loaded, loaded.plain, truth, iou_type)
    records, where = loaded.records or [], loaded.where
    image = _ids(records, "image_id", truth.images.ids, where, "images of the ground truth")
    category = _ids(
        records, "category_id", truth.categories.ids, where, "categories of the ground truth"
    )
    score = checks.number_column(
        checks.field(records, "score", where=where, what="result"), where=where, label="score"
    )
    notes: list[str] = []
    codes = keypoints = None
    if iou_type == "bbox":
        box = _boxes(records, truth, image, where)
        area = box[:, 2] * box[:, 3]
    elif iou_type == "segm":
        codes, area = _codes(records, truth, image, where)
        box = _mask_boxes(codes)
        if records and records[0].get("bbox"):
            notes.append(
                "Results have boxes and masks: for masks the size of a result is that of its mask, as in Detectron2 "
                "(pycocotools on the file as it is would take its box)."
            )
    else:
        keypoints, box = _points(records, truth, where)
        area = box[:, 2] * box[:, 3]
    if not records:
        notes.append(f"{where}: there are no results; every AP is 0.")
    return Detections(
        image=image,
        category=category,
        score=score,
        box=box,
        area=area,
        rle=codes,
        keypoints=keypoints,
        source=loaded.source,
        notes=tuple(notes),
    )


def _plain_boxes(
    loaded: Loaded, plain: PlainResults, truth: GroundTruth, iou_type: str
) -> Detections:
    where = loaded.where
    if iou_type != "bbox":
        checks.field([{}], KEY_OF[iou_type], where=where, what="result")
    return Detections(
        image=checks.index_of(
            plain.image_id,
            truth.images.ids,
            where=where,
            label="image_id",
            target="images of the ground truth",
        ),
        category=checks.index_of(
            plain.category_id,
            truth.categories.ids,
            where=where,
            label="category_id",
            target="categories of the ground truth",
        ),
        score=plain.score,
        box=plain.box,
        area=plain.box[:, 2] * plain.box[:, 3],
        rle=None,
        keypoints=None,
        source=loaded.source,
        notes=(),
    )


def _ids(
    records: Sequence[dict[str, Any]], key: str, known: IntArray, where: str, target: str
) -> IntArray:
    ids = checks.int_column(
        checks.field(records, key, where=where, what="result"), where=where, label=key
    )
    return checks.index_of(ids, known, where=where, label=key, target=target)


def _boxes(
    records: Sequence[dict[str, Any]], truth: GroundTruth, image: IntArray, where: str
) -> FloatArray:
    if records and "bbox" not in records[0] and "segmentation" in records[0]:
        codes, _ = _codes(records, truth, image, where)
        return _mask_boxes(codes)
    return checks.box_column(
        checks.field(records, "bbox", where=where, what="result"), where=where
    ).reshape(-1, 4)


def _mask_boxes(codes: Sequence[dict[str, Any]]) -> FloatArray:
    if not codes:
        return empty_floats(0, 4)
    return np.concatenate(
        [mask_api.toBbox(list(codes[i : i + 200])) for i in range(0, len(codes), 200)]
    ).astype(np.float64)


def _codes(
    records: Sequence[dict[str, Any]], truth: GroundTruth, image: IntArray, where: str
) -> tuple[tuple[dict[str, Any], ...], FloatArray]:
    if truth.segmentation is None:
        raise InputError(
            f"{where}: masks cannot be evaluated because the ground truth has none (or its images no size); "
            "leave `--iou-type segm` out."
        )
    values = checks.field(records, "segmentation", where=where, what="result")
    height, width = truth.images.height[image], truth.images.width[image]
    sizes = list(zip(height.tolist(), width.tolist(), strict=True))
    for size in sorted(set(sizes)):
        rle.check_size(*size, where=where, what="an image")
    codes = tuple(
        rle.to_code(v, size, where=where, what=f"result number {i}")
        for i, (v, size) in enumerate(zip(values, sizes, strict=True))
    )
    area = rle.code_areas(
        [c["counts"] for c in codes], height * width, where=where, label="result mask"
    )
    return codes, area


def _points(
    records: Sequence[dict[str, Any]], truth: GroundTruth, where: str
) -> tuple[FloatArray, FloatArray]:
    if truth.keypoints is None:
        raise InputError(
            f"{where}: keypoints cannot be evaluated because the ground truth has none; leave `--iou-type keypoints` out."
        )
    number = truth.keypoints.shape[1]
    points = checks.matrix_column(
        checks.field(records, "keypoints", where=where, what="result"),
        width=3 * number,
        where=where,
        label="keypoints",
        lengths=f"{number} times x, y, score",
    ).reshape(-1, number, 3)
    if records and not records[0].get("bbox"):
        low, high = points[:, :, :2].min(axis=1), points[:, :, :2].max(axis=1)
        return points, np.concatenate([low, high - low], axis=1)
    boxes = checks.box_column(
        checks.field(records, "bbox", where=where, what="result"), where=where
    ).reshape(-1, 4)
    return points, boxes
