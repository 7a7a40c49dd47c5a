import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lth_det.data.shapes import (
    GENERATOR_VERSION,
    SPLITS,
    ensure_shapes,
    shapes_home,
    store,
    verify_pixels,
    worker,
)
from lth_det.data.shapes import build as build_module
from lth_det.data.shapes.checksums import CHECKSUMS
from lth_det.errors import DataError


@pytest.fixture
def own(tiny_folder, tmp_path):
    """A private copy of the tiny data set, at its place below tmp_path."""
    folder = tmp_path / tiny_folder.name
    shutil.copytree(tiny_folder, folder)
    return folder


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def marked(folder):
    """Put a file into a data set that only a redraw removes."""
    (folder / "mark").touch()
    return folder / "mark"


def test_drawn_data_set_is_whole_and_readable_by_all(tiny_folder, tiny):
    assert store.find_damage(tiny_folder, tiny) is None
    assert tiny_folder.stat().st_mode & 0o777 == 0o755
    manifest = json.loads((tiny_folder / "manifest.json").read_text())
    assert set(manifest["splits"]) == set(SPLITS)
    assert verify_pixels(tiny_folder) == {
        name: record["pixels_sha256"] for name, record in manifest["splits"].items()
    }


def test_second_call_draws_nothing(own, tiny, tmp_path):
    mark = marked(own)
    assert ensure_shapes(tiny, home=tmp_path) == own
    assert mark.exists()


def test_redrawn_data_set_is_equal_to_the_byte(tiny_folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_IMAGES_PER_HELPER", 1)
    folder = ensure_shapes(tiny, home=tmp_path, workers=3)  # two helper processes
    assert contents(folder) == contents(tiny_folder)


def damage_truncate(folder):
    path = folder / "annotations" / "instances_val.json"
    path.write_bytes(path.read_bytes()[:-40])


def damage_edit(folder):
    path = folder / "annotations" / "keypoints_train.json"
    path.write_bytes(path.read_bytes().replace(b'"keypoints"', b'"keypointS"'))


def damage_image(folder):
    path = folder / "cls_train" / "ring" / "000001.png"
    path.write_bytes(path.read_bytes()[:-1])


def damage_missing_image(folder):
    (folder / "train" / "000002.png").unlink()


def damage_manifest(folder):
    (folder / "manifest.json").write_text('{"format_version": 1')


def damage_missing_annotations(folder):
    (folder / "annotations" / "instances_train.json").unlink()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (damage_truncate, "instances_val.json"),
        (damage_edit, "keypoints_train.json"),
        (damage_image, "cls_train"),
        (damage_missing_image, "images in train"),
        (damage_manifest, "manifest.json"),
        (damage_missing_annotations, "instances_train.json"),
    ],
)
def test_damaged_data_set_is_drawn_again_with_a_warning(
    own, tiny, tiny_folder, tmp_path, caplog, damage, word
):
    damage(own)
    mark = marked(own)
    with caplog.at_level(logging.WARNING):
        ensure_shapes(tiny, home=tmp_path)
    assert word in caplog.text
    assert not mark.exists()
    assert contents(own) == contents(tiny_folder)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".making")] == []


def test_changed_pixels_of_equal_file_size_are_found_by_the_full_check(own, tiny):
    path = own / "val" / "000001.png"
    image = cv2.imread(str(path))
    shutil.copy(own / "val" / "000002.png", path)
    assert not np.array_equal(image, cv2.imread(str(path)))
    with pytest.raises(DataError, match=r"val.*not the ones"):
        verify_pixels(own)
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000001\.png cannot be read"):
        verify_pixels(own)


def test_a_folder_of_someone_else_is_left_alone(tiny, tmp_path):
    folder = store.dataset_folder(tiny, tmp_path)
    folder.mkdir()
    (folder / "thesis.txt").write_text("two years of work")
    with pytest.raises(DataError, match="not a data set of ours"):
        ensure_shapes(tiny, home=tmp_path)
    assert (folder / "thesis.txt").exists()


