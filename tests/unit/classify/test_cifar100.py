"""CIFAR-100 in both published versions."""

import pickle

import numpy as np
import pytest
from test_classify_formats import Evil, cifar_pixels, write_cifar_python

from lth_det.classify.config import DataConfig
from lth_det.classify.data.cifar import read_cifar100
from lth_det.classify.data.registry import load_data
from lth_det.errors import DataError


def write_cifar100(folder, pixels, labels, *, python):
    """Both labels of each image: the superclass is one of 20."""
    folder.mkdir(parents=True)
    coarse = [label % 20 for label in labels]
    for name in ("train", "test"):
        if python:
            content = {"data": pixels.reshape(len(pixels), -1), "fine_labels": list(labels)}
            (folder / name).write_bytes(pickle.dumps({**content, "coarse_labels": coarse}))
            continue
        records = [
            bytes([rough, label]) + image.tobytes()
            for image, label, rough in zip(pixels, labels, coarse, strict=True)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(records))


@pytest.mark.parametrize(("folder", "python"), [("binary", False), ("python", True)])
def test_cifar_100_has_its_fine_labels(tmp_path, folder, python):
    pixels, labels = cifar_pixels(3), [99, 0, 41]
    write_cifar100(tmp_path / f"cifar-100-{folder}", pixels, labels, python=python)
    data = load_data(DataConfig(name="cifar100", root=str(tmp_path)))
    assert data.train.labels.tolist() == data.val.labels.tolist() == labels
    assert np.array_equal(data.train[2], pixels[2].transpose(1, 2, 0))
    assert [data.classes[label] for label in labels] == ["worm", "apple", "lawn_mower"]
    assert len(data.classes) == len(set(data.classes)) == 100
    assert list(data.classes) == sorted(data.classes)


def test_cifar_100_mistakes(tmp_path):
    with pytest.raises(DataError, match=r"neither cifar-100-binary/train\.bin nor"):
        read_cifar100(tmp_path)
    folder = tmp_path / "cifar-100-binary"
    write_cifar100(folder, cifar_pixels(1), [100], python=False)
    with pytest.raises(DataError, match="label 100; CIFAR-100 has 0 to 99"):
        read_cifar100(tmp_path)
    # A file of CIFAR-10 has one label for each image.
    (folder / "train.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match="3073 bytes, which is no multiple of 3074"):
        read_cifar100(tmp_path)
    (folder / "train.bin").unlink()
    write_cifar_python(tmp_path, pickle.dumps({"data": Evil(tmp_path / "written")}))
    (tmp_path / "train").write_bytes((tmp_path / "test_batch").read_bytes())
    with pytest.raises(DataError, match="CIFAR-100"):
        read_cifar100(tmp_path)
    assert not (tmp_path / "written").exists()
