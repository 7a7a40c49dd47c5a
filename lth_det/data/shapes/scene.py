"""Composition of one scene: which objects, where, who hides whom."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.canvas import Canvas, Window
from lth_det.data.shapes.config import FIGURE, SLENDER_SHAPES, Category, ShapesConfig
from lth_det.data.shapes.dice import Dice
from lth_det.data.shapes.paint import (
    Image,
    background,
    expose,
    grain,
    hsv,
    object_colour,
    pattern_light,
    strokes,
)
from lth_det.data.shapes.sprites import BLOB, Sprite, make_sprite

# Ranges of the wanted visible area in px; COCO's limits are 32^2 = 1024 and 96^2 = 9216.
SMALL_AREA, MEDIUM_AREA, LARGE_AREA = (200.0, 950.0), (1200.0, 7000.0), (13500.0, 19000.0)
_CROWD_AREA = (70.0, 150.0)
_TRIES = 12
_CUT_OFF_SHARE = 0.12  # objects that may be cut off by the border
_CUT_OFF_LEFT = 0.55  # smallest fraction of them inside the scene


@dataclass(frozen=True)
class SceneObject:
    """One annotated object or crowd of a finished scene.

    Attributes:
        category: Index into the config's categories.
        mask: (size, size) bool, the visible pixels.
        keypoints: (K, 3) ints x, y, v as in COCO: v = 2 visible, 1 hidden, 0 outside the scene
            (then x = y = 0); None for categories without.
        crowd: True for a group that is annotated as one region.
    """

    category: int
    mask: NDArray[np.bool_]
    keypoints: NDArray[np.int64] | None
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """A picture, (size, size, 3) BGR uint8, with its objects in drawing order."""

    image: Image
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class Wish:
    """An object that shall be placed: category (None for unlabelled clutter) and area in px."""

    category: Category | None
    index: int
    area: float


class Composer:
    """Places wished objects on a canvas, large ones first.

    Args:
        dice: Random source of this scene.
        config: The data set's config.
        size: Width and height of the scene in pixels.
    """

    def __init__(self, dice: Dice, config: ShapesConfig, size: int) -> None:
        self._dice = dice
        self._config = config
        self._size = size
        ground = background(dice, size)
        strokes(dice, ground, dice.integer(0, 1 + size // 40))
        self._canvas = Canvas(ground)
        self._records: dict[int, tuple[int, NDArray[np.float64] | None, bool]] = {}

    def place(self, wish: Wish, centre: tuple[float, float] | None = None) -> bool:
        """Try some positions for a wish; return False if none leaves all objects visible enough.

        Args:
            wish: What to place.
            centre: XY in scene pixels near which to place it; None: anywhere.
        """
        shape = wish.category.shape if wish.category else BLOB
        sprite = make_sprite(
            self._dice,
            shape,
            area=wish.area,
            limit=0.95 * self._size,
            max_turn=self._config.max_turn,
        )
        max_overlap = self._dice.pick((0.03, 0.03, self._config.max_overlap))
        for _ in range(_TRIES):
            x, y = self._corner(sprite, centre)
            window = self._canvas.window(sprite, x, y)
            covered = self._canvas.covered(sprite, window)
            if self._fits(sprite, covered, max_overlap):
                self._paint(sprite, window, wish, self._canvas.new_id(), (x, y))
                return True
        return False

    def place_crowd(self, category: Category, index: int) -> None:
        """Draw a dense group of small objects that is annotated as one region."""
        dice, size = self._dice, self._size
        radius = dice.uniform(0.1, 0.16) * 160
        middle = [dice.uniform(radius, size - radius) for _ in range(2)]
        identity = self._canvas.new_id()
        for _ in range(dice.integer(9, 16)):
            sprite = make_sprite(
                dice,
                category.shape,
                area=dice.log_uniform(*_CROWD_AREA),
                limit=24,
                max_turn=self._config.max_turn,
            )
            angle, reach = dice.uniform(0, 2 * math.pi), radius * math.sqrt(dice.uniform())
            x = int(middle[0] + reach * math.cos(angle)) - sprite.mask.shape[1] // 2
            y = int(middle[1] + reach * math.sin(angle)) - sprite.mask.shape[0] // 2
            window = self._canvas.window(sprite, x, y)
            self._paint(sprite, window, Wish(category, index, 0.0), identity, (x, y))
        # Members hide each other: what counts for others is what can be seen of the group.
        self._canvas.full[identity] = self._canvas.visible[identity]
        self._records[identity] = (index, None, True)

    def finish(self) -> Scene:
        """Return the scene under its light, with the visible mask of every object."""
        picture = grain(
            self._dice, expose(self._dice, self._canvas.picture()), self._dice.integer(2, 8)
        )
        objects = []
        for identity, (index, points, crowd) in self._records.items():
            mask = self._canvas.owner == identity
            if mask.any():
                keypoints = None if points is None else self._flags(points, identity)
                objects.append(SceneObject(index, mask, keypoints, crowd))
        return Scene(picture, tuple(objects))

    def _corner(self, sprite: Sprite, centre: tuple[float, float] | None) -> tuple[int, int]:
        dice, side = self._dice, self._size
        height, width = sprite.mask.shape
        if centre is not None:
            spread = 0.8 * max(height, width) + 4
            x, y = (c + dice.uniform(-spread, spread) for c in centre)
            return int(x) - width // 2, int(y) - height // 2
        if dice.chance(_CUT_OFF_SHARE):
            return dice.integer(-width // 2, side - width // 2), dice.integer(
                -height // 2, side - height // 2
            )
        return dice.integer(0, max(1, side - width + 1)), dice.integer(0, max(1, side - height + 1))

    def _fits(self, sprite: Sprite, covered: dict[int, int], max_overlap: float) -> bool:
        inside = sum(covered.values())
        if inside < _CUT_OFF_LEFT * sprite.area:
            return False
        canvas, shared = self._canvas, 0
        for identity, count in covered.items():
            if identity == 0:
                continue
            if canvas.visible[identity] - count < self._config.min_visible * canvas.full[identity]:
                return False
            if canvas.full[identity] < 4 * sprite.area:  # to lie on something much larger is fine
                shared += count
        return shared <= max_overlap * sprite.area

    def _paint(
        self, sprite: Sprite, window: Window, wish: Wish, identity: int, corner: tuple[int, int]
    ) -> None:
        dice, canvas = self._dice, self._canvas
        behind = canvas.mean_colour(window)
        if wish.category is None:
            grey = hsv(dice.uniform(), dice.uniform(0.05, 0.3), dice.uniform(0.3, 0.9))
            colours, pattern = [grey], "plain"
        else:
            hue, spread = wish.index / self._config.num_categories, self._config.hue_spread
            colours = [object_colour(dice, behind, hue, spread) for _ in range(2)]
            colours.append(
                hsv(dice.uniform(0.03, 0.1), dice.uniform(0.3, 0.6), dice.uniform(0.55, 0.95))
            )
            pattern = wish.category.pattern
        light = pattern_light(dice, pattern, sprite.tones.shape, self._config.pattern_depth)
        canvas.draw(sprite, window, identity, colours=colours, light=light)
        if wish.category is not None:
            points = sprite.keypoints + np.array(corner) if len(sprite.keypoints) else None
            self._records[identity] = (wish.index, points, False)

    def _flags(self, points: NDArray[np.float64], identity: int) -> NDArray[np.int64]:
        flags = np.zeros((len(points), 3), np.int64)
        for row, (x, y) in enumerate(np.floor(points).astype(np.int64).tolist()):
            if 0 <= x < self._size and 0 <= y < self._size:
                flags[row] = (x, y, 2 if int(self._canvas.owner[y, x]) == identity else 1)
        return flags


def draw_scene(dice: Dice, config: ShapesConfig) -> Scene:
    """Return a scene of ``shapes_{train,val}``: all categories, long-tailed."""
    composer = Composer(dice, config, config.size)
    categories = config.categories
    weights = [category.weight for category in categories]
    bulky, others = _category_weights(config)
    wishes = []
    if dice.chance(config.large_scenes):
        index = dice.weighted(bulky)
        wishes.append(Wish(categories[index], index, dice.uniform(*LARGE_AREA)))
    for _ in range(dice.integer(config.min_objects, config.max_objects + 1) - len(wishes)):
        index = dice.weighted(others)
        area = SMALL_AREA if dice.chance(config.small_share) else MEDIUM_AREA
        wishes.append(Wish(categories[index], index, dice.log_uniform(*area)))
    wishes += [
        Wish(None, -1, dice.log_uniform(150, 1000))
        for _ in range(dice.integer(0, config.max_clutter + 1))
    ]
    wishes.sort(key=lambda wish: -wish.area)
    crowd = dice.weighted(weights) if dice.chance(config.crowd_share) else None
    cluster = _cluster(dice, config.size)
    for position, wish in enumerate(wishes):
        if position == 1 and crowd is not None:
            composer.place_crowd(categories[crowd], crowd)
        composer.place(wish, cluster if wish.area < SMALL_AREA[1] else None)
    return composer.finish()


def draw_keypoint_scene(dice: Dice, config: ShapesConfig) -> Scene:
    """Return a scene of ``shapes_keypoints_*``: figures and a few other objects that may hide them."""
    composer = Composer(dice, config, config.size)
    categories = config.categories
    figures = [(i, c) for i, c in enumerate(categories) if c.shape == FIGURE]
    others = [(i, c) for i, c in enumerate(categories) if c.shape != FIGURE]
    wishes = []
    for _ in range(dice.integer(1, 5)):
        index, category = dice.pick(figures)
        wishes.append(Wish(category, index, dice.log_uniform(350, 4500)))
    for _ in range(dice.integer(0, 4)):
        index, category = dice.pick(others)
        wishes.append(Wish(category, index, dice.log_uniform(200, 2500)))
    wishes.sort(key=lambda wish: -wish.area)
    for wish in wishes:
        composer.place(wish)
    return composer.finish()


def draw_crop(dice: Dice, config: ShapesConfig, index: int) -> Image:
    """Return an image of ``shapes_cls_*``: one object of the category, perhaps some clutter."""
    size = config.cls_size
    composer = Composer(dice, config, size)
    for _ in range(dice.integer(0, 3)):
        composer.place(Wish(None, -1, dice.uniform(0.02, 0.06) * size * size))
    category = config.categories[index]
    wish = Wish(category, index, dice.log_uniform(0.12, 0.5) * size * size)
    while not composer.place(wish):
        pass  # every try is a new outline; clutter is small, so this ends soon
    return composer.finish().image


def _category_weights(config: ShapesConfig) -> tuple[list[float], list[float]]:
    """Return the weights of the large object and of the others.

    Slender shapes are never the large object, so the others are drawn with what is missing for all
    categories to come at their own frequency.
    """
    weights = [category.weight for category in config.categories]
    bulky = [0.0 if c.shape in SLENDER_SHAPES else c.weight for c in config.categories]
    if not any(bulky):
        return weights, weights
    objects = (config.min_objects + config.max_objects) / 2
    large = config.large_scenes / sum(bulky)
    rest = [max(0.0, objects * w - large * b) for w, b in zip(weights, bulky, strict=True)]
    return bulky, rest if any(rest) else weights


def _cluster(dice: Dice, size: int) -> tuple[float, float] | None:
    """Return a point around which the small objects gather, in a fifth of the scenes."""
    point = dice.uniform(0.2, 0.8) * size, dice.uniform(0.2, 0.8) * size
    return point if dice.chance(0.2) else None
