import dataclasses
import itertools

import numpy as np
import pytest
import torch
from detectron2.data import (
    DatasetMapper,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import EvalHook, IterationTimer, PeriodicCheckpointer, PeriodicWriter
from detectron2.utils.env import seed_all_rng
from small_cfg import small_cfg

from lth_det.d2 import train_data
from lth_det.d2.hooks import MaskHook, RewindPointHook, SparsityWriterHook, StepSeedHook
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.d2.train_data import DeterministicBatchSampler, build_train_loader, seed_everything
from lth_det.d2.trainer import LotteryTrainer, RoundOptions
from lth_det.tickets.apply import count_revived
from lth_det.tickets.mask import Mask

pytestmark = [
    pytest.mark.d2,
    # Detectron2 leaves its writers' files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def half_mask(cfg):
    model = LotteryTrainer.build_model(cfg)
    table = parameter_table_from_cfg(cfg, model)
    generator = torch.Generator().manual_seed(0)
    parameters = dict(model.named_parameters())
    return Mask(
        {
            name: torch.rand(parameters[name].shape, generator=generator) > 0.5
            for name in table.prunable_names
        }
    )


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


class PowerCut(HookBase):
    def after_step(self):
        if self.trainer.iter == 2:
            raise RuntimeError("power cut")


def train(cfg, options, *, resume=False):
    seed_everything(cfg.SEED)
    trainer = LotteryTrainer(cfg, options)
    trainer.resume_or_load(resume=resume)
    trainer.test = lambda *_: {}  # evaluation has its own tests
    trainer.train()
    return trainer


def test_with_default_keys_training_equals_plain_detectron2_bit_for_bit(tmp_path):
    class Plain(DefaultTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {}

    states = []
    for name, kind in (("plain", Plain), ("ours", LotteryTrainer)):
        cfg = small_cfg(tmp_path / name, "LTH.ENABLED", "False", "SOLVER.BASE_LR", "0.01")
        seed_all_rng(5)
        trainer = kind(cfg)
        trainer.test = lambda *_: {}
        trainer.resume_or_load(resume=False)
        start = weights(trainer)
        trainer.train()
        states.append((start, weights(trainer), [type(hook) for hook in trainer._hooks]))
    assert same(states[0][0], states[1][0])
    assert same(states[0][1], states[1][1])
    assert not same(states[0][0], states[0][1])
    assert states[0][2] == states[1][2]


def test_hooks_stand_in_the_order_that_pruning_needs(tmp_path):
    cfg = small_cfg(tmp_path)
    options = RoundOptions(seed=1, mask=half_mask(cfg), rewind_file=tmp_path / "r.safetensors")
    kinds = [type(hook) for hook in LotteryTrainer(cfg, options)._hooks]
    order = [IterationTimer, StepSeedHook, MaskHook, RewindPointHook, PeriodicCheckpointer, EvalHook,
             SparsityWriterHook, PeriodicWriter]  # fmt: skip
    assert [kind for kind in kinds if kind in order] == order
    assert kinds[1:4] == order[1:4]


def test_a_resumed_round_equals_an_unbroken_one_to_the_bit(tmp_path):
    for optimizer in ("ADAMW", "SGD"):
        opts = ("LTH.OPTIMIZER", optimizer, "SOLVER.BASE_LR", "0.002")
        cfg = small_cfg(tmp_path / optimizer / "whole", *opts)
        mask = half_mask(cfg)
        options = RoundOptions(seed=cfg.SEED, mask=mask)
        whole = weights(train(cfg, options))
        broken = small_cfg(tmp_path / optimizer / "broken", *opts)
        cut = dataclasses.replace(options, extra_hooks=(PowerCut(),))
        with pytest.raises(RuntimeError, match="power cut"):
            train(broken, cut)
        resumed = train(broken, options, resume=True)
        assert resumed.start_iter == 2
        assert same(weights(resumed), whole)
        assert count_revived(whole, mask) == 0


def test_the_learning_rate_and_data_of_a_later_start_are_those_of_the_schedule(tmp_path):
    cfg = small_cfg(tmp_path)
    trainer = LotteryTrainer(cfg, RoundOptions(seed=1))
    rates = []
    for _ in range(3):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.scheduler.step()
    late = LotteryTrainer(cfg, RoundOptions(seed=1))
    late.start_at(2)
    assert late.start_iter == 2
    assert late.optimizer.param_groups[0]["lr"] == pytest.approx(rates[2])
    expected = next(itertools.islice(iter(build_train_loader(cfg, seed=1)), 2, None))
    got = next(late._trainer._data_loader_iter)
    assert [item["file_name"] for item in got] == [item["file_name"] for item in expected]


def test_batches_do_not_depend_on_the_number_of_workers(tmp_path):
    cfg = small_cfg(tmp_path).clone()
    cfg.defrost()
    batches = []
    for workers in (0, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        batches.append(list(itertools.islice(iter(build_train_loader(cfg, seed=3)), 3)))
    flat = [[item for batch in group for item in batch] for group in batches]
    assert [item["file_name"] for item in flat[0]] == [item["file_name"] for item in flat[1]]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(*flat, strict=True))


def test_loading_a_sample_leaves_the_global_random_state_alone(tmp_path):
    cfg = small_cfg(tmp_path)
    loader = iter(build_train_loader(cfg, seed=3))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(2), np.random.rand(2)  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    next(loader)
    assert torch.equal(torch.rand(2), expected[0])
    assert (np.random.rand(2) == expected[1]).all()  # noqa: NPY002


def test_loading_a_sample_leaves_the_generators_of_gpus_alone(tmp_path, monkeypatch):
    # Without workers it would give each step other draws on a GPU than with workers.
    loader = iter(build_train_loader(small_cfg(tmp_path, "DATALOADER.NUM_WORKERS", "0"), seed=3))
    seeded = []
    monkeypatch.setattr(train_data, "_has_accelerator", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    next(loader)
    assert not seeded
    seed_everything(3)
    assert len(seeded) == 1


@pytest.mark.parametrize("kind", ["cuda", "xpu", "backends.mps"])
def test_generators_of_every_kind_of_accelerator_are_seeded(monkeypatch, kind):
    seeded = []
    monkeypatch.setattr(f"torch.{kind}.is_available", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    train_data._has_accelerator.cache_clear()
    try:
        seed_everything(3)
    finally:
        train_data._has_accelerator.cache_clear()
    assert len(seeded) == 1


def test_samples_are_what_detectron2s_mapper_makes_of_the_registered_records(tmp_path):
    cfg = small_cfg(tmp_path, "MODEL.MASK_ON", "True")
    batch = next(iter(build_train_loader(cfg, seed=3)))
    records = {item["file_name"]: item for item in get_detection_dataset_dicts(cfg.DATASETS.TRAIN)}
    for position, got in enumerate(batch):
        record = records[got["file_name"]]
        seed_everything(3, position)
        expected = DatasetMapper(cfg, is_train=True)(record)
        assert torch.equal(got["image"], expected["image"])
        pairs = zip(got["instances"].gt_masks, expected["instances"].gt_masks, strict=True)
        for mine, theirs in pairs:
            assert all(a.dtype == b.dtype for a, b in zip(mine, theirs, strict=True))
            assert all((a == b).all() for a, b in zip(mine, theirs, strict=True))
        # The registered records, which evaluation and other loaders share, keep their lists.
        assert isinstance(record["annotations"][0]["segmentation"][0], list)


def test_seeding_without_a_gpu_draws_what_torch_seeds(monkeypatch):
    drawn = []
    for gpu in (True, False):
        monkeypatch.setattr(train_data, "_has_accelerator", lambda gpu=gpu: gpu)
        seed_everything(3, 4)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_order_is_detectron2s_rule_each_epoch_a_permutation_split_over_ranks():
    whole = list(itertools.islice(iter(DeterministicBatchSampler(10, 2, seed=4)), 10))
    indices = [index for batch in whole for _, index in batch]
    assert sorted(indices[:10]) == sorted(indices[10:]) == list(range(10))
    assert indices[:10] != indices[10:]
    ranks = [iter(DeterministicBatchSampler(10, 1, seed=4, process=(rank, 2))) for rank in range(2)]
    together = [next(ranks[k % 2])[0][1] for k in range(20)]
    assert together == indices
    resumed = next(iter(DeterministicBatchSampler(10, 2, seed=4, start=7)))
    assert resumed == whole[7]


def test_aspect_ratio_groups_never_mix():
    portrait = np.arange(9) % 3 == 0
    sampler = DeterministicBatchSampler(9, 2, seed=0, portrait=portrait)
    batches = list(itertools.islice(iter(sampler), 50))
    assert all(len({bool(portrait[index]) for _, index in batch}) == 1 for batch in batches)
    assert {bool(portrait[batch[0][1]]) for batch in batches} == {True, False}


def test_stock_loader_is_used_without_options(tmp_path):
    cfg = small_cfg(tmp_path, "LTH.ENABLED", "False")
    assert type(LotteryTrainer(cfg).data_loader) is type(build_detection_train_loader(cfg))
