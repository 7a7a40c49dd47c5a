"""Outlines of the plain shapes in unit coordinates (x right, y down)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.dice import Dice

Ring = NDArray[np.float64]
"""Closed polygon, (N, 2) XY without repeated end point."""


def _polar(angles: list[float], radii: list[float]) -> Ring:
    points = [(r * math.sin(a), -r * math.cos(a)) for a, r in zip(angles, radii, strict=True)]
    return np.array(points)


def regular(corners: int, radius: float = 1.0) -> Ring:
    """Return a regular polygon with one corner at the top; shape (corners, 2)."""
    return _polar([2 * math.pi * k / corners for k in range(corners)], [radius] * corners)


def _square(_: Dice) -> list[Ring]:
    return [np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])]


def _circle(_: Dice) -> list[Ring]:
    return [regular(48)]


def _triangle(dice: Dice) -> list[Ring]:
    apex = dice.uniform(-0.2, 0.2)
    return [np.array([(apex, -1.0), (1.0, 0.9), (-1.0, 0.9)])]


def _star(dice: Dice) -> list[Ring]:
    inner = dice.uniform(0.42, 0.55)
    return [_polar([math.pi * k / 5 for k in range(10)], [1.0, inner] * 5)]


def _cross(dice: Dice) -> list[Ring]:
    w = dice.uniform(0.3, 0.42)
    corner = [(-w, -1.0), (w, -1.0), (w, -w), (1.0, -w), (1.0, w), (w, w)]
    return [np.array(corner + [(-x, -y) for x, y in corner])]


def _ring(dice: Dice) -> list[Ring]:
    return [regular(48), regular(40, dice.uniform(0.48, 0.62))]


def _hexagon(_: Dice) -> list[Ring]:
    return [regular(6)]


def _crescent(dice: Dice) -> list[Ring]:
    # An arc of the unit circle, and back along a circle through the same two tips.
    tip, centre = 0.8, dice.uniform(0.35, 0.55)
    radius = math.hypot(math.cos(tip) - centre, math.sin(tip))
    inner_tip = math.atan2(math.sin(tip), math.cos(tip) - centre)
    outer = [(math.cos(a), math.sin(a)) for a in np.linspace(tip, 2 * math.pi - tip, 36)]
    inner = [
        (centre + radius * math.cos(a), radius * math.sin(a))
        for a in np.linspace(2 * math.pi - inner_tip, inner_tip, 24)[1:-1]
    ]
    return [np.array(outer + inner)]


def _heart(_: Dice) -> list[Ring]:
    points = []
    for t in np.linspace(0.0, 2 * math.pi, 40, endpoint=False):
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16, -y / 16))
    return [np.array(points)]


def _arrow(dice: Dice) -> list[Ring]:
    w = dice.uniform(0.25, 0.35)
    head = [(0.0, -1.0), (0.8, -0.1), (w, -0.1), (w, 1.0)]
    return [np.array(head + [(-x, y) for x, y in reversed(head[1:])])]


OUTLINES: dict[str, Callable[[Dice], list[Ring]]] = {
    "square": _square,
    "circle": _circle,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "hexagon": _hexagon,
    "crescent": _crescent,
    "heart": _heart,
    "arrow": _arrow,
}
"""Shape name -> function of dice that returns rings; a second ring is a hole (even-odd rule)."""


def blob(dice: Dice) -> list[Ring]:
    """Return an irregular outline that belongs to no category (clutter)."""
    corners = dice.integer(7, 11)
    angles = [2 * math.pi * k / corners for k in range(corners)]
    return [_polar(angles, [dice.uniform(0.45, 1.0) for _ in angles])]
