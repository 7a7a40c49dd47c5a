import json

import cv2
import numpy as np
import pytest

from lth_det.data.shapes import SPLITS
from lth_det.data.shapes.__main__ import main, parse_config
from lth_det.data.shapes.sheet import contact_sheet
from lth_det.data.shapes.stats import split_stats, stats_table
from lth_det.errors import ConfigError, DataError


def write_split(folder, annotations):
    content = {
        "categories": [{"id": 1, "name": "square"}, {"id": 5, "name": "ring"}],
        "images": [{"id": 1}, {"id": 2}],
        "annotations": annotations,
    }
    path = folder / SPLITS["val"].annotations
    path.parent.mkdir()
    path.write_text(json.dumps(content))


def test_size_bins_are_half_open_and_crowds_apart(tmp_path):
    areas = [(1, 1023.0), (1, 1024.0), (5, 9215.0), (5, 9216.0)]
    annotations = [{"category_id": c, "area": a, "iscrowd": 0} for c, a in areas]
    annotations.append({"category_id": 1, "area": 50.0, "iscrowd": 1})
    write_split(tmp_path, annotations)
    stats = split_stats(tmp_path, SPLITS["val"])
    assert stats.by_category == {"square": (1, 1, 0), "ring": (0, 1, 1)}
    assert stats.by_size == (1, 2, 1)
    assert (stats.images, stats.objects, stats.crowds) == (2, 4, 1)
    text = stats_table(stats)
    assert "shapes_val: 2 images, 4 objects, 1 crowds" in text
    assert "| share    | 25.0 % | 50.0 % | 25.0 % |" in text
    assert "| total    | 4          |" in text


def test_empty_split_and_damaged_file(tmp_path):
    write_split(tmp_path, [])
    assert "0.0 %" in stats_table(split_stats(tmp_path, SPLITS["val"]))
    (tmp_path / SPLITS["val"].annotations).write_text("{")
    with pytest.raises(DataError, match=r"instances_val\.json"):
        split_stats(tmp_path, SPLITS["val"])


def test_sheet_shows_what_is_there(tiny_folder, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    contact_sheet(tiny_folder, path)
    sheet = cv2.imread(str(path))
    assert sheet.shape[1] > 1000
    assert (sheet.reshape(-1, 3).std(axis=0) > 20).all()
    assert np.median(sheet[:5]) == 255


def test_command_line(tiny, tmp_path, capsys):
    changes = {
        key: value
        for key, value in tiny.to_dict().items()
        if value != parse_config([]).to_dict()[key]
    }
    settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    arguments = ["--home", str(tmp_path), "--workers", "1", "--stats", "--check", *settings]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"shapes_train: {tiny.train_images} images" in out
    assert "cls_val: " in out
    assert parse_config(settings[1::2]) == tiny


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("sise=3", "no field 'sise'"),
        ("size=big", "not of type int"),
        ("size=1", "64"),
        ("size", "int"),
    ],
)
def test_bad_settings_are_one_sentence_and_exit_code_2(setting, word, tmp_path, capsys):
    with pytest.raises(ConfigError, match=word):
        parse_config([setting])
    assert main(["--home", str(tmp_path), "--set", setting]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert word in captured.err
    assert captured.err.count("\n") == 1
