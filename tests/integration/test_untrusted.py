"""Files from other people that want more than to be read: pickles, aliases, paths that lead out of a folder."""

import json
import os
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from small_cfg import ROOT
from torch import nn

from lth_det.d2 import datasets
from lth_det.d2.datasets import check_dataset_available
from lth_det.d2.image_names import check_image_names
from lth_det.d2.preflight import check_inputs
from lth_det.d2.setup_cfg import load_config
from lth_det.d2.strict_checkpointer import StrictCheckpointer
from lth_det.errors import ConfigError, DataError, LthDetError, RunError, TicketFormatError
from lth_det.tickets.checkpoint_file import load_checkpoint_weights

pytestmark = pytest.mark.d2


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def network():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def evil_files(folder):
    trap = folder / "trap"
    weights = {name: value.numpy() for name, value in network().state_dict().items()}
    torch.save({"model": network().state_dict(), "extra": Evil(trap)}, folder / "a.pth")
    torch.save({"model_state": network().state_dict(), "extra": Evil(trap)}, folder / "a.pyth")
    for name, content in {
        "zoo.pkl": {"model": weights, "__author__": Evil(trap)},
        "caffe2.pkl": {"blobs": {**weights, "x": Evil(trap)}},
        "alone.pkl": Evil(trap),
    }.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return trap


@pytest.mark.parametrize("name", ["a.pth", "a.pyth", "zoo.pkl", "caffe2.pkl", "alone.pkl"])
def test_weights_that_run_code_are_refused_in_one_sentence_and_do_not_run_it(tmp_path, name):
    trap = evil_files(tmp_path)
    with pytest.raises(LthDetError, match=name) as caught:
        StrictCheckpointer(network()).load(str(tmp_path / name))
    assert not trap.exists()
    text = str(caught.value)
    assert not {"\n", "\x1b"} & set(text)
    assert "mkdir" in text
    assert "trust" in text
    assert "weights_only=False" not in text
    # The file does what it says when it is simply unpickled: the trap is real.
    if name.endswith(".pkl"):
        pickle.loads((tmp_path / name).read_bytes())
        assert trap.exists()


def test_our_own_reader_says_the_same(tmp_path):
    trap = evil_files(tmp_path)
    with pytest.raises(RunError, match=r"more than tensors.*mkdir.*trust"):
        load_checkpoint_weights(tmp_path / "a.pth")
    assert not trap.exists()


@pytest.mark.parametrize("layout", ["zoo", "blobs", "alone"])
def test_pickles_of_the_model_zoo_load_as_detectron2_loads_them(tmp_path, layout):
    source = network()
    arrays = {name: value.numpy() for name, value in source.state_dict().items()}
    content = {
        "zoo": {"model": arrays, "__author__": "x", "matching_heuristics": True},
        "blobs": {"blobs": {**arrays, "0.weight_momentum": np.zeros(3)}},
        "alone": arrays,
    }[layout]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=2))
    model = network()
    StrictCheckpointer(model).load(str(tmp_path / "a.pkl"))
    assert all(torch.equal(model.state_dict()[k], v) for k, v in source.state_dict().items())


def test_aliases_of_aliases_are_no_configuration(tmp_path):
    lines = ["A0: &a0 {X: 1, Y: 2}"]
    lines += [f"A{i}: &a{i} {{X: *a{i - 1}, Y: *a{i - 1}}}" for i in range(1, 60)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="aliases are written out"):
        load_config(str(path))


@pytest.mark.parametrize(
    "text", ["A: " + "[" * 5000, "{A: " * 3000, "!!python/object/apply:os.mkdir ['x']"]
)
def test_deep_or_executable_yaml_is_one_sentence(tmp_path, text):
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_ticket_option_that_is_no_ticket_stops_before_anything(tmp_path):
    trap = evil_files(tmp_path)
    cfg = load_config(
        str(ROOT / "configs/quick/faster_rcnn_imp.yaml"), ["LTH.TICKET", str(tmp_path / "a.pth")]
    )
    with pytest.raises(TicketFormatError, match=r"a\.pth"):
        check_inputs(cfg, eval_only=False)
    assert not trap.exists()


