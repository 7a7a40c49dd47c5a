"""The data sets by name: where each is expected, and how it is read."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lth_det.classify.config import DataConfig
from lth_det.classify.data.images import ClassificationData, in_memory, select_classes
from lth_det.errors import ConfigError, DataError


def data_folder(config: DataConfig) -> Path | None:
    """Return the folder that the data set's files are expected in; None for one that is drawn on first use."""
    if config.name == "shapes_cls":
        return None
    if config.root:
        return Path(config.root).expanduser()
    home = os.environ.get("LTH_DET_CLASSIFY_DATA") or os.environ.get(
        "DETECTRON2_DATASETS", "datasets"
    )
    return Path(home).expanduser() / _FOLDERS[config.name]


def expected_files(config: DataConfig) -> str:
    """Return in words which files are expected where."""
    folder = data_folder(config)
    return _EXPECTED[config.name].format(folder=folder)


def load_data(config: DataConfig) -> ClassificationData:
    """Return the configured data set.

    Raises:
        DataError: files are missing (the sentence says where they are expected, and how to run without them) or damaged.
        ConfigError: an option is unknown.
    """
    options = dict(config.options)
    classes = options.pop("classes", None) or ()
    if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
        raise ConfigError(f"data.options.classes is {classes!r}, but must be a list of names.")
    folder = data_folder(config)
    if folder is None:
        data = _shapes(options)
    else:
        if options:
            raise ConfigError(
                f"data.options has {', '.join(options)}, which {config.name} does not know; it knows classes."
            )
        data = _from_files(config, folder)
    return select_classes(data, tuple(classes)) if classes else data


def shapes_config(options: Mapping[str, Any]) -> Any:
    """Return the ``ShapesConfig`` of ``data.options``.

    Raises:
        ConfigError: an option is unknown or has a wrong type or range.
    """
    from lth_det.data.shapes import ShapesConfig

    fields = {field.name: type(field.default) for field in dataclasses.fields(ShapesConfig)}
    for key, value in options.items():
        if key not in fields:
            raise ConfigError(
                f"data.options has {key}, which shapes_cls does not know; it knows classes, {', '.join(fields)}."
            )
        good = isinstance(value, int | float) if fields[key] is float else type(value) is int
        if not good:
            raise ConfigError(f"data.options.{key} is {value!r}, but must be a number.")
    return ShapesConfig(**options)


def _shapes(options: Mapping[str, Any]) -> ClassificationData:
    from lth_det.classify.data.image_folder import read_image_folder
    from lth_det.data.shapes import SPLITS, ensure_shapes

    config = shapes_config(options)
    folder = ensure_shapes(config)
    data = read_image_folder(
        folder,
        train=SPLITS["cls_train"].image_dir,
        val=SPLITS["cls_val"].image_dir,
        name="shapes_cls",
    )
    # Small enough to be decoded once; a training reads each image many times.
    return dataclasses.replace(data, train=in_memory(data.train), val=in_memory(data.val))


def _from_files(config: DataConfig, folder: Path) -> ClassificationData:
    if not folder.is_dir():
        raise DataError(
            f"The data set {config.name} is not there: {expected_files(config)}; put it there, name another folder with "
            "data.root, or run configs/classify/shapes_cls_imp.yaml, which needs no download."
        )
    reader = _readers()[config.name]
    try:
        return reader(folder)
    except DataError as error:
        raise DataError(f"{error} Expected: {expected_files(config)}.") from error


def _readers() -> dict[str, Callable[[Path], ClassificationData]]:
    from lth_det.classify.data.cifar import read_cifar10, read_cifar100
    from lth_det.classify.data.idx import read_fashion_mnist
    from lth_det.classify.data.image_folder import read_image_folder
    from lth_det.classify.data.small_norb import read_small_norb

    return {
        "image_folder": read_image_folder,
        "cifar10": read_cifar10,
        "cifar100": read_cifar100,
        "fashion_mnist": read_fashion_mnist,
        "small_norb": read_small_norb,
    }


_FOLDERS = {
    "image_folder": "imagenet",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "fashion_mnist": "fashion_mnist",
    "small_norb": "small_norb",
}
_EXPECTED = {
    "shapes_cls": "drawn on first use",
    "image_folder": "{folder}/train/<class>/* and {folder}/val/<class>/* with one folder of images for each class",
    "cifar10": "{folder} with cifar-10-batches-bin/ (the binary version) or cifar-10-batches-py/ (the Python version)",
    "cifar100": "{folder} with cifar-100-binary/ (the binary version) or cifar-100-python/ (the Python version)",
    "fashion_mnist": "{folder} with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each as it is or with .gz",
    "small_norb": "{folder} with smallnorb-5x46789x9x18x6x2x96x96-training-{{dat,cat}}.mat and "
    "smallnorb-5x01235x9x18x6x2x96x96-testing-{{dat,cat}}.mat, each as it is or with .gz",
}
