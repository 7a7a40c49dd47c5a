"""From an outline to a raster of the wanted size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.config import FIGURE
from lth_det.data.shapes.dice import Dice
from lth_det.data.shapes.figure import Part, pose
from lth_det.data.shapes.outlines import OUTLINES, blob

SUPERSAMPLING = 2
"""Scenes are drawn at twice their size and averaged: smooth edges without anti-aliased drawing."""

BLOB = "blob"

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_PROBE = 64  # pixels of the longer side when the fill of an outline is measured


@dataclass(frozen=True)
class Sprite:
    """A rasterised object.

    Attributes:
        tones: (2h, 2w) uint8 in drawing pixels; 0 outside, else colour index + 1.
        mask: (h, w) bool in scene pixels: at least half of the pixel is inside.
        keypoints: (K, 2) XY relative to the raster's corner, in scene pixels; K = 0 without.
    """

    tones: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    keypoints: NDArray[np.float64]

    @property
    def area(self) -> int:
        """Number of scene pixels inside."""
        return int(np.count_nonzero(self.mask))


def shape_parts(dice: Dice, shape: str) -> tuple[list[Part], NDArray[np.float64]]:
    """Return the parts of a shape and its keypoints, (K, 2), in unit coordinates."""
    if shape == FIGURE:
        return pose(dice)
    rings = blob(dice) if shape == BLOB else OUTLINES[shape](dice)
    return [Part(tuple(rings), 0)], np.zeros((0, 2))


def make_sprite(dice: Dice, shape: str, *, area: float, limit: float, max_turn: float) -> Sprite:
    """Return a randomly turned and stretched shape.

    Args:
        dice: Random source.
        shape: A shape name, or ``BLOB``.
        area: Wanted area in scene pixels.
        limit: Largest width and height in scene pixels; it wins over ``area``.
        max_turn: Largest rotation in degrees, either way.
    """
    parts, keypoints = shape_parts(dice, shape)
    angle = math.radians(dice.uniform(-max_turn, max_turn))
    stretch = dice.uniform(0.9, 1.1)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    matrix = np.diag([stretch, 1 / stretch]) @ turn
    parts = [Part(tuple(ring @ matrix for ring in part.rings), part.tone) for part in parts]
    corners = np.concatenate([ring for part in parts for ring in part.rings])
    low, extent = corners.min(axis=0), float(np.ptp(corners, axis=0).max())
    probe = _raster(parts, low, _PROBE / extent)
    scale = _PROBE / extent * math.sqrt(area * SUPERSAMPLING**2 / np.count_nonzero(probe))
    scale = min(scale, limit * SUPERSAMPLING / extent)
    tones = _raster(parts, low, scale)
    return Sprite(tones, _coarse(tones), (keypoints @ matrix - low) * (scale / SUPERSAMPLING))


def _coarse(tones: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inside = (tones > 0).astype(np.int8)
    covered = inside[::2, ::2] + inside[1::2, ::2] + inside[::2, 1::2] + inside[1::2, 1::2]
    return np.asarray(covered >= 2)


def _raster(parts: list[Part], low: NDArray[np.float64], scale: float) -> NDArray[np.uint8]:
    rings = [[(ring - low) * scale for ring in part.rings] for part in parts]
    size = np.concatenate([ring for part in rings for ring in part]).max(axis=0)
    height, width = (2 * (int(length) // 2 + 1) for length in (size[1], size[0]))
    tones = np.zeros((height, width), np.uint8)
    for part, part_rings in zip(parts, rings, strict=True):
        fixed = [np.rint(ring * (1 << _SHIFT)).astype(np.int32) for ring in part_rings]
        cv2.fillPoly(tones, fixed, part.tone + 1, cv2.LINE_8, _SHIFT)
    return tones
