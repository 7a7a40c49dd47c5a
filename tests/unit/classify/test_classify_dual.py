"""The configurations for Bai et al. (ICLR 2022): what they say, and a few steps of them on files in CIFAR's format."""

from pathlib import Path

import numpy as np
import pytest

from lth_det.classify.config_file import load_config
from lth_det.classify.dry_run import dry_run, dry_run_text
from lth_det.classify.run import run_classifier
from lth_det.classify.solver import learning_rate, total_iterations

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "reproduce" / "dual" / "configs"
NAMES = sorted(path.name for path in CONFIGS.glob("cifar*.yaml"))


def load(name, *options):
    return load_config(str(CONFIGS / name), options)


@pytest.mark.parametrize("name", NAMES)
def test_dry_run_of_each_configuration_needs_no_data(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    report = dry_run(load(name))
    classes = 100 if "100" in name else 10
    # Pruned are the convolutions of the stages: 18 of each width, and no shortcut has weights.
    assert report["prunable_parameters"] == 847_872
    assert report["total_parameters"] == 853_018 + 65 * (classes - 10)
    assert report["classes"] == classes
    assert report["data"]["name"] in dry_run_text(report)
    for row in report["rounds"]:
        assert row["groups"]["stem"]["pruned_parameters"] == 0
        assert row["groups"]["head"]["pruned_parameters"] == 0


def test_the_schedule_of_the_paper():
    solver = load("cifar10_rst.yaml").solver
    total = total_iterations(solver, 50_000)
    assert total == 78_125  # 200 epochs of batch 128
    rates = [learning_rate(solver, round(epoch / 200 * total), total) for epoch in (0, 100, 150)]
    assert rates == pytest.approx([0.1, 0.01, 0.001])
    text = dry_run_text(dry_run(load("cifar10_rst.yaml")))
    assert "ramp 50,000 and hold 40,000" in text
    assert "coupled penalty up to 1, ratios published, learning rate 0.001, batch 64" in text
    cycles = dry_run(load("cifar10_rst.yaml", "rst.cycles", "5", "pruning.prune_rate", "0.5"))
    assert (cycles["transform"]["ramp"], cycles["transform"]["hold"]) == (10_000, 10_000)
    found = [row["prune_rate"] for row in cycles["rounds"]]
    assert found == pytest.approx([1 - 0.5 ** (cycle / 5) for cycle in range(1, 6)], abs=1e-3)


def write_cifar(folder, label_bytes, names):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in names:
        records = rng.integers(0, 256, (4, label_bytes + 3072), dtype=np.uint8)
        records[:, :label_bytes] = np.arange(4)[:, None]
        (folder / f"{name}.bin").write_bytes(records.tobytes())


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_some_steps_on_files_in_the_format_of_cifar(data, tmp_path, monkeypatch):
    monkeypatch.setattr("lth_det.classify.run.write_run_report", lambda folder: folder)
    if data == "cifar10":
        batches = [f"data_batch_{number}" for number in range(1, 6)]
        write_cifar(tmp_path / "cifar-10-batches-bin", 1, [*batches, "test_batch"])
    else:
        write_cifar(tmp_path / "cifar-100-binary", 2, ["train", "test"])
    small = ("solver.max_iter", "2", "solver.batch_size", "2", "data.workers", "0", "threads", "1")
    short = ("rst.transform_iter", "3", "rst.batch_size", "2", "device", "cpu")
    place = ("data.root", str(tmp_path), "output", str(tmp_path / "run"))
    results = run_classifier(load(f"{data}_rst.yaml", *small, *short, *place), resume=False)
    (record,) = results["rounds"]
    assert results["dataset"]["train_images"] == (20 if data == "cifar10" else 4)
    # By the published rule each layer prunes the share, rounded up.
    assert 0.7 <= record["prune_rate"] < 0.7 + 54 / 847_872
    assert record["transform"]["cycles_done"][0]["iterations"] == 3
    assert 0 <= record["metrics"]["top1"] <= 100
