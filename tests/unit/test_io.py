import errno
import json
import os
import stat

import pytest

from lth_det.errors import RunError
from lth_det.io import atomic_path, atomic_write, atomic_write_json, to_json


def test_content_is_written_as_given_and_folders_are_made(tmp_path):
    path = tmp_path / "a/b/file.txt"
    atomic_write(path, "Zürich\n")
    assert path.read_bytes() == "Zürich\n".encode()
    atomic_write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["file.txt"]  # no temporary file is left


def test_the_file_is_as_readable_as_any_other(tmp_path):
    atomic_write(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    "error", [ValueError("ours"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")]
)
def test_a_failure_in_the_middle_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == "old"  # until the end, readers see the old content
            raise error

    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_data_are_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    path, renamed, fsync = tmp_path / "file", [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (renamed.append(path.exists()), fsync(handle)))
    atomic_write(path, "x")
    assert renamed == [False, True]  # the file before, the folder after


def test_whoever_reads_the_old_file_goes_on_reading_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old and long")
    with path.open() as reader:
        atomic_write(path, "new")
        assert reader.read() == "old and long"
    assert path.read_text() == "new"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.child.x cannot be written"):
        atomic_write(tmp_path / "file/child/x", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=r"folder cannot be written"):
        atomic_write(tmp_path / "folder", "")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_json_has_sorted_keys_and_null_for_what_is_not_a_number(tmp_path):
    value = {"b": float("nan"), "a": [float("inf"), 1.5, (True, None)], 3: {"x": -float("inf")}}
    atomic_write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"3": {"x": None}, "a": [None, 1.5, [True, None]], "b": None}
    assert text == to_json(json.loads(text))
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"b"')
