"""The figure: a jointed stand-in for COCO's person, with named keypoints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lth_det.data.shapes.dice import Dice
from lth_det.data.shapes.outlines import Ring, regular

KEYPOINT_NAMES = (
    "head",
    "neck",
    "left_hand",
    "right_hand",
    "pelvis",
    "left_knee",
    "right_knee",
    "left_foot",
    "right_foot",
)
"""Order in the files. Left and right are the figure's own: it faces the viewer."""

KEYPOINT_FLIP_PAIRS = (
    ("left_hand", "right_hand"),
    ("left_knee", "right_knee"),
    ("left_foot", "right_foot"),
)

SKELETON = (
    ("head", "neck"),
    ("neck", "left_hand"),
    ("neck", "right_hand"),
    ("neck", "pelvis"),
    ("pelvis", "left_knee"),
    ("pelvis", "right_knee"),
    ("left_knee", "left_foot"),
    ("right_knee", "right_foot"),
)

KEYPOINT_OKS_SIGMAS = (0.05, 0.06, 0.06, 0.06, 0.08, 0.07, 0.07, 0.07, 0.07)
"""Tolerances of object keypoint similarity, of the size of COCO's (0.025 to 0.107).

Chosen, not measured: nobody annotated these scenes by hand. For Detectron2's
``TEST.KEYPOINT_OKS_SIGMAS``.
"""

_LIMB = 0.105


@dataclass(frozen=True)
class Part:
    """Rings filled together by the even-odd rule, and the tone (colour index 0 to 2) they get."""

    rings: tuple[Ring, ...]
    tone: int


def _capsule(start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> Ring:
    """Return the outline of all points within ``radius`` of a segment; shape (18, 2)."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    turns = np.linspace(-math.pi / 2, math.pi / 2, 9)
    cap_end = [(math.cos(angle + t), math.sin(angle + t)) for t in turns]
    cap_start = [(-x, -y) for x, y in cap_end]
    return np.concatenate([end + radius * np.array(cap_end), start + radius * np.array(cap_start)])


def _reach(
    start: NDArray[np.float64], side: int, angle: float, length: float
) -> NDArray[np.float64]:
    # Angle from straight down towards the given side of the picture (+1 right, -1 left).
    return start + length * np.array([side * math.sin(angle), math.cos(angle)])


def pose(dice: Dice) -> tuple[list[Part], NDArray[np.float64]]:
    """Return a random pose.

    Returns:
        The parts from back to front, and the keypoints, shape (9, 2) XY in the order of
        ``KEYPOINT_NAMES``. The figure is 2 units high; its left side is at the picture's right.
    """
    head, neck, pelvis = np.array([0.0, -0.78]), np.array([0.0, -0.52]), np.array([0.0, 0.2])
    points = {"head": head, "neck": neck, "pelvis": pelvis}
    parts: list[Part] = []
    for name, side in (("left", 1), ("right", -1)):
        shoulder, hip = neck + np.array([side * 0.15, 0.05]), pelvis + np.array([side * 0.09, 0.0])
        hand = _reach(shoulder, side, dice.uniform(0.15, 2.5), 0.62)
        knee = _reach(hip, side, dice.uniform(0.0, 0.6), 0.4)
        foot = _reach(knee, side, dice.uniform(-0.25, 0.4), 0.4)
        points |= {f"{name}_hand": hand, f"{name}_knee": knee, f"{name}_foot": foot}
        parts += [
            Part((_capsule(hip, knee, _LIMB),), 1),
            Part((_capsule(knee, foot, _LIMB),), 1),
            Part((_capsule(shoulder, hand, _LIMB),), 0),
        ]
    torso = np.array([(-0.24, -0.54), (0.24, -0.54), (0.19, 0.26), (-0.19, 0.26)])
    parts += [Part((torso,), 0), Part((head + 0.22 * regular(24),), 2)]
    return parts, np.array([points[name] for name in KEYPOINT_NAMES])
