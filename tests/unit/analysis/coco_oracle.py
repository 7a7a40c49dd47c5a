"""Random COCO data in memory, and pycocotools as the oracle the analysis is compared with."""

import contextlib
import copy
import io

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lth_det.analysis.compiled import KernelUnavailableError, load_compiled

POINTS = 17


def _backends():
    """Both back ends where there is a C compiler, NumPy alone elsewhere."""
    try:
        load_compiled()
    except KernelUnavailableError:
        return ("numpy",)
    return ("numpy", "compiled")


BACKENDS = _backends()
WIDTH, HEIGHT = 320, 240


def _box(rng, width, height):
    side = np.exp(rng.uniform(1.5, 5.0, 2))
    w, h = min(side[0], width - 2), min(side[1], height - 2)
    return [
        round(float(rng.uniform(0, width - w)), 2),
        round(float(rng.uniform(0, height - h)), 2),
        round(float(w), 2),
        round(float(h), 2),
    ]


def _near(rng, box, spread):
    x, y, w, h = box
    dx, dy, dw, dh = rng.normal(0, spread, 4)
    return [
        round(x + dx * w, 2),
        round(y + dy * h, 2),
        round(w * float(np.exp(dw)), 2),
        round(h * float(np.exp(dh)), 2),
    ]


def _rle(box, width, height):
    return mask_api.frPyObjects(np.array([box], dtype=float), height, width)[0]


def _text(code):
    return {"size": [int(v) for v in code["size"]], "counts": code["counts"].decode()}


def _points(rng, box, labelled):
    xy = np.array(box[:2]) + rng.random((POINTS, 2)) * np.array(box[2:])
    seen = rng.integers(0, 3, POINTS) if labelled else np.zeros(POINTS, int)
    return np.concatenate([np.round(xy, 2), seen[:, None]], axis=1)


def _annotation(rng, box, identity, k, is_crowd):
    return {
        "id": identity,
        "image_id": 0,
        "category_id": k,
        "bbox": box,
        "area": round(box[2] * box[3] * float(rng.uniform(0.3, 1.0)), 2),
        "iscrowd": is_crowd,
    }


def _result(rng, box, k, kind, points):
    """One detection; ``kind`` is ``bbox``, ``segm`` or ``keypoints``, ``points`` (P, 2) near the truth."""
    result = {"image_id": 0, "category_id": k, "score": float(rng.random())}
    if kind == "segm":
        return result | {"segmentation": _text(_rle(box, WIDTH, HEIGHT))}
    if kind == "keypoints":
        table = np.concatenate([np.round(points, 2), np.ones((POINTS, 1))], axis=1)
        result["keypoints"] = table.ravel().tolist()
    return result | {"bbox": box}


def _scene(rng, kind, classes, per_image, crowd):
    """Return the annotations and detections of one image."""
    annotations, results = [], []
    for _ in range(rng.poisson(per_image)):
        box, k = _box(rng, WIDTH, HEIGHT), int(rng.integers(classes)) * 2 + 1
        is_crowd = int(rng.random() < crowd)
        annotation = _annotation(rng, box, 0, k, is_crowd)
        points = _points(rng, box, rng.random() < 0.85 and not is_crowd)
        if kind == "segm":
            as_code = is_crowd or rng.random() < 0.3
            annotation["segmentation"] = (
                _text(_rle(box, WIDTH, HEIGHT)) if as_code else [_corners(box)]
            )
        if kind == "keypoints":
            annotation["keypoints"] = points.ravel().tolist()
            annotation["num_keypoints"] = int((points[:, 2] > 0).sum())
        annotations.append(annotation)
        for _ in range(rng.integers(0, 4)):
            guess = _near(rng, box, rng.choice([0.02, 0.1, 0.3]))
            other = int(rng.integers(classes)) * 2 + 1
            near = points[:, :2] + rng.normal(0, 0.08 * box[2], (POINTS, 2))
            results.append(_result(rng, guess, other if rng.random() < 0.2 else k, kind, near))
    for _ in range(rng.poisson(1.0)):
        guess = _box(rng, WIDTH, HEIGHT)
        points = _points(rng, guess, True)[:, :2]
        results.append(_result(rng, guess, int(rng.integers(classes)) * 2 + 1, kind, points))
    return annotations, results


def make_coco(
    seed,
    *,
    images=12,
    classes=4,
    decimals=6,
    masks=False,
    keypoints=False,
    per_image=4.0,
    crowd=0.1,
):
    """Return (ground truth, results): image ids with gaps and out of order, crowds, several detections per object."""
    rng = np.random.default_rng(seed)
    kind = "segm" if masks else "keypoints" if keypoints else "bbox"
    ids = rng.permutation(np.arange(images) * 3 + 2).tolist()
    truth = {
        "images": [
            {"id": i, "width": WIDTH, "height": HEIGHT, "file_name": f"{i}.jpg"} for i in ids
        ],
        "categories": [{"id": 2 * k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [],
    }
    results = []
    for image in ids:
        annotations, found = _scene(rng, kind, classes, per_image, crowd)
        for annotation in annotations:
            number = len(truth["annotations"]) + 1
            truth["annotations"].append(annotation | {"id": number, "image_id": image})
        results += [r | {"image_id": image, "score": round(r["score"], decimals)} for r in found]
    return truth, results


def _corners(box):
    x, y, w, h = box
    return [x, y, x, y + h, x + w, y + h, x + w, y]


def oracle(
    truth, results, iou_type, *, ranges=None, truth_area=None, result_area=None, sigmas=None
):
    """Run pycocotools on copies.

    ``ranges`` replaces the area ranges; ``truth_area`` / ``result_area`` (functions of the record) replace the areas
    after loading: the area-remap trick that makes pycocotools evaluate any group of objects.

    Returns:
        The COCOeval object after ``accumulate``; ``stats`` is filled when ``ranges`` is None.
    """
    truth, results = copy.deepcopy(truth), copy.deepcopy(results)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        dt = gt.loadRes(results)
        if truth_area is not None:
            for annotation in gt.dataset["annotations"]:
                annotation["area"] = truth_area(annotation)
        if result_area is not None:
            for result in dt.dataset["annotations"]:
                result["area"] = result_area(result)
        evaluation = COCOeval(gt, dt, iou_type)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if ranges is not None:
            evaluation.params.areaRng = ranges
            evaluation.params.areaRngLbl = [str(i) for i in range(len(ranges))]
        evaluation.evaluate()
        evaluation.accumulate()
        if ranges is None:
            evaluation.summarize()
    return evaluation


def oracle_tables(evaluation):
    """Return pycocotools' AP (T, K, A) and recall (T, K, A) at the largest limit, NaN instead of -1."""
    precision = evaluation.eval["precision"][:, :, :, :, -1]
    ap = np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))
    recall = evaluation.eval["recall"][:, :, :, -1]
    return ap, np.where(recall < 0, np.nan, recall)
