"""What is drawn on an image: outlines with a state, the same for the page (SVG) and for PNG files (OpenCV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lth_det.reports.found import Match
from lth_det.reports.outlines import Outline, Point, outlines_of
from lth_det.reports.scenes import Box, Category, Item, Picture, Scenes

TRUTH, MISSED = "truth", "missed"
ALWAYS = 2.0
"""A score cut above every score."""


@dataclass(frozen=True)
class Mark:
    """One drawn object.

    Attributes:
        state: ``truth``, ``found``, ``false``, ``missed`` or ``ignored``.
        label: short text beside it.
        box: x, y, width, height in pixels.
        outlines: closed outlines of its mask in pixels.
        joints: its keypoints; ``None`` where one is not labelled.
        bones: pairs of indices into ``joints``.
        shown_above: drawn for score cuts above this one
        shown_up_to: and up to this one.
    """

    state: str
    label: str
    box: Box
    outlines: tuple[Outline, ...] = ()
    joints: tuple[Point | None, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()
    shown_above: float = 0.0
    shown_up_to: float = ALWAYS

    def visible(self, cut: float) -> bool:
        """Say whether the mark is drawn at score cut ``cut``."""
        return self.shown_above < cut <= self.shown_up_to


@dataclass(frozen=True)
class Panel:
    """One view of an image: its title and what is drawn."""

    title: str
    marks: tuple[Mark, ...]


def truth_panel(scenes: Scenes, picture: Picture) -> Panel:
    """Return the ground truth of ``picture``; crowd regions are marked as ignored."""
    marks = tuple(
        _mark(scenes, picture, item, state="ignored" if item.crowd else TRUTH)
        for item in scenes.objects.get(picture.image_id, ())
    )
    return Panel("ground truth", marks)


def model_panel(
    scenes: Scenes, picture: Picture, *, title: str, detections: Sequence[Item], result: Match
) -> Panel:
    """Return the detections of a model with their states, and the objects that it missed."""
    objects = scenes.objects.get(picture.image_id, ())
    missed = [
        _mark(scenes, picture, item, state=MISSED, above=score)
        for item, score in zip(objects, result.found_at, strict=True)
        if not item.crowd
    ]
    drawn = [
        _mark(scenes, picture, item, state=state, up_to=item.score)
        for item, state in zip(detections, result.states, strict=True)
    ]
    # The best detection is drawn last, on top.
    return Panel(title, (*missed, *reversed(drawn)))


def _mark(
    scenes: Scenes,
    picture: Picture,
    item: Item,
    *,
    state: str,
    above: float = 0.0,
    up_to: float = ALWAYS,
) -> Mark:
    category = scenes.categories.get(item.category) or Category("")
    name = scenes.category_name(item.category)
    joints = tuple((x, y) if flag > 0 else None for x, y, flag in item.keypoints)
    return Mark(
        state=state,
        label=name if up_to == ALWAYS else f"{name} {up_to:.2f}",
        box=item.box,
        outlines=outlines_of(item.segmentation, height=picture.height, width=picture.width)
        if item.segmentation
        else (),
        joints=joints,
        bones=tuple(pair for pair in category.skeleton if max(pair) < len(joints)),
        shown_above=above,
        shown_up_to=up_to,
    )
