"""Paired bootstrap over images: every model sees the same multinomial image weights.

A replicate weights each object and detection by how often its image was drawn; a class without a weighted object leaves
the replicate's mean, for all models alike. Without ties inside an image it equals pycocotools on a data set in which
the images are really repeated. Drawing without repetition would make standard errors about a quarter too small.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lth_det.analysis.axes import FIRST, FULL, SECOND, AxisBin
from lth_det.analysis.checks import BoolArray, FloatArray
from lth_det.analysis.evaluate import Matched, Setting, only_images
from lth_det.analysis.groups import chunks

JACKKNIFE_BLOCKS = 50
FEWEST_SEEDS = 3
# Annotations x groups x replicates above which only "all" and the COCO sizes get intervals unless asked for.
CHEAP = 300_000_000


@dataclass(frozen=True)
class Draws:
    """Image weights shared by all models: ``count`` bootstrap rows, then the jackknife rows, (B + J, I)."""

    count: int
    weights: FloatArray
    seed: int


@dataclass(frozen=True)
class Replicates:
    """Replicated class AP of one file.

    ``ap`` {images: {group: (B + J, K)}} means over thresholds; ``ap50``, ``ap75`` (B + J, K) of the group "all".
    """

    ap: dict[str, dict[int, FloatArray]]
    ap50: FloatArray
    ap75: FloatArray


def draw(images: int, count: int, seed: int) -> Draws:
    """Return ``count`` multinomial draws of the images and, below them, 50 rows that leave one block of images out."""
    if count == 0 or images == 0:
        return Draws(0, np.zeros((0, images)), seed)
    generator = np.random.default_rng([seed, 1])
    drawn = generator.multinomial(images, np.full(images, 1.0 / images), size=count)
    blocks = min(JACKKNIFE_BLOCKS, images)
    block = generator.permutation(images) % blocks
    left_out = block[None, :] != np.arange(blocks)[:, None]
    return Draws(count, np.concatenate([drawn, left_out]).astype(np.float64), seed)


def bootstrap_file(
    setting: Setting,
    matched: Matched,
    draws: Draws,
    *,
    groups: tuple[int, ...],
    halves: tuple[BoolArray, BoolArray] | None,
) -> Replicates | None:
    """Return the replicates of a matched file for the groups asked for; None without draws.

    Args:
        setting: the ground truth side.
        matched: the result file.
        draws: shared image weights.
        groups: group indices, 0 ("all") first.
        halves: image halves of cross-fitting, (I,) each; None: no cross-fitting.
    """
    if draws.count == 0:
        return None
    ap: dict[str, dict[int, FloatArray]] = {FULL: {}}
    heads: list[FloatArray] = []
    for group in groups:
        full = _group_replicates(setting, matched, draws, group, None)
        ap[FULL][group] = full.mean(axis=1)
        if group == 0:
            heads = [full[:, 0].copy(), full[:, 5].copy()]
        if halves is not None:
            for name, half in zip((FIRST, SECOND), halves, strict=True):
                part = _group_replicates(setting, matched, draws, group, half)
                ap.setdefault(name, {})[group] = part.mean(axis=1)
    return Replicates(ap, *heads)


def _group_replicates(
    setting: Setting, matched: Matched, draws: Draws, group: int, images: BoolArray | None
) -> FloatArray:
    for i, chunk in enumerate(chunks(setting.table)):
        if chunk.start <= group < chunk.stop:
            verdicts, bits = matched.verdicts[i], matched.bits[i]
            weights = draws.weights
            if images is not None:
                verdicts, bits = only_images(verdicts, bits, images[matched.cells.image])
                weights = weights * images
            return setting.backend.bootstrap(
                matched.cells, verdicts, bits, group - chunk.start, weights
            )
    raise IndexError(group)


def groups_to_bootstrap(
    setting: Setting, count: int, axes: tuple[str, ...] | None
) -> tuple[int, ...]:
    """Return the groups whose bins get intervals: "all", the COCO sizes, and the axes asked for (None: all if cheap)."""
    groups = setting.table.groups
    cheap = setting.cells.row.size * len(groups) * count <= CHEAP
    chosen = [0]
    for i, group in enumerate(groups[1:], start=1):
        coarse = group.axis == "size" and group.name in ("small", "medium", "large")
        if coarse or (axes is None and cheap) or (axes is not None and group.axis in axes):
            chosen.append(i)
    return tuple(chosen)


class ModelReplicates:
    """Replicates of a model: the mean over its seeds, resampled too when there are at least three."""

    def __init__(self, files: list[Replicates], draws: Draws, *, stream: int) -> None:
        self._files = files
        self._draws = draws
        self._stream = stream

    @cached_property
    def _shares(self) -> FloatArray:
        """(S, B + J) weight of every seed in every row."""
        seeds, rows = len(self._files), self._draws.weights.shape[0]
        shares = np.full((seeds, rows), 1.0 / seeds)
        if seeds >= FEWEST_SEEDS:
            generator = np.random.default_rng([self._draws.seed, 3, self._stream])
            drawn = generator.multinomial(
                seeds, np.full(seeds, 1.0 / seeds), size=self._draws.count
            )
            shares[:, : self._draws.count] = drawn.T / seeds
        return shares

    def _mean(self, arrays: list[FloatArray]) -> FloatArray:
        if len(arrays) == 1:
            return arrays[0]
        total: FloatArray = sum(
            (share[:, None] * a for share, a in zip(self._shares, arrays, strict=True)),
            start=np.zeros_like(arrays[0]),
        )
        return total

    def of_bin(self, bin_: AxisBin) -> FloatArray | None:
        """Return the AP of a bin in every row, (B + J,); None where its group was not replicated."""
        parts = []
        for selection in bin_.selections:
            stored = [f.ap.get(selection.images, {}).get(bin_.group) for f in self._files]
            known = [s for s in stored if s is not None]
            if len(known) < len(stored):
                return None
            parts.append(row_means(self._mean(known)[:, selection.classes]))
        return row_means(np.stack(parts, axis=1))

    def headline(self, metric: str, classes: BoolArray) -> FloatArray:
        """Return AP, AP50 or AP75 over all objects in every row, (B + J,)."""
        if metric == "AP":
            arrays = [f.ap[FULL][0] for f in self._files]
        else:
            arrays = [f.ap50 if metric == "AP50" else f.ap75 for f in self._files]
        return row_means(self._mean(arrays)[:, classes])


def row_means(values: FloatArray) -> FloatArray:
    """Return the mean of the known values of every row (R, C) -> (R,); NaN where a row has none."""
    known = np.isfinite(values)
    number = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: FloatArray = np.divide(total, number, out=np.full(number.size, np.nan), where=number > 0)
    return mean
