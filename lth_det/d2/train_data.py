"""Training data whose order and augmentation depend on the seed and the position only.

Detectron2 draws a new shuffle when a run is resumed, and its augmentation follows whatever the worker's global random
state happens to be. Here batch ``i`` is the same whether the run got there without a break or was resumed, and
whatever the number of data-loading workers: this is what makes a resumed run equal to an unbroken one.
"""

import contextlib
import functools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, get_detection_dataset_dicts
from detectron2.data.common import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from lth_det.d2.readable import SampleError, SentenceMapper, annotations_of
from lth_det.errors import DataError

Key = tuple[int, int]  # (position in the stream, index of the image)


def seed_everything(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's (every device's) global generators from a sequence of non-negative integers."""
    seed = seed_cpu(*entropy)
    # Without one, torch.manual_seed notes a stack trace for a CUDA that never comes, for every sample.
    if _has_accelerator():
        torch.manual_seed(seed)


def seed_cpu(*entropy: int) -> int:
    """As :func:`seed_everything`, but leave the generators of GPUs alone; return torch's seed."""
    words = np.random.SeedSequence(list(entropy)).generate_state(4, np.uint32)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 (Detectron2's augmentation draws from the global generator)
    seed = int(words[2]) << 32 | int(words[3])
    torch.default_generator.manual_seed(seed)
    return seed


@functools.cache
def _has_accelerator() -> bool:
    others = torch.backends.mps.is_available() or torch.xpu.is_available()
    return torch.cuda.is_available() or others


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Give the global generators (Python, NumPy, torch CPU) back as they were when the block ends."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class PositionSeededDataset(Dataset[Any]):
    """Maps ``(position, index)`` to a training sample whose augmentation is drawn from ``(seed, position)``.

    An image that the mapper skips (``None``) is replaced by the next one that it does not skip.
    """

    def __init__(self, dicts: Sequence[dict[str, Any]], mapper: Any, seed: int) -> None:
        self._dicts = DatasetFromList([_with_arrays(item) for item in dicts], copy=False)
        self._mapper = mapper
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dicts)

    def __getitem__(self, key: Key) -> Any:
        position, index = key
        # Images are prepared on the CPU. With 0 workers that happens inside a step, whose draws on a GPU must stay those
        # that the step was seeded for.
        with kept_random_state():
            seed_cpu(self._seed, position)
            for step in range(len(self._dicts)):
                sample = self._mapper(self._dicts[(index + step) % len(self._dicts)])
                if sample is not None:
                    return sample
        raise SampleError("No training image has a usable annotation; check DATASETS.TRAIN.")


def _with_arrays(item: dict[str, Any]) -> dict[str, Any]:
    """Return an image's record with its polygons as arrays: the mapper copies its record, and lists number by number."""
    annotations = item.get("annotations")
    if annotations is None:
        return item
    return {**item, "annotations": [_with_array(one) for one in annotations]}


def _with_array(annotation: dict[str, Any]) -> dict[str, Any]:
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list):
        return annotation
    # Detectron2 makes the same arrays of them, of the same types.
    return {**annotation, "segmentation": [np.asarray(polygon) for polygon in polygons]}


class DeterministicBatchSampler(Sampler[list[Key]]):
    """An endless stream of batches: shuffled epochs, split over ranks, grouped by aspect ratio if asked.

    The rules are those of Detectron2's ``TrainingSampler`` and ``AspectRatioGroupedDataset``.

    Args:
        portrait: bool array (N,): which images are higher than wide; ``None`` = no grouping.
        size: N, the number of images.
        batch_size: images per batch of this rank.
        seed: of the shuffle, the same on all ranks.
        start: number of batches to pass over, for a resumed run.
        process: rank of this process and number of processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int,
        portrait: np.ndarray[Any, Any] | None = None,
        start: int = 0,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self._size, self._batch_size = size, batch_size
        self._seed, self._portrait, self._start = seed, portrait, start
        self._rank, self._world_size = process

    def __iter__(self) -> Iterator[list[Key]]:
        batches = self._batches()
        for _ in range(self._start):
            next(batches)
        yield from batches

    def _batches(self) -> Iterator[list[Key]]:
        buckets: tuple[list[Key], list[Key]] = ([], [])
        for key in self._keys():
            bucket = buckets[0 if self._portrait is None else int(self._portrait[key[1]])]
            bucket.append(key)
            if len(bucket) == self._batch_size:
                yield list(bucket)
                bucket.clear()

    def _keys(self) -> Iterator[Key]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        position = 0
        while True:
            for index in torch.randperm(self._size, generator=generator).tolist():
                if position % self._world_size == self._rank:
                    yield position, index
                position += 1


def build_train_loader(
    cfg: Any, *, seed: int, start: int = 0, process: tuple[int, int] | None = None
) -> DataLoader[Any]:
    """Return the training loader of ``cfg``, from batch ``start`` on.

    Args:
        cfg: a full Detectron2 configuration; ``DATASETS``, ``DATALOADER``, ``INPUT`` and ``SOLVER.IMS_PER_BATCH``
            mean what they mean there (the samplers other than ``TrainingSampler`` are refused).
        seed: of the order and the augmentation, the same on all ranks.
        start: batches to pass over (the iteration a resumed run starts at).
        process: rank and number of processes that share a batch; ``None`` = those of the run.

    Raises:
        DataError: the batch cannot be divided among the processes, the sampler is not supported, or the annotations
            cannot be read.
    """
    rank, world_size = process or (comm.get_rank(), comm.get_world_size())
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise DataError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}; with LTH.ENABLED only 'TrainingSampler' "
            "can be resumed exactly."
        )
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise DataError(
            f"SOLVER.IMS_PER_BATCH ({cfg.SOLVER.IMS_PER_BATCH}) must be a multiple of the {world_size} processes."
        )
    with annotations_of(cfg.DATASETS.TRAIN):
        dicts = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
            if cfg.MODEL.KEYPOINT_ON
            else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
    portrait = None
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        portrait = np.array([item["width"] <= item["height"] for item in dicts])
    sampler = DeterministicBatchSampler(
        len(dicts),
        cfg.SOLVER.IMS_PER_BATCH // world_size,
        seed=seed,
        portrait=portrait,
        start=start,
        process=(rank, world_size),
    )
    mapper = SentenceMapper(DatasetMapper(cfg, is_train=True))
    dataset = PositionSeededDataset(dicts, mapper, seed)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        # One thread for each worker: the training process owns the rest of the cores.
        worker_init_fn=_one_thread if cfg.DATALOADER.NUM_WORKERS else None,
    )


def _one_thread(worker: int) -> None:
    del worker
    torch.set_num_threads(1)
