"""Reading a COCO or LVIS ground truth into columns, without changing what was given."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from lth_det.analysis import checks, rle
from lth_det.analysis.checks import BoolArray, FloatArray, IntArray
from lth_det.analysis.columns import Categories, GroundTruth, Images, Source
from lth_det.analysis.read_json import parse_json, read_bytes, source_of
from lth_det.errors import InputError

_MOST_PER_IMAGE = 20_000
_MOST_CATEGORIES = 50_000  # tables have a row of all bins per category

PathLike = str | os.PathLike[str]


def read_ground_truth(source: PathLike | Mapping[str, Any]) -> GroundTruth:
    """Return the columns of a COCO or LVIS ground truth.

    Missing ``iscrowd`` means 0; a missing ``area`` is the area of the box, with a note. A file whose images have
    ``neg_category_ids`` is LVIS: detections of classes that were not verified on an image are ignored there.
    Unlike pycocotools, an annotation id of 0 is an id like any other.

    Args:
        source: path of the JSON file, or its value.

    Raises:
        InputError: one sentence saying what is wrong and where.
    """
    if isinstance(source, Mapping):
        return ground_truth_from_value(source, where="ground truth given in memory", file=None)
    data = read_bytes(source)
    where = os.fspath(source)
    value = parse_json(data, where)
    file = source_of(source, data, 0)
    del data
    return ground_truth_from_value(value, where=where, file=file)


def ground_truth_from_value(value: Any, *, where: str, file: Source | None) -> GroundTruth:
    """Return the columns of a ground truth that has been parsed already; see :func:`read_ground_truth`."""
    if not isinstance(value, Mapping):
        raise InputError(
            f"{where}: a ground truth is a JSON object with `images`, `annotations` and `categories`; "
            "was a result file given instead?"
        )
    missing = [k for k in ("images", "annotations", "categories") if k not in value]
    if missing:
        raise InputError(
            f"{where}: the ground truth has no `{missing[0]}`; give a COCO instances or keypoints file."
        )
    image_records = checks.require_records(value["images"], where=where, what="image")
    images, image_order = _images(image_records, where)
    categories = _categories(value["categories"], where)
    annotations = checks.require_records(value["annotations"], where=where, what="annotation")
    return _assemble(
        annotations, images, categories, [image_records[i] for i in image_order], where, file
    )


def _assemble(
    annotations: Sequence[dict[str, Any]],
    images: Images,
    categories: Categories,
    image_records: Sequence[dict[str, Any]],
    where: str,
    file: Source | None,
) -> GroundTruth:
    what = "annotation"
    ids = checks.int_column(
        checks.field(annotations, "id", where=where, what=what), where=where, label="id"
    )
    checks.unique_ids(ids, where=where, what=what)
    image = _index(annotations, "image_id", images.ids, where, "images of the ground truth")
    _check_crowding(image, images, where)
    category = _index(
        annotations, "category_id", categories.ids, where, "categories of the ground truth"
    )
    notes: list[str] = []
    box = checks.box_column(checks.field(annotations, "bbox", where=where, what=what), where=where)
    area = _area(annotations, box, where, notes)
    crowd = _crowd(annotations, where)
    keypoints, count = _keypoints(annotations, categories, where)
    verified, unverified = _federation(image_records, images, categories, (image, category), where)
    if any(a.get("ignore") for a in annotations):
        notes.append(
            f"{where}: some annotations have `ignore` set; as in pycocotools it has no effect, only `iscrowd` has."
        )
    source = file or Source(None, None, None, 0)
    return GroundTruth(
        images=images,
        categories=categories,
        ids=ids,
        image=image,
        category=category,
        box=box,
        area=area,
        crowd=crowd,
        segmentation=_masks(annotations, images, image, where, notes),
        keypoints=keypoints,
        num_keypoints=count,
        verified=verified,
        unverified=unverified,
        source=Source(source.path, source.sha256, source.size, len(annotations)),
        notes=tuple(notes),
    )


def _check_crowding(image: IntArray, images: Images, where: str) -> None:
    # Objects of one image are compared pair by pair.
    number = np.bincount(image, minlength=1)
    if number.max() > _MOST_PER_IMAGE:
        raise InputError(
            f"{where}: image {int(images.ids[int(number.argmax())])} has {int(number.max())} annotations, more than the "
            f"{_MOST_PER_IMAGE} that can be compared with each other; split the image."
        )


def _images(records: list[dict[str, Any]], where: str) -> tuple[Images, IntArray]:
    ids = checks.int_column(
        checks.field(records, "id", where=where, what="image"), where=where, label="image id"
    )
    checks.unique_ids(ids, where=where, what="image")
    order = np.argsort(ids, kind="stable")
    size = [
        checks.int_column([r.get(key) or 0 for r in records], where=where, label=key)[order]
        for key in ("width", "height")
    ]
    names = [str(r.get("file_name") or r.get("coco_url") or "") for r in records]
    images = Images(
        ids=ids[order], names=tuple(names[i] for i in order), width=size[0], height=size[1]
    )
    return images, order


def _categories(value: Any, where: str) -> Categories:
    records = checks.require_records(value, where=where, what="category")
    ids = checks.int_column(
        checks.field(records, "id", where=where, what="category"), where=where, label="category id"
    )
    checks.unique_ids(ids, where=where, what="category")
    if len(records) > _MOST_CATEGORIES:
        raise InputError(
            f"{where}: has {len(records)} categories, more than the {_MOST_CATEGORIES} that can be evaluated."
        )
    records = [records[i] for i in np.argsort(ids, kind="stable")]
    names = _distinct([str(r.get("name", r["id"])) for r in records], [r["id"] for r in records])
    counts = [
        checks.int_column([r.get(key, -1) for r in records], where=where, label=key)
        for key in ("image_count", "instance_count")
    ]
    points = [r.get("keypoints") or () for r in records]
    sigmas = [r.get("keypoint_sigmas") or r.get("sigmas") or () for r in records]
    if not all(isinstance(p, list | tuple) for p in chain(points, sigmas)):
        raise InputError(
            f"{where}: `keypoints` and `keypoint_sigmas` of a category must be lists, one entry per point."
        )
    return Categories(
        ids=np.sort(ids),
        names=names,
        frequency=tuple(str(r.get("frequency") or "") for r in records),
        train_images=counts[0],
        train_instances=counts[1],
        keypoints=tuple(tuple(str(n) for n in p) for p in points),
        sigmas=tuple(
            tuple(checks.number_column(list(s), where=where, label="keypoint_sigmas"))
            for s in sigmas
        ),
    )


def _distinct(names: list[str], ids: list[int]) -> tuple[str, ...]:
    repeated = {name for name, number in Counter(names).items() if number > 1}
    return tuple(
        f"{name} (id {i})" if name in repeated else name for name, i in zip(names, ids, strict=True)
    )


def _index(
    records: Sequence[dict[str, Any]], key: str, known: IntArray, where: str, target: str
) -> IntArray:
    ids = checks.int_column(
        checks.field(records, key, where=where, what="annotation"), where=where, label=key
    )
    return checks.index_of(ids, known, where=where, label=key, target=target)


def _area(
    records: Sequence[dict[str, Any]], box: FloatArray, where: str, notes: list[str]
) -> FloatArray:
    of_box = box[:, 2] * box[:, 3]
    lacking = [i for i, r in enumerate(records) if r.get("area") is None]
    values = [r.get("area") for r in records]
    for i in lacking:
        values[i] = float(of_box[i])
    if lacking:
        notes.append(
            f"{where}: {len(lacking)} annotations have no `area`; the area of their box is used."
        )
    return checks.number_column(values, where=where, label="area")


def _crowd(records: Sequence[dict[str, Any]], where: str) -> BoolArray:
    values = [r.get("iscrowd", 0) for r in records]
    if not set(map(type, values)) <= {int, bool} or not set(values) <= {0, 1}:
        index = next(
            i for i, v in enumerate(values) if type(v) not in (int, bool) or v not in (0, 1)
        )
        raise InputError(
            f"{where}: `iscrowd` of annotation number {index} is {checks.shown(values[index])}; it must be 0 or 1."
        )
    return np.array(values, dtype=bool)


def _keypoints(
    records: Sequence[dict[str, Any]], categories: Categories, where: str
) -> tuple[FloatArray | None, IntArray]:
    having = [i for i, r in enumerate(records) if r.get("keypoints")]
    number = np.zeros(len(records), dtype=np.int64)
    if not having:
        return None, number
    stated = {len(p) for p in categories.keypoints if p}
    width = 3 * stated.pop() if len(stated) == 1 else _first_width(records[having[0]], where)
    table = checks.matrix_column(
        [records[i]["keypoints"] for i in having],
        width=width,
        where=where,
        label="keypoints",
        lengths=f"{width // 3} times x, y, visibility",
    ).reshape(len(having), width // 3, 3)
    full = np.full((len(records), width // 3, 3), np.nan)
    full[having] = table
    visible = (table[:, :, 2] > 0).sum(axis=1)
    values = [records[i].get("num_keypoints", int(v)) for i, v in zip(having, visible, strict=True)]
    number[having] = checks.int_column(values, where=where, label="num_keypoints")
    return full, number


def _first_width(record: dict[str, Any], where: str) -> int:
    value = record["keypoints"]
    if not isinstance(value, list) or len(value) % 3:
        raise InputError(f"{where}: `keypoints` must be a list of x, y, visibility triples.")
    return len(value)


def _masks(
    records: Sequence[dict[str, Any]],
    images: Images,
    image: IntArray,
    where: str,
    notes: list[str],
) -> tuple[dict[str, Any] | None, ...] | None:
    having = [i for i, r in enumerate(records) if r.get("segmentation")]
    if not having:
        return None
    if (images.width[image[having]] < 1).any() or (images.height[image[having]] < 1).any():
        notes.append(f"{where}: masks are not used because images lack `width` and `height`.")
        return None
    masks: list[dict[str, Any] | None] = [None] * len(records)
    for i in having:
        size = (int(images.height[image[i]]), int(images.width[image[i]]))
        what = f"annotation {records[i]['id']}"
        rle.check_size(*size, where=where, what=f"the image of {what}")
        masks[i] = rle.to_code(records[i]["segmentation"], size, where=where, what=what)
    pixels = images.height[image[having]] * images.width[image[having]]
    codes = [m["counts"] for m in masks if m is not None]
    rle.code_areas(codes, pixels, where=where, label="annotation mask", merged=True)
    return tuple(masks)


def _federation(
    records: Sequence[dict[str, Any]],
    images: Images,
    categories: Categories,
    annotated: tuple[IntArray, IntArray],
    where: str,
) -> tuple[IntArray | None, IntArray]:
    if not any("neg_category_ids" in r for r in records):
        return None, np.zeros(0, dtype=np.int64)
    classes = categories.ids.size
    cells = {}
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        lists = [r.get(key) or [] for r in records]
        if not set(map(type, lists)) <= {list, tuple}:
            raise InputError(f"{where}: `{key}` of an image must be a list of category ids.")
        owner = np.repeat(np.arange(images.ids.size), [len(v) for v in lists])
        flat = checks.int_column(list(chain.from_iterable(lists)), where=where, label=key)
        position = checks.index_of(
            flat, categories.ids, where=where, label=key, target="categories of the ground truth"
        )
        cells[key] = owner * classes + position
    positive = annotated[0] * classes + annotated[1]
    verified = np.union1d(cells["neg_category_ids"], positive).astype(np.int64)
    return verified, np.unique(cells["not_exhaustive_category_ids"])
