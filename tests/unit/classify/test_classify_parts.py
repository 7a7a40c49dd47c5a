import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from tiny_data import tiny_config, tiny_data

from lth_det.classify.config import DataConfig, ModelConfig, SolverConfig
from lth_det.classify.data.images import ArrayImages
from lth_det.classify.evaluation import evaluate
from lth_det.classify.groups import classifier_table
from lth_det.classify.loader import train_loader, val_loader
from lth_det.classify.models import architecture_options, build_model
from lth_det.classify.pretrained import overlay_state
from lth_det.classify.progress import RunProgress
from lth_det.classify.shortcuts import PaddedShortcut
from lth_det.classify.solver import learning_rate, total_iterations
from lth_det.classify.transforms import Normalize, TrainTransform, ValTransform
from lth_det.errors import MaskMismatchError, RunError
from lth_det.tickets.checkpoint_file import load_checkpoint, save_checkpoint

RESNET18 = ModelConfig(stem_width=64, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2))


def test_the_narrow_resnet_with_the_widths_of_resnet18_is_torchvisions():
    narrow = build_model(RESNET18, 5, seed=1)
    oracle = torchvision.models.resnet18(weights=None, num_classes=5)
    narrow.load_state_dict(oracle.state_dict())  # strict: the same names and shapes
    images = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        narrow.train(mode)
        oracle.train(mode)
        assert torch.equal(narrow(images), oracle(images))


def test_the_narrow_resnet_of_the_detectors_has_their_counts():
    model = build_model(ModelConfig(), 7, seed=1)
    counts = {name: p.numel() for name, p in model.named_parameters()}
    assert sum(counts.values()) == 310_359
    assert {"conv1.weight", "bn1.bias", "layer2.0.downsample.0.weight", "fc.bias"} <= set(counts)
    assert "layer1.0.downsample.0.weight" not in counts


def test_the_resnet_56_of_cifar_has_the_known_size():
    # 853,018 parameters with shortcuts without weights (He et al. 2016), and two shortcut convolutions with batch norm.
    plain = build_model(ModelConfig(name="resnet56"), 10, seed=1)
    model = build_model(ModelConfig(name="cifar_resnet56"), 10, seed=1)
    assert sum(p.numel() for p in plain.parameters()) == 853_018
    assert sum(p.numel() for p in model.parameters()) == 853_018 + 512 + 2048 + 2 * (32 + 64)
    assert model(torch.zeros(2, 3, 32, 32)).shape == plain(torch.zeros(2, 3, 32, 32)).shape


def test_the_blocks_of_a_resnet_of_cifar_are_those_of_the_paper():
    model = build_model(ModelConfig(name="resnet20"), 10, seed=1)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim > 1}
    assert len(shapes) == 20
    assert shapes["layer2.0.conv1.weight"] == (32, 16, 3, 3)
    assert shapes["layer3.2.conv2.weight"] == (64, 64, 3, 3)
    # Drawn by the number of inputs: 144 here, where by the outputs it would be 288.
    assert model.layer2[0].conv1.weight.std().item() == pytest.approx((2 / 144) ** 0.5, rel=0.05)
    assert model.fc.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)


def test_the_shortcut_without_weights_takes_every_second_pixel_and_pads_channels():
    images = torch.arange(32.0).reshape(1, 2, 4, 4) + 1
    found = PaddedShortcut(2, 4, 2)(images)
    assert found[0, 1:3].equal(images[0, :, ::2, ::2])
    assert found[0, [0, 3]].eq(0).all()


def test_the_stem_for_small_images_keeps_the_resolution():
    model = build_model(ModelConfig(name="resnet18", stem="cifar"), 10, seed=1)
    assert model.conv1.weight.shape == (64, 3, 3, 3)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_initialisation_follows_the_seed_alone_and_leaves_the_global_state():
    before = torch.get_rng_state()
    first, again, other = (build_model(ModelConfig(), 3, seed=s).state_dict() for s in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])


def test_a_head_of_two_layers_leaves_the_rest_of_the_initialisation():
    one = build_model(ModelConfig(), 3, seed=4).state_dict()
    two = build_model(ModelConfig(), 3, seed=4, head_layers=2, head_hidden=10).state_dict()
    assert two["fc.0.weight"].shape == (10, 128)
    assert two["fc.2.weight"].shape == (3, 10)
    assert torch.equal(one["conv1.weight"], two["conv1.weight"])


