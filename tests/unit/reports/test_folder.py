from pathlib import Path

import pytest

from lth_det.errors import RunError
from lth_det.reports.folder import replace_folder


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "report"
    for name in ("a", "b"):
        with replace_folder(target) as work:
            (work / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_old_folder_stays_when_writing_fails(tmp_path):
    target = tmp_path / "report"
    with replace_folder(target) as work:
        (work / "a").write_text("old")

    def fail():
        with replace_folder(target) as work:
            (work / "a").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"):
        fail()
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_old_folder_comes_back_when_the_last_step_fails(tmp_path, monkeypatch):
    target = tmp_path / "report"
    with replace_folder(target) as work:
        (work / "a").write_text("old")
    rename = Path.replace

    def fail(path, goal):
        if path.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(path, goal)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="Input/output error"), replace_folder(target):
        pass
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(RunError, match="report is a file"), replace_folder(tmp_path / "report"):
        pass
    assert (tmp_path / "report").read_text() == "mine"
