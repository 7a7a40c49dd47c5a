"""Colours, patterns and backgrounds (integer arithmetic, so that platforms agree)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.config import PATTERNS
from lth_det.data.shapes.dice import Dice

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

MAX_LIGHT = 272
"""Largest brightness factor of ``pattern_light`` in 1/256."""

_MIN_CONTRAST = 150  # sum of absolute differences over the three channels


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return the BGR bytes of a colour; all arguments are fractions, the hue of a full turn."""
    sector, rest = divmod((hue % 1.0) * 6.0, 1.0)
    v, p = value, value * (1 - saturation)
    q, t = value * (1 - saturation * rest), value * (1 - saturation * (1 - rest))
    table = ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))
    red, green, blue = table[int(sector) % 6]
    return int(blue * 255), int(green * 255), int(red * 255)


def contrast(first: Colour, second: Colour) -> int:
    """Return the sum of absolute channel differences, 0 to 765."""
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


def object_colour(dice: Dice, behind: Colour, hue: float, spread: float) -> Colour:
    """Return a vivid random colour that stands out from the mean colour behind the object.

    Args:
        dice: Random source.
        behind: Mean colour of the ground.
        hue: Middle of the hues that may occur, as a fraction of a full turn.
        spread: Largest distance from it; 0.5 allows every hue.
    """
    colour = behind
    for _ in range(8):
        turn = hue + dice.uniform(-spread, spread)
        colour = hsv(turn, dice.uniform(0.4, 0.9), dice.uniform(0.5, 0.98))
        if contrast(colour, behind) >= _MIN_CONTRAST:
            break
    return colour


def background(dice: Dice, size: int) -> Image:
    """Return a soft, muted ground of two related colours; (size, size, 3) BGR."""
    hue = dice.uniform()
    light = dice.uniform(0.35, 0.9)
    first = hsv(hue, dice.uniform(0.08, 0.35), light)
    second = hsv(
        hue + dice.uniform(-0.15, 0.15), dice.uniform(0.08, 0.35), light * dice.uniform(0.6, 1.1)
    )
    cells = dice.integer(2, 6)
    grid = dice.noise((cells, cells))
    # The "exact" resize is integer arithmetic in OpenCV: the same bytes on every platform.
    blend = cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
    a, b = np.array(first, np.int32), np.minimum(np.array(second, np.int32), 255)
    steps = np.arange(256, dtype=np.int32)[:, None]
    table = ((a * (255 - steps) + b * steps) // 255).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.merge([blend] * 3), table[None]), np.uint8)


def strokes(dice: Dice, image: Image, count: int) -> None:
    """Draw unlabelled thin lines in muted colours into the image (changed in place)."""
    size = image.shape[0]
    for _ in range(count):
        points = [[dice.integer(0, size), dice.integer(0, size)] for _ in range(dice.integer(2, 5))]
        colour = hsv(dice.uniform(), dice.uniform(0.1, 0.5), dice.uniform(0.25, 0.9))
        thickness = dice.integer(1, 4)
        cv2.polylines(image, [np.array(points, np.int32)], False, colour, thickness)


def grain(dice: Dice, image: Image, strength: int) -> Image:
    """Return the image with uniform noise of at most ``strength`` grey levels added."""
    noise = dice.noise(image.shape[:2]).astype(np.int16) * (2 * strength + 1) // 256 - strength
    return np.asarray(np.clip(image.astype(np.int16) + noise[..., None], 0, 255), np.uint8)


def expose(dice: Dice, image: Image) -> Image:
    """Return the image under another light: gain, offset and a slight colour cast."""
    gain, offset = dice.uniform(0.75, 1.2), dice.uniform(-18, 18)
    levels = np.arange(256, dtype=np.int32)
    table = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        factor = int(gain * dice.uniform(0.93, 1.07) * 256)
        table[0, :, channel] = np.clip(levels * factor // 256 + int(offset), 0, 255)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def pattern_light(
    dice: Dice, pattern: str, shape: tuple[int, int], max_depth: float
) -> NDArray[np.int32]:
    """Return brightness factors in 1/256, 0 to ``MAX_LIGHT``, of the given shape.

    Args:
        dice: Random source: period, phase, direction and depth of the pattern.
        pattern: One of ``PATTERNS``, or "" for a random one.
        shape: (height, width) in pixels.
        max_depth: Largest darkening, a fraction of the full brightness; the least is half of it.
    """
    height, width = shape
    name = pattern or dice.pick(PATTERNS)
    ys = np.arange(height, dtype=np.int32)[:, None]
    xs = np.arange(width, dtype=np.int32)[None, :]
    period = dice.integer(max(4, min(height, width) // 6), max(6, min(height, width) // 3))
    phase, tilt = dice.integer(0, period), dice.pick((-1, 1))
    depth = int(dice.uniform(128, 256) * max_depth)
    if name == "striped":
        on = (xs + tilt * ys + phase) % period * 2 < period
    elif name == "banded":
        on = (ys + phase) % period * 2 < period
    elif name == "checked":
        on = ((xs + phase) // (period // 2) + (ys + phase) // (period // 2)) & 1 == 0
    elif name == "dotted":
        half = period // 2
        on = ((xs + phase) % period - half) ** 2 + (ys % period - half) ** 2 < max(
            2, half * half // 2
        )
    else:
        on = np.zeros((1, 1), np.bool_)
    shade = MAX_LIGHT - (ys * 48 // max(1, height))  # lighter at the top: a soft light from above
    light = shade - depth * on.astype(np.int32)
    return np.array(np.broadcast_to(light, (height, width)), np.int32)
