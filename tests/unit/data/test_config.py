import dataclasses
import itertools

import pytest

from lth_det.data.shapes import ShapesConfig, dataset_folder
from lth_det.data.shapes.config import ALL_SHAPES, MAX_CATEGORIES
from lth_det.data.shapes.outlines import OUTLINES
from lth_det.errors import ConfigError


def test_default_categories_are_a_geometric_tail():
    categories = ShapesConfig().categories
    names = ["figure", "square", "circle", "triangle", "star", "cross", "ring"]
    assert [c.name for c in categories] == names
    weights = [c.weight for c in categories]
    assert sum(weights) == pytest.approx(1.0)
    assert weights[0] / weights[-1] == pytest.approx(ShapesConfig().imbalance)
    assert [a / b for a, b in itertools.pairwise(weights)] == pytest.approx([6 ** (1 / 6)] * 6)


def test_many_categories_are_distinct_pairs_of_shape_and_pattern():
    categories = ShapesConfig(num_categories=MAX_CATEGORIES).categories
    assert MAX_CATEGORIES >= 40
    assert len({c.name for c in categories}) == MAX_CATEGORIES
    assert len({(c.shape, c.pattern) for c in categories}) == MAX_CATEGORIES
    assert all(c.pattern for c in categories)


def test_every_shape_can_be_drawn():
    assert set(ALL_SHAPES) - {"figure"} == set(OUTLINES)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("size", 63),
        ("cls_size", 31),
        ("val_images", 0),
        ("num_categories", 1),
        ("num_categories", MAX_CATEGORIES + 1),
        ("imbalance", 0.5),
        ("min_objects", 9),
        ("min_objects", 0),
        ("max_objects", 201),
        ("small_share", 1.5),
        ("min_visible", -0.1),
    ],
)
def test_bad_values_are_named(field, value):
    with pytest.raises(ConfigError, match=field.split("_")[-1]):
        ShapesConfig(**{field: value})


def test_each_config_has_its_own_folder(tmp_path):
    default, other = ShapesConfig(), ShapesConfig(seed=2)
    assert dataset_folder(default, tmp_path).name == "v1"
    assert dataset_folder(other, tmp_path) != dataset_folder(default, tmp_path)
    folders = {
        dataset_folder(
            dataclasses.replace(default, **{f.name: getattr(default, f.name) + 1}), tmp_path
        )
        for f in dataclasses.fields(default)
        if f.type == "int"
    }
    assert len(folders) == sum(f.type == "int" for f in dataclasses.fields(default))
