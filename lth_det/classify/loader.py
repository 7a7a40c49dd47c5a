"""Batches whose content depends on the seed and the position only, so that a resumed training equals an unbroken one.

Position p (image number p of the training, from 0) belongs to pass p // N over the N training images; the order of a
pass is a permutation drawn from (seed, pass), the augmentation is drawn from (seed, position). Nothing is carried from
batch to batch: a loader starts anywhere at once, with any number of worker processes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lth_det.classify.config import DataConfig
from lth_det.classify.data.images import Images
from lth_det.classify.transforms import TrainTransform, ValTransform

_ORDER, _AUGMENT = 0, 1

Key = tuple[int, int]  # (position, index of the image)


class PositionSampler(Sampler[list[Key]]):
    """Batches of (position, index) from iteration ``start`` to ``stop``.

    Args:
        count: N, the number of training images.
        batch_size: images per batch.
        seed: of the order.
        start: first iteration.
        stop: past the last one.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, start: int, stop: int) -> None:
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._start, self._stop = start, stop

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    def __iter__(self) -> Iterator[list[Key]]:
        number, order = -1, np.empty(0, dtype=np.int64)
        for iteration in range(self._start, self._stop):
            batch = []
            first = iteration * self._batch_size
            for position in range(first, first + self._batch_size):
                if position // self._count != number:
                    number = position // self._count
                    order = _generator(self._seed, _ORDER, number).permutation(self._count)
                batch.append((position, int(order[position % self._count])))
            yield batch


class TrainSamples(Dataset[Any]):
    """Maps (position, index) to an augmented image (3, S, S) uint8 and its label."""

    def __init__(self, images: Images, config: DataConfig, seed: int) -> None:
        self._images, self._seed = images, seed
        self._transform = TrainTransform(config)

    def __len__(self) -> int:
        return len(self._images.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        position, index = key
        draw = _generator(self._seed, _AUGMENT, position)
        return self._transform(self._images[index], draw), int(self._images.labels[index])


class ValSamples(Dataset[Any]):
    """Maps an index to an image (3, S, S) uint8 without augmentation, and its label."""

    def __init__(self, images: Images, config: DataConfig) -> None:
        self._images = images
        self._transform = ValTransform(config)

    def __len__(self) -> int:
        return len(self._images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), int(self._images.labels[index])


def train_loader(
    images: Images, config: DataConfig, *, batch_size: int, seed: int, span: tuple[int, int]
) -> DataLoader[Any]:
    """Return the batches of iterations ``span`` (start, stop): images (B, 3, S, S) uint8 and labels (B,) int64."""
    sampler = PositionSampler(
        len(images.labels), batch_size, seed=seed, start=span[0], stop=span[1]
    )
    return DataLoader(
        TrainSamples(images, config, seed),
        batch_sampler=sampler,
        num_workers=config.workers,
        worker_init_fn=_one_thread if config.workers else None,
        generator=torch.Generator(),  # else a loader draws from the global one
    )


def val_loader(images: Images, config: DataConfig, *, batch_size: int) -> DataLoader[Any]:
    """Return the validation images: each once, in order, the last batch smaller where it must be."""
    return DataLoader(
        ValSamples(images, config),
        batch_size=batch_size,
        shuffle=False,
        drop_last=False,
        num_workers=config.workers,
        worker_init_fn=_one_thread if config.workers else None,
        generator=torch.Generator(),  # else a loader draws from the global one
    )


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(entropy))))


def _one_thread(worker: int) -> None:
    del worker
    torch.set_num_threads(1)
