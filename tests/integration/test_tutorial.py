"""The tutorial's own data set and own detector, and the how-tos: their files and commands as they stand on the page."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from docs_pages import ROOT, all_commands, shown_files

from lth_det.classify.config_file import load_config
from lth_det.d2.datasets import SMALL
from lth_det.d2.group_rules import module_groups
from lth_det.data.shapes import SPLITS, ensure_shapes

pytestmark = pytest.mark.d2
PAGE = ROOT / "docs/tutorial.md"
# Fewer iterations, smaller images and one pruned round; everything else is the page's.
SHORT = (
    "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "1", "SOLVER.CHECKPOINT_PERIOD", "3",
    "LTH.REWIND.ITERATION", "1", "LTH.TARGETS", "(0.8,)", "LTH.ATTRIBUTE_AP", "False", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64", "DATALOADER.NUM_WORKERS", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as the reader has it: our tools and configs, the page's files, and data in COCO format."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("tools", "configs"):
        (folder / name).symlink_to(ROOT / name)
    for name, text in shown_files(PAGE).items():
        (folder / name).write_text(text)
    shapes = ensure_shapes(SMALL)
    (folder / "mine").mkdir()
    for name in ("train", "val"):
        (folder / f"mine/{name}.json").symlink_to(shapes / SPLITS[name].annotations)
        (folder / f"mine/{name}").symlink_to(shapes / SPLITS[name].image_dir)
    return folder


def typed(folder, tool, config, *more):
    """Run the page's command with this tool and configuration, with some words more."""
    found = {
        command.words
        for command in all_commands()
        if command.page == "docs/tutorial.md"
        and command.words[0] == tool
        and config in command.words
    }
    (words,) = found
    return subprocess.run(
        [sys.executable, "-W", "ignore", *words, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )


def test_the_dry_run_shows_the_groups_of_the_own_head(workplace):
    process = typed(workplace, "tools/inspect_ticket.py", "my_detector.yaml", "--json", "-")
    groups = json.loads(process.stdout)["groups"]
    features = 48 * 7 * 7
    assert groups["box_head"]["prunable_parameters"] == features * 64
    assert groups["box_head"]["total_parameters"] == features * 64 + 64
    # The thin layer is an output layer by its rule: 64 x 32 weights and 32 biases, beside the real output layers.
    assert groups["predictors"]["total_parameters"] > 64 * 32 + 32
    assert groups["predictors"]["pruned_parameters"] == 0


def test_tickets_of_the_own_detector_on_the_own_data(workplace):
    typed(workplace, "tools/train_net.py", "my_detector.yaml", *SHORT)
    folder = workplace / "output/my_detector"
    results = json.loads((folder / "results.json").read_text())
    assert results["complete"] is True
    assert [row["stage"] for row in results["rounds"]] == ["round_00", "round_01"]
    assert results["rounds"][1]["prune_rate"] == pytest.approx(0.8, abs=1e-4)
    assert "segm/AP" in results["rounds"][1]["metrics"]
    assert results["rounds"][1]["groups"]["predictors"]["pruned_parameters"] == 0
    assert (folder / "report/index.html").is_file()


def test_the_group_rule_and_the_source_of_the_how_tos(tmp_path, monkeypatch):
    files = shown_files(ROOT / "docs/howto.md")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("my_groups.py", "my_source.yaml"):
        (tmp_path / name).write_text(files[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    groups = module_groups(importlib.import_module("my_groups").MyHead())
    assert (groups["tower"], groups["logits"]) == ("box_head", "predictors")
    config = load_config(str(tmp_path / "my_source.yaml"))
    assert (config.data.root, config.solver.epochs, config.model.name) == (
        "my_images",
        30,
        "resnet18",
    )
