#!/usr/bin/env python
"""Write a made-up, COCO-val-sized ground truth and result files of several models, the same bytes for the same arguments.

Nothing is COCO data: classes, boxes and scores are drawn from a seeded generator whose marginals imitate val2017 (80
classes with gaps in their ids, long-tailed, one class near 30 %; about 41 / 34 / 25 % small / medium / large objects;
about 7.4 objects and 52 detections of many classes per image). Models share a latent ease per object, so that they are
related as detectors are; a lower quality costs most on small objects and rare classes.

    python benchmarks/analysis_data.py --out /tmp/coco5k --images 5000 --models 10
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

IDS = np.array([i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}])
SIZES = np.array([(640, 480), (480, 640), (640, 427), (427, 640), (500, 375)])
QUALITIES = (1.0, 0.97, 0.94, 0.91, 0.88, 0.84, 0.78, 0.70, 0.60, 0.45)
DUPLICATES = ((0.55, 0.16, 2.2), (0.30, 0.28, 3.0))  # share of objects, spread, loss of score
CONFUSIONS = ((1, 0.35, 1.9), (3, 0.22, 2.6))  # class offset, share of objects, loss of score


def _sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


class World:
    """Classes, images and objects, as columns; ``box`` is XYWH in pixels, ``image`` and ``category`` are indices."""

    def __init__(self, images: int, seed: int) -> None:
        dice = np.random.default_rng([seed, 1])
        k = IDS.size
        share = 1.0 / (np.arange(k) + 9.0) ** 2
        share[0] = 0.0
        self.prior = 0.7 * share / share.sum()
        self.prior[0] = 0.3
        self.prior = self.prior[np.concatenate([[0], 1 + dice.permutation(k - 1)])]
        self.class_ease = dice.normal(0, 0.9, k)
        self.wh = SIZES[dice.choice(len(SIZES), images)]
        count = dice.negative_binomial(1.15, 1.15 / 8.6, images).clip(0, 63)
        self.image = np.repeat(np.arange(images), count)
        # Every image shows a few classes only, so that objects of a class stand together.
        palette = np.stack([dice.choice(k, 4, replace=False, p=self.prior) for _ in range(images)])
        self.category = palette[self.image, dice.integers(0, 4, self.image.size)]
        n = self.image.size
        side = np.exp(3.78 + dice.normal(0, 0.45, k)[self.category] + dice.normal(0, 1.1, n))
        self.crowd = dice.random(n) < 0.012
        side = np.where(self.crowd, side * 2.2, side).clip(2, 400)
        aspect = np.exp(dice.normal(0, 0.5, n))
        fill = dice.beta(6, 3.5, n).clip(0.2, 0.98)
        area = side**2 / fill
        wh = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], 1)
        self.box = self.clip(dice.random((n, 2)) * self.wh[self.image] - wh / 2, wh, self.image)
        self.area = (self.box[:, 2] * self.box[:, 3] * fill).round(4)
        self.latent = dice.normal(0, 1.0, n)

    def clip(self, corner: Any, wh: Any, image: Any) -> Any:
        """Return XYWH boxes inside their images, at least 2 px wide and high, rounded to 0.01 px."""
        limit = self.wh[image]
        low = np.clip(corner, 0, limit - 3)
        high = np.maximum(np.clip(corner + wh, 0, limit), low + 2)
        return np.concatenate([low, high - low], axis=1).round(2)

    def truth(self) -> dict[str, Any]:
        """Return the COCO ground truth."""
        return {
            "images": [
                {"id": i + 1, "file_name": f"{i + 1:012d}.jpg", "width": int(w), "height": int(h)}
                for i, (w, h) in enumerate(self.wh)
            ],
            "categories": [{"id": int(i), "name": f"class {i}"} for i in IDS],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(self.image[i]) + 1,
                    "category_id": int(IDS[self.category[i]]),
                    "bbox": self.box[i].tolist(),
                    "area": float(self.area[i]),
                    "iscrowd": int(self.crowd[i]),
                }
                for i in range(self.image.size)
            ],
        }

    def results(self, quality: float, stream: Sequence[int]) -> list[dict[str, Any]]:
        """Return the detections of a model; ``quality`` 1.0 is the dense one, ``stream`` seeds it."""
        dice = np.random.default_rng(list(stream))
        loss = 1.0 - quality
        size = np.log(np.sqrt(self.area) / 32.0)
        rarity = np.log(self.prior / np.median(self.prior)).clip(-2, 2)[self.category]
        ease = 0.9 + 0.75 * size + self.class_ease[self.category] + self.latent
        ease += dice.normal(0, 0.55, size.size) - loss * (1.1 + 0.5 * (size < 0) - 0.35 * rarity)
        hit = dice.random(size.size) < _sigmoid(ease + 0.6)
        parts = []

        def emit(rows: Any, spread: Any, score: Any, category: Any) -> None:
            box = self.box[rows]
            noise = (
                dice.normal(0, 1, (len(rows), 4))
                * np.reshape(spread, (-1, 1))
                * box[:, [2, 3, 2, 3]]
            )
            wh = np.maximum(box[:, 2:] + noise[:, 2:], 1)
            parts.append((self.image[rows], category, score, box[:, :2] + noise[:, :2], wh))

        rows = np.flatnonzero(hit)
        spread = (0.035 + 0.03 * loss) * np.exp(dice.normal(0, 0.6, rows.size))
        spread = (spread * (1 + 0.8 * np.exp(-size[rows].clip(-1.5, 3)))).clip(0.003, 0.6)
        score = _sigmoid(0.9 * ease[rows] + dice.normal(0, 0.8, rows.size))
        emit(rows, spread, score, self.category[rows])
        for share, wide, drop in DUPLICATES:
            rows = np.flatnonzero(hit & (dice.random(size.size) < share))
            score = _sigmoid(0.8 * ease[rows] - drop + dice.normal(0, 0.8, rows.size))
            emit(rows, wide * np.exp(dice.normal(0, 0.3, rows.size)), score, self.category[rows])
        for offset, share, drop in CONFUSIONS:
            rows = np.flatnonzero(dice.random(size.size) < share + 0.05 * loss)
            score = _sigmoid(0.6 * ease[rows] - drop + dice.normal(0, 0.9, rows.size))
            spread = 0.09 * np.exp(dice.normal(0, 0.4, rows.size))
            emit(rows, spread, score, (self.category[rows] + offset) % IDS.size)
        parts.append(self._background(dice, np.concatenate([p[0] for p in parts])))
        return self._records(parts)

    def _background(self, dice: Any, have: Any) -> Any:
        images = len(self.wh)
        target = dice.gamma(3.2, 53 / 3.2, images).clip(0, 160).astype(int)
        image = np.repeat(
            np.arange(images), np.maximum(target - np.bincount(have, minlength=images), 0)
        )
        side = np.exp(3.5 + dice.normal(0, 1.2, image.size)).clip(3, 420)
        aspect = np.exp(dice.normal(0, 0.5, image.size))
        wh = np.stack([side * np.sqrt(aspect), side / np.sqrt(aspect)], 1)
        flat = np.sqrt(self.prior)
        category = dice.choice(IDS.size, image.size, p=flat / flat.sum())
        corner = dice.random((image.size, 2)) * self.wh[image] - wh / 2
        return image, category, dice.beta(1.0, 7.0, image.size), corner, wh

    def _records(self, parts: Any) -> list[dict[str, Any]]:
        image, category, score, corner, wh = (np.concatenate(c) for c in zip(*parts, strict=True))
        box, score = self.clip(corner, wh, image), score.round(6)
        order = np.lexsort((-score, image))
        rank = np.arange(order.size) - np.searchsorted(image[order], image[order])
        return [
            {
                "image_id": int(image[i]) + 1,
                "category_id": int(IDS[category[i]]),
                "bbox": box[i].tolist(),
                "score": float(score[i]),
            }
            for i in order[rank < 100]
        ]


def write(folder: Path, images: int, models: int, seed: int = 20261121) -> tuple[Path, list[Path]]:
    """Write ``gt.json`` and one ``dt_NN.json`` per model unless they are there; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, results = folder / "gt.json", [folder / f"dt_{m:02d}.json" for m in range(models)]
    if all(p.exists() for p in (truth, *results)):
        return truth, results
    world = World(images, seed)
    truth.write_text(json.dumps(world.truth()))
    for m, path in enumerate(results):
        quality = QUALITIES[m % len(QUALITIES)]
        path.write_text(json.dumps(world.results(quality, (seed, 10, m))))
    return truth, results


def main() -> None:
    """Write the files and print their counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--models", type=int, default=10)
    arguments = parser.parse_args()
    truth, results = write(arguments.out, arguments.images, arguments.models)
    value = json.loads(truth.read_text())
    area = np.array([a["area"] for a in value["annotations"]])
    small, large = (area < 32**2).mean(), (area > 96**2).mean()
    print(f"{len(value['annotations'])} objects, {small:.0%} small, {large:.0%} large")
    print(f"{len(json.loads(results[0].read_text()))} detections in {results[0]}")


if __name__ == "__main__":
    main()
