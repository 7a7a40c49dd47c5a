"""A run folder with made-up results: generated images, invented metrics and detections. For tests of reports only."""

import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ("circle", "square", "triangle", "star", "cross", "person")
LAYERS = (
    ("backbone.bottom_up.stem.conv1.weight", "stem", 9_408),
    *((f"backbone.bottom_up.res{s}.{b}.conv{c}.weight", "backbone", 9_216 * 4 ** (s - 2)) for s in (2, 3, 4) for b in (0, 1) for c in (1, 2)),
    *((f"backbone.fpn_lateral{s}.weight", "fpn", 16_384) for s in (2, 3, 4)),
    *((f"backbone.fpn_output{s}.weight", "fpn", 147_456) for s in (2, 3, 4)),
    ("proposal_generator.rpn_head.conv.weight", "rpn", 147_456),
    ("roi_heads.box_head.fc1.weight", "box_head", 802_816),
    ("roi_heads.box_head.fc2.weight", "box_head", 65_536),
    ("roi_heads.mask_head.mask_fcn1.weight", "mask_head", 147_456),
    ("roi_heads.box_predictor.cls_score.weight", "predictors", 1_792),
)  # fmt: skip
BONES = ((1, 2), (2, 3), (3, 4))


def make_run(folder, *, rounds=5, keypoints=False, images=8, size=(160, 120)):
    """Write a run of ``rounds`` rounds (the first is dense) and two controls; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    truth = _write_dataset(folder / "data", images, size, rng, keypoints)
    models = [_model(folder, truth, index, rng, keypoints) for index in range(rounds)]
    controls = [
        {**_model(folder, truth, index, rng, keypoints, drop=4.0), "name": "random_layer_ratios"}
        for index in range(2, rounds, 2)
    ]
    results = {
        "format_version": 1,
        "task": "Mask R-CNN on shapes",
        "rounds": models,
        "controls": controls,
        "seed": 1,
        "config_sha256": "ab" * 32,
        "versions": {"torch": "2.14.1", "lth_det": "0.1.0", "detectron2": "0.6"},
        "dataset": {
            "name": "shapes_val",
            "json_file": str(folder / "data" / "val.json"),
            "image_root": str(folder / "data"),
            "classes": list(NAMES),
        },
        "rewind": "iteration 60",
    }
    (folder / "results.json").write_text(json.dumps(results))
    times = [{"round": i, "train_seconds": 120.5 - i, "eval_seconds": 9.25} for i in range(rounds)]
    (folder / "timings.json").write_text(json.dumps({"rounds": times, "total_seconds": 640.0}))
    return folder


def edit_results(folder, change):
    """Apply ``change`` to the content of results.json."""
    path = Path(folder) / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


def _write_dataset(folder, images, size, rng, keypoints):
    folder.mkdir(exist_ok=True)
    width, height = size
    annotations, entries = [], []
    for image_id in range(1, images + 1):
        picture = np.full((height, width, 3), rng.integers(150, 235, 3), np.uint8)
        noise = rng.integers(-12, 12, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        for _ in range(int(rng.integers(3, 8))):
            w, h = (int(v) for v in rng.integers(14, 60, 2))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            category = int(rng.integers(1, len(NAMES) + 1))
            polygon = _shape(category, x, y, w, h)
            cv2.fillPoly(picture, [polygon], [int(v) for v in rng.integers(0, 200, 3)])
            annotations.append(
                _annotation(len(annotations) + 1, image_id, category, polygon, (x, y, w, h))
            )
        name = f"{image_id:06d}.png"
        cv2.imwrite(str(folder / name), picture)
        entries.append({"id": image_id, "file_name": name, "width": width, "height": height})
    annotations[0]["iscrowd"] = 1
    if not keypoints:
        for annotation in annotations:
            del annotation["keypoints"]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    for category in categories:
        if keypoints:
            category |= {"keypoints": ["a", "b", "c", "d"], "skeleton": [list(b) for b in BONES]}
    truth = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "val.json").write_text(json.dumps(truth))
    return truth


def _shape(category, x, y, w, h):
    count = (24, 4, 3, 10, 12, 8)[category - 1]
    angles = 2 * np.pi * np.arange(count) / count + (np.pi / 4 if count == 4 else -np.pi / 2)
    radius = np.where(np.arange(count) % 2 == 1, 0.45, 1.0) if count in (10, 12) else 1.0
    points = np.stack(
        [x + w / 2 + w / 2 * radius * np.cos(angles), y + h / 2 + h / 2 * radius * np.sin(angles)],
        axis=1,
    )
    return points.round().astype(np.int32)


def _annotation(number, image_id, category, polygon, box):
    x, y, w, h = box
    joints = [[x + w * f, y + h * (0.2 + 0.2 * i), 2] for i, f in enumerate((0.5, 0.3, 0.7, 0.5))]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [polygon.ravel().tolist()],
        "keypoints": [value for joint in joints for value in joint],
    }


def _model(folder, truth, index, rng, keypoints, drop=0.0):
    kept = 0.5**index
    fall = drop * index + 0.8 * max(0, index - 2) ** 2 - 1.2 * min(index, 2)
    name = f"round_{index:02d}" + ("/control_random" if drop else "")
    layers = [_layer(entry, kept, i) for i, entry in enumerate(LAYERS)]
    total = sum(layer["total_parameters"] for layer in layers)
    pruned = sum(layer["pruned_parameters"] for layer in layers)
    prunable = sum(layer["total_parameters"] for layer in layers if layer["prunable"])
    path = folder / name / "inference" / "coco_instances_results.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(_detections(truth, rng, lost=0.12 + 0.05 * max(0.0, fall), keypoints=keypoints))
    )
    return {
        "round": index,
        "prune_rate": pruned / prunable,
        "sparsity": pruned / total,
        "metrics": _metrics(55.0 - fall, index, keypoints),
        "ticket": f"{name}/ticket.safetensors" if index else None,
        "ticket_sha256": f"{index:02d}" * 32 if index else None,
        "groups": _groups(layers),
        "layers": layers,
        "predictions": str(path.relative_to(folder)),
        "weights": f"{name}/model_final.pth",
    }


def _layer(entry, kept, place):
    name, group, count = entry
    prunable = group != "predictors"
    share = min(1.0, kept * (0.6 + 0.8 * ((place * 7) % 11) / 11)) if kept < 1 else 1.0
    return {
        "name": name,
        "group": group,
        "shape": [count],
        "total_parameters": count,
        "prunable": prunable,
        "pruned_parameters": round(count * (1 - share)) if prunable else 0,
    }


def _groups(layers):
    result = {}
    for layer in layers:
        counts = result.setdefault(
            layer["group"],
            {"total_parameters": 0, "prunable_parameters": 0, "pruned_parameters": 0},
        )
        counts["total_parameters"] += layer["total_parameters"]
        counts["prunable_parameters"] += layer["total_parameters"] * layer["prunable"]
        counts["pruned_parameters"] += layer["pruned_parameters"]
    for counts in result.values():
        counts["sparsity"] = counts["pruned_parameters"] / counts["total_parameters"]
        rest = counts["prunable_parameters"]
        counts["prune_rate"] = counts["pruned_parameters"] / rest if rest else None
    return result


def _metrics(ap, index, keypoints):
    metrics = {}
    for task, shift in (("bbox", 0.0), ("keypoints" if keypoints else "segm", -4.0)):
        value = ap + shift
        metrics |= {
            f"{task}/AP": value,
            f"{task}/AP50": value + 22,
            f"{task}/AP75": value + 3,
            f"{task}/APs": value - 17 - 1.5 * index,
            f"{task}/APm": value + 2,
            f"{task}/APl": value + 9 + 0.6 * index,
        }
        for place, name in enumerate(NAMES):
            metrics[f"{task}/AP-{name}"] = value + 6 * np.sin(place) - index * (place - 2.5) * 0.7
    return metrics


def _detections(truth, rng, *, lost, keypoints):
    found = []
    for entry in truth["annotations"]:
        if rng.random() < lost:
            continue
        x, y, w, h = entry["bbox"]
        dx, dy = rng.normal(0, 0.05, 2) * (w, h)
        category = entry["category_id"] if rng.random() > 0.08 else 1 + entry["category_id"] % 6
        polygon = np.add(np.array(entry["segmentation"][0]).reshape(-1, 2), (dx, dy))
        item = {
            "image_id": entry["image_id"],
            "category_id": category,
            "bbox": [float(x + dx), float(y + dy), float(w), float(h)],
            "score": float(rng.beta(6, 2)),
            "segmentation": [polygon.ravel().tolist()],
        }
        if keypoints:
            flat = np.add(np.array(entry["keypoints"]).reshape(-1, 3), (dx, dy, 0))
            item["keypoints"] = flat.ravel().tolist()
        found.append(item)
    return found