def test_module_groups_and_what_is_prunable(tmp_path):
    config = tiny_config(tmp_path, "pruning.groups", "{stem: -1, head: 0.3}")
    table = classifier_table(build_model(config.model, 3, seed=1), config)
    assert table.groups == ("stem", "backbone", "head")
    assert {e.name for e in table.in_group("stem")} == {"conv1.weight", "bn1.weight", "bn1.bias"}
    assert {e.reason for e in table if not e.prunable} == {"bias", "normalisation"}
    assert "fc.weight" in table.prunable_names
    dense = classifier_table(build_model(config.model, 3, seed=1), tiny_config(tmp_path))
    assert "conv1.weight" not in dense.prunable_names
    assert "layer2.0.downsample.0.weight" in dense.prunable_names


def test_architecture_options_are_json():
    assert architecture_options(ModelConfig()) == (
        '{"blocks": [1, 1, 1, 1], "stem": "imagenet", "stem_width": 16, "widths": [16, 32, 64, 128]}'
    )
    assert architecture_options(ModelConfig(name="resnet50")) == '{"stem": "imagenet"}'


def batches_of(start, stop, seed=3, workers=0, batch_size=5):
    config = DataConfig(input_size=16, augment="crop_flip", pad=3, workers=workers)
    images = tiny_data().train
    loader = train_loader(images, config, batch_size=batch_size, seed=seed, span=(start, stop))
    return list(loader)


def test_batches_depend_on_seed_and_position_only():
    whole, late = batches_of(0, 9), batches_of(4, 9)
    assert len(whole) == 9
    for one, two in zip(whole[4:], late, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
    assert not all(
        torch.equal(a[0], b[0]) for a, b in zip(whole, batches_of(0, 9, seed=4), strict=True)
    )
    for one, two in zip(whole, batches_of(0, 9, workers=1), strict=True):
        assert torch.equal(one[0], two[0])


def test_each_pass_sees_each_image_once_and_the_next_in_another_order():
    images = ArrayImages(
        np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None], (24, 8, 8)),
        np.arange(24, dtype=np.int64),
    )
    config = DataConfig(input_size=8, augment="none")
    labels = [
        int(label)
        for _, batch in train_loader(images, config, batch_size=5, seed=1, span=(0, 12))
        for label in batch
    ]
    assert sorted(labels[:24]) == list(range(24))
    assert sorted(labels[24:48]) == list(range(24))
    assert labels[:24] != labels[24:48]


def test_augmentation_differs_from_pass_to_pass():
    images = tiny_data(train=1).train
    config = DataConfig(input_size=16, augment="crop_flip", pad=4)
    one, two = train_loader(images, config, batch_size=3, seed=1, span=(0, 2))
    order = [batch[1].argsort() for batch in (one, two)]
    assert not torch.equal(one[0][order[0]], two[0][order[1]])


def test_validation_images_come_once_in_order_without_augmentation():
    # The predecessor gave the training sampler to the validation set.
    data = tiny_data(val=3).val
    loader = val_loader(data, DataConfig(input_size=16, augment="crop_flip"), batch_size=4)
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [4, 4, 1]
    assert torch.cat([labels for _, labels in batches]).tolist() == data.labels.tolist()
    pixels = torch.cat([images for images, _ in batches])
    assert np.array_equal(pixels.numpy().transpose(0, 2, 3, 1), data.pixels)


def test_training_transforms_stay_in_the_picture_and_use_their_draws_only():
    image = np.arange(40 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 30, 3)
    for kind in ("none", "flip", "crop_flip", "resized_crop_flip"):
        transform = TrainTransform(DataConfig(input_size=24, augment=kind))
        found = [transform(image, np.random.default_rng(seed)) for seed in range(12)]
        assert all(f.shape == (3, 24, 24) and f.dtype == torch.uint8 for f in found)
        again = transform(image, np.random.default_rng(3))
        assert torch.equal(found[3], again)
        different = {f.numpy().tobytes() for f in found}
        assert {"none": 1, "flip": 2}.get(kind, 12) == len(different)


def test_a_flip_is_left_right():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[1, 0] = 9
    transform = TrainTransform(DataConfig(input_size=4, augment="flip"))
    seen = {tuple(transform(image, np.random.default_rng(s))[0, 1].tolist()) for s in range(9)}
    assert seen == {(9, 0, 0, 0), (0, 0, 0, 9)}


def test_the_centre_is_cut_as_for_imagenet():
    image = np.zeros((64, 128, 3), dtype=np.uint8)
    image[:, 64:] = 200
    found = ValTransform(DataConfig(input_size=56, crop_share=0.875))(image)
    assert found.shape == (3, 56, 56)  # of a 64 x 128 picture, the middle
    assert found[:, :, :28].max() == 0
    assert found[:, :, 28:].min() == 200


