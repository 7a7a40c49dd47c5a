"""What is drawn: sizes, categories and their frequencies, splits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from lth_det.errors import ConfigError

GENERATOR_VERSION = 1
"""Raised whenever the same config would give other pixels or annotations."""

FIGURE = "figure"

# In the order of falling frequency. The figure comes first, as the person does in COCO.
BASE_SHAPES = (FIGURE, "square", "circle", "triangle", "star", "cross", "ring")
EXTRA_SHAPES = ("hexagon", "crescent", "heart", "arrow")
ALL_SHAPES = BASE_SHAPES + EXTRA_SHAPES
SLENDER_SHAPES = (FIGURE, "star", "arrow")  # cover too little of their box to become large
PATTERNS = ("plain", "striped", "dotted", "checked", "banded")
MAX_CATEGORIES = len(ALL_SHAPES) * len(PATTERNS)


@dataclass(frozen=True)
class Category:
    """One object category.

    Attributes:
        name: Name as it stands in the annotation files.
        shape: Outline, one of ``ALL_SHAPES``.
        pattern: The pattern that belongs to the category, or "" if any pattern may occur.
        weight: Relative frequency of the category among objects (fractions that sum to 1).
    """

    name: str
    shape: str
    pattern: str
    weight: float


@dataclass(frozen=True)
class ShapesConfig:
    """Everything that decides the pixels and annotations of one data set.

    The default is what the registered names ``shapes_*`` mean. Other values give other data sets,
    in a folder of their own.

    Attributes:
        seed: Non-negative seed; every image has its own stream (seed, version, split, image).
        size: Width and height of a scene in pixels, 64 or more.
        train_images, val_images: Number of scenes of ``shapes_{train,val}``.
        keypoints_train_images, keypoints_val_images: The same of ``shapes_keypoints_*``.
        cls_size: Width and height of a classification image in pixels, 32 or more.
        cls_train_per_class, cls_val_per_class: Images of every category in ``shapes_cls_*``.
        num_categories: Up to 7: the first base shapes in any pattern; more: shape times pattern.
        imbalance: Frequency of the most frequent over that of the rarest category (geometric tail).
        min_objects, max_objects: Bounds (inclusive) of the objects that are tried in a scene.
        large_scenes: Fraction of the scenes with one large object (over 96^2 px where the scene has
            room for it), never of a slender shape.
        small_share: Fraction of the other objects that are small (below 32^2 px).
        crowd_share: Fraction of the scenes with one ``iscrowd`` region.
        min_visible: Smallest visible fraction of an object's full area.
        max_overlap: Largest fraction of an object that may lie on objects of its own size.
        max_turn: Largest rotation of an object in degrees, either way.
        max_clutter: Largest number of unlabelled patches in a scene.
        pattern_depth: Largest darkening by a pattern, a fraction of the object's brightness.
        hue_spread: A category has a hue of its own, and its objects differ from it by at most this part of a full
            turn: a cue besides the outline, as most real categories have. Neighbours overlap above 1 / (2 x number
            of categories); 0.5 = any colour.
    """

    seed: int = 1
    size: int = 160
    train_images: int = 1000
    val_images: int = 200
    keypoints_train_images: int = 400
    keypoints_val_images: int = 100
    cls_size: int = 64
    cls_train_per_class: int = 120
    cls_val_per_class: int = 30
    num_categories: int = 7
    imbalance: float = 6.0
    min_objects: int = 3
    max_objects: int = 7
    large_scenes: float = 0.75
    small_share: float = 0.47
    crowd_share: float = 0.04
    min_visible: float = 0.6
    max_overlap: float = 0.35
    max_turn: float = 15.0
    max_clutter: int = 1
    pattern_depth: float = 0.3
    hue_spread: float = 0.06

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A value is out of its range.
        """
        counts = (
            self.train_images,
            self.val_images,
            self.keypoints_train_images,
            self.keypoints_val_images,
            self.cls_train_per_class,
            self.cls_val_per_class,
        )
        shares = (
            self.large_scenes,
            self.small_share,
            self.crowd_share,
            self.min_visible,
            self.max_overlap,
            self.pattern_depth,
        )
        checks = (
            (self.seed >= 0, "seed must not be negative"),
            (self.size >= 64, "size must be at least 64 pixels"),
            (self.cls_size >= 32, "cls_size must be at least 32 pixels"),
            (min(counts) >= 1, "every split needs at least one image"),
            (
                2 <= self.num_categories <= MAX_CATEGORIES,
                f"num_categories must be from 2 to {MAX_CATEGORIES}",
            ),
            (self.imbalance >= 1.0, "imbalance must be at least 1"),
            (
                1 <= self.min_objects <= self.max_objects <= 200,
                "need 1 <= min <= max objects <= 200",
            ),
            (0.0 <= self.max_turn <= 180.0, "max_turn must be in [0, 180] degrees"),
            (0.0 <= self.hue_spread <= 0.5, "hue_spread must be in [0, 0.5]"),
            (self.max_clutter >= 0, "max_clutter must not be negative"),
            (all(0.0 <= share <= 1.0 for share in shares), "shares must be in [0, 1]"),
        )
        for good, message in checks:
            if not good:
                raise ConfigError(f"ShapesConfig: {message} (got {self}).")

    @property
    def categories(self) -> tuple[Category, ...]:
        """Categories in the order of falling frequency; id in the files = index + 1."""
        count = self.num_categories
        kinds = _plain_kinds(count) if count <= len(BASE_SHAPES) else _pattern_kinds(count)
        weights = [self.imbalance ** (-k / (count - 1)) for k in range(count)]
        total = sum(weights)
        return tuple(
            Category(name, shape, pattern, weight / total)
            for (name, shape, pattern), weight in zip(kinds, weights, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Return the hash of the fields (hex), independent of their order."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain_kinds(count: int) -> list[tuple[str, str, str]]:
    return [(shape, shape, "") for shape in BASE_SHAPES[:count]]


def _pattern_kinds(count: int) -> list[tuple[str, str, str]]:
    # Pattern outside, shape inside: every shape occurs among the frequent and the rare categories.
    kinds = [(f"{p}_{s}", s, p) for p in PATTERNS for s in ALL_SHAPES]
    return kinds[:count]