NAMES = ("../../secret.png", "/etc/passwd", "a/../../secret.png", "..")


@pytest.fixture
def registered(tmp_path):
    """Registers an annotation file with the given image names; returns the data set's name."""
    names = []

    def register(*files):
        name = f"untrusted_{len(names)}_{tmp_path.name}"
        path = tmp_path / f"{name}.json"
        (tmp_path / "images").mkdir(exist_ok=True)
        images = [{"id": i, "file_name": file} for i, file in enumerate(files)]
        path.write_text(json.dumps({"images": images, "categories": [], "annotations": []}))
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(json_file=str(path), image_root=str(tmp_path / "images"))
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parsed", [True, False])
def test_images_outside_of_their_folder_are_refused(registered, monkeypatch, name, parsed):
    if not parsed:
        monkeypatch.setattr(datasets, "_PARSED_BYTES", 0)
    with pytest.raises(DataError, match="does not lie in"):
        check_dataset_available(registered("fine.png", name))


@pytest.mark.parametrize("parsed", [True, False])
def test_images_inside_of_their_folder_are_fine(registered, monkeypatch, parsed):
    if not parsed:
        monkeypatch.setattr(datasets, "_PARSED_BYTES", 0)
    check_dataset_available(registered("a.png", "b/c..d.png", "b/../e.png", "f/"))


@pytest.mark.parametrize(
    "image",
    [
        r'"file_name": "\u002e\u002e\u002fsecret.png"',
        r'"file_name": "\/etc\/passwd"',
        r'"file_name": "a\"/../../secret.png"',
        r'"file_na\u006De": "../secret.png"',
        r'"\u0066ile\u005fname": "\/etc/passwd"',
        r'"coco_url": "http://x\/..\/secret.png"',
    ],
)
def test_names_hidden_by_escapes_are_seen_in_large_files(tmp_path, image):
    path = tmp_path / "a.json"
    path.write_text('{"images": [{' + image + "}]}")
    for content in (None, json.loads(path.read_text())):
        with pytest.raises(DataError, match="does not lie in"):
            check_image_names(path, content, str(tmp_path))


def test_harmless_escapes_and_urls_are_fine(tmp_path):
    path = tmp_path / "a.json"
    images = [
        r'"file_name": "a\/b.png", "coco_url": ""',
        r'"file_name": "a\"..b.png", "coco_url": "http://x"',
        r'"file_name": "\u00e9..png", "coco_url": "../a/b/..c.png"',
        r'"note": "\/etc/passwd", "file": "../x"',
    ]
    path.write_text('{"images": [{' + "}, {".join(images) + "}]}")
    for content in (None, json.loads(path.read_text())):
        check_image_names(path, content, str(tmp_path))


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../secret"])
def test_a_list_of_voc_names_stays_in_its_folder(tmp_path, name):
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    image_list = tmp_path / "ImageSets/Main/test.txt"
    data_set = f"untrusted_voc_{tmp_path.name}"
    DatasetCatalog.register(data_set, list)
    MetadataCatalog.get(data_set).set(dirname=str(tmp_path), split="test")
    try:
        for text, refused in (("000001\n000002\n", False), (f"000001\n{name}\n", True)):
            image_list.write_text(text)
            with pytest.raises(DataError, match="does not lie in") if refused else nullcontext():
                check_dataset_available(data_set)
    finally:
        DatasetCatalog.remove(data_set)
        MetadataCatalog.remove(data_set)


def test_deeply_nested_annotations_are_one_sentence(registered):
    name = registered("a.png")
    path = MetadataCatalog.get(name).json_file
    with open(path, "w") as file:
        file.write('{"a":' * 5000 + "1" + "}" * 5000)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        check_dataset_available(name)