def test_normalisation_is_per_channel_on_the_255_scale():
    config = DataConfig(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    batch = torch.full((1, 3, 1, 1), 11, dtype=torch.uint8)
    found = Normalize(config, torch.device("cpu"))(batch)
    assert found.flatten().tolist() == [5.0, 2.25, 1.0]


class Planted(torch.nn.Module):
    """Answers with the logits that it is given, one row after the other."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.place = logits, 0

    def forward(self, images):
        rows = self.logits[self.place : self.place + len(images)]
        self.place += len(images)
        assert not self.training
        return rows


def test_top1_and_top5_are_counted_by_hand():
    logits = torch.tensor(
        [
            [9.0, 1, 2, 3, 4, 5],  # class 0: first
            [9.0, 8, 7, 6, 5, 4],  # class 4: fifth
            [9.0, 8, 7, 6, 5, 4],  # class 5: sixth
            [1.0, 1, 1, 1, 1, 1],  # class 1: second of equals
            [1.0, 2, 3, 9, 5, 4],  # class 3: first
        ]
    )
    labels = torch.tensor([0, 4, 5, 1, 3])
    batches = [
        (torch.zeros(len(part), 3, 1, 1, dtype=torch.uint8), part) for part in labels.split(2)
    ]
    model = Planted(logits).train()
    normalize = Normalize(DataConfig(), torch.device("cpu"))
    assert evaluate(model, batches, normalize) == {"top1": 40.0, "top5": 80.0}
    assert model.training
    few = Planted(logits[:, :3]).train()
    assert evaluate(few, [(batches[0][0], torch.tensor([2, 2]))], normalize)["top5"] == 100.0
    assert np.isnan(evaluate(few, [], normalize)["top1"])


def test_schedules():
    step = SolverConfig(lr=0.1, schedule="step", steps=(1 / 3, 2 / 3), gamma=0.1)
    rates = [learning_rate(step, i, 90) for i in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    # The files have 0.3333333333: the step must not come one iteration late.
    rounded = dataclasses.replace(step, steps=(0.3333333333, 0.6666666667))
    assert [learning_rate(rounded, i, 90) for i in (29, 30, 60)] == pytest.approx(
        [0.1, 0.01, 0.001]
    )
    cosine = SolverConfig(lr=2.0, schedule="cosine", warmup=0.5, warmup_factor=0.0)
    assert [learning_rate(cosine, i, 4) for i in range(4)] == pytest.approx(
        [0.0, 0.5 * (1 + np.cos(np.pi / 4)), 1.0, 1 + np.cos(0.75 * np.pi)]
    )
    assert total_iterations(SolverConfig(epochs=3, batch_size=4), 10) == 8
    assert total_iterations(SolverConfig(max_iter=5, epochs=3), 10) == 5


def test_pretrained_weights_must_fit_outside_the_head(tmp_path):
    own = build_model(ModelConfig(), 3, seed=1).state_dict()
    other = build_model(ModelConfig(), 9, seed=2).state_dict()
    path = tmp_path / "weights.pth"
    save_checkpoint(path, {"state_dict": {f"module.{name}": v for name, v in other.items()}})
    found = overlay_state(path, own)
    assert torch.equal(found["layer3.0.conv1.weight"], other["layer3.0.conv1.weight"])
    assert torch.equal(found["fc.weight"], own["fc.weight"])
    save_checkpoint(path, build_model(ModelConfig(stem_width=8), 3, seed=1).state_dict())
    with pytest.raises(MaskMismatchError, match=r"conv1\.weight"):
        overlay_state(path, own)


def test_equal_checkpoints_are_equal_bytes(tmp_path):
    content = {"model": {"fc.weight": torch.arange(4.0)}, "iteration": 3}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        save_checkpoint(tmp_path / name / "checkpoint.pth", content)
    first, second = ((tmp_path / name / "checkpoint.pth").read_bytes() for name in ("one", "other"))
    assert first == second  # no temporary name inside


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_damaged_checkpoints_are_one_sentence(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.pth cannot be read"):
        load_checkpoint(path)


def test_progress_reckons_with_the_iterations_that_are_left(monkeypatch):
    clock = iter(np.arange(0.0, 100.0))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    progress = RunProgress(total=20)
    assert progress.eta() is None
    progress.start(passed=10)
    for done in range(11, 14):
        progress.step("round_00", done, 20)
    assert progress.eta() == pytest.approx(7.0)