def test_an_interrupted_drawing_leaves_no_data_set(tiny, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "_write_annotations", full_disk)
        with pytest.raises(DataError, match=r"No space left.*LTH_DET_DATA"):
            ensure_shapes(tiny, home=tmp_path, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    # What a killed process leaves behind is removed by the next one.
    (tmp_path / ".making-dead").mkdir()
    (tmp_path / ".making-dead" / "train").touch()
    ensure_shapes(tiny, home=tmp_path, workers=1)
    assert not (tmp_path / ".making-dead").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written.*LTH_DET_DATA"):
        ensure_shapes(tiny, home=tmp_path / "file" / "shapes")


def test_a_failing_helper_is_reported(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_IMAGES_PER_HELPER", 1)
    start = subprocess.Popen

    def broken(command, **options):
        return start([sys.executable, "-c", "raise SystemExit('helper fell over')"], **options)

    monkeypatch.setattr(worker.subprocess, "Popen", broken)
    with pytest.raises(DataError, match="helper fell over"):
        ensure_shapes(tiny, home=tmp_path, workers=2)


DRAW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import TINY
from lth_det.data.shapes import ensure_shapes
print(ensure_shapes(TINY, home=Path(sys.argv[1]), workers=1))
"""


def test_two_processes_at_once(tiny, tiny_folder, tmp_path):
    command = [sys.executable, "-c", DRAW, str(tmp_path), str(Path(__file__).parent)]
    root = str(Path(store.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    folders = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert folders == [str(store.dataset_folder(tiny, tmp_path))] * 2
    assert contents(Path(folders[0])) == contents(tiny_folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", tiny_folder.name]


def test_without_locks_the_slower_process_takes_the_faster_ones_data(
    tiny, tiny_folder, tmp_path, monkeypatch
):
    real_build = store.build
    other = store.dataset_folder(tiny, tmp_path)

    def overtaken(folder, config, *, workers):
        manifest = real_build(folder, config, workers=workers)
        shutil.copytree(tiny_folder, other)
        (other / "mark").touch()
        return manifest

    monkeypatch.setattr(store, "build", overtaken)
    assert ensure_shapes(tiny, home=tmp_path, workers=1) == other
    assert (other / "mark").exists()


def test_home_is_chosen_by_one_rule(tmp_path, monkeypatch):
    explicit, shared, cache = tmp_path / "mine", tmp_path / "shared", tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTH_DET_DATA", str(explicit))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(shared))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert shapes_home() == explicit / "shapes"
    monkeypatch.delenv("LTH_DET_DATA")
    assert shapes_home() == cache / "lth_det" / "shapes"  # shared does not exist
    shared.mkdir()
    assert shapes_home() == shared / "shapes"
    shared.chmod(0o555)
    assert shapes_home() == cache / "lth_det" / "shapes"
    shared.chmod(0o755)
    (shared / "shapes").mkdir()
    shared.chmod(0o555)
    assert shapes_home() == shared / "shapes"  # read-only, but it holds data already
    shared.chmod(0o755)
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert shapes_home() == cache / "lth_det" / "shapes"
    (tmp_path / "datasets").mkdir()
    assert shapes_home() == tmp_path / "datasets" / "shapes"
    (tmp_path / "datasets").rmdir()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert shapes_home() == tmp_path / "home" / ".cache" / "lth_det" / "shapes"


def test_another_platforms_bytes_are_a_warning(caplog):
    splits = {name: dict(digests) for name, digests in CHECKSUMS[GENERATOR_VERSION].items()}
    manifest = {"generator_version": GENERATOR_VERSION, "splits": splits}
    with caplog.at_level(logging.WARNING):
        store.compare_with_stored(manifest)
    assert caplog.text == ""
    splits["cls_val"]["pixels_sha256"] = "0" * 64
    with caplog.at_level(logging.WARNING):
        store.compare_with_stored(manifest)
    assert "cls_val" in caplog.text
    assert "train" not in caplog.text


def test_default_config_has_stored_checksums():
    assert set(CHECKSUMS[GENERATOR_VERSION]) == set(SPLITS)
