"""Pictures of objects that the reference found and another model lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lth_det.errors import LthDetError
from lth_det.reports import html, images, overlay
from lth_det.reports.analysis_data import Analysis, number, part
from lth_det.reports.html import Html
from lth_det.reports.marks import Mark, Panel
from lth_det.reports.scenes import Box, Picture

MOST_OBJECTS = 9
CONTEXT = 1.9
"""Side of a cut-out by the longer side of its object."""
SMALLEST_CUT = 72
CUT_WIDTH = 260


@dataclass(frozen=True)
class LostObject:
    """One object of the comparison's list, with the boxes drawn for it."""

    file_name: str
    category: str
    area: float
    box: Box
    reference: Mark
    model: tuple[Mark, ...]
    text: str


def lost_objects(
    analysis: Analysis, model: str, iou_type: str, *, root: Path | None, folder: Path
) -> Html:
    """Return the objects that ``model`` lost, each as two cut-outs: with the reference's and with the model's boxes.

    The first objects of the analysis's list are shown (strongest score of the reference first), no more than two of
    one image, and written to ``folder`` as PNG files as well. Without images there is a note.
    """
    comparison = analysis.comparison(model, iou_type)
    listed = comparison.get("lost_objects")
    found = [_lost(item) for item in (listed if isinstance(listed, list) else [])]
    if not found:
        return html.note(f"{model} lost no object that {analysis.reference} found.")
    if root is None:
        return html.note("Pictures of lost objects need the folder of the images.")
    parts: list[Html] = []
    for place, item in enumerate(_spread(found)):
        name = f"{iou_type}_lost_{_safe(model)}_{place + 1:02d}.png"
        try:
            parts.append(
                _pair(
                    item,
                    analysis,
                    model,
                    place=f"{iou_type}-{_safe(model)}-{place}",
                    files=(root, folder / name),
                )
            )
        except LthDetError as error:
            parts.append(html.note(str(error)))
    legend = overlay.legend(("truth", "found", "missed", "false"))
    total = number(comparison.get("lost_total"))
    words = html.paragraph(
        f"{total:.0f} objects found by {analysis.reference} and not by {model}; strongest score of {analysis.reference} first."
    )
    return html.join([words, legend, Html(f'<div class="pairs">{html.join(parts)}</div>')])


def _safe(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else "_" for c in text)


def _spread(found: list[LostObject]) -> list[LostObject]:
    """Return the first objects, at most two of one image."""
    seen: dict[str, int] = {}
    chosen = []
    for item in found:
        seen[item.file_name] = seen.get(item.file_name, 0) + 1
        if seen[item.file_name] <= 2:
            chosen.append(item)
    return chosen[:MOST_OBJECTS]


def _lost(item: Any) -> LostObject:
    facts = part(item)
    box = _box(facts.get("bbox")) or (0.0, 0.0, 1.0, 1.0)
    category = str(facts.get("category"))
    score = number(facts.get("reference_score"))
    seen = _box(facts.get("reference_box")) or box
    best = part(facts.get("model_best"))
    marks = [Mark("missed", category, box)]
    text = "nothing near it"
    near = _box(best.get("bbox"))
    if best:
        text = f"best: {best.get('category')} {number(best.get('score')):.2f}, IoU {number(best.get('iou')):.2f}"
    if near is not None:
        marks.append(Mark("false", f"{best.get('category')} {number(best.get('score')):.2f}", near))
    return LostObject(
        file_name=str(facts.get("file_name")),
        category=category,
        area=number(facts.get("area")),
        box=box,
        reference=Mark("found", f"{category} {score:.2f}", seen),
        model=tuple(marks),
        text=text,
    )


def _box(value: Any) -> Box | None:
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    box = tuple(number(side) for side in value)
    return None if any(np.isnan(box)) else (box[0], box[1], box[2], box[3])


def _pair(
    item: LostObject, analysis: Analysis, model: str, *, place: str, files: tuple[Path, Path]
) -> Html:
    root, target = files
    image, corner = cut_out(images.read_image_of(root, item.file_name), item.box)
    picture = Picture(0, item.file_name, image.shape[1], image.shape[0])
    truth = Mark("truth", "", item.box)
    views = [
        Panel(str(analysis.reference), _moved((truth, item.reference), corner)),
        Panel(model, _moved(item.model, corner)),
    ]
    target.write_bytes(images.encode_png(images.strip(image, views, cut=1.0, width=CUT_WIDTH)))
    captions = (f"area {item.area:.0f} px\u00b2", item.text)
    panels = html.join(
        overlay.panel(picture, view, cut=1.0, caption=caption, photo=place, shown_width=165)
        for view, caption in zip(views, captions, strict=True)
    )
    photo = overlay.photograph(picture, *images.encode_for_page(image), photo=place)
    title = html.escape(f"{item.category}, {item.file_name}")
    return Html(
        f'<div class="pair"><p class="strip-title"><strong>{title}</strong> '
        f'<span class="files"><a href="{html.escape(target.name)}" download>PNG</a></span></p>'
        f'{photo}<div class="panels two">{panels}</div></div>'
    )


def cut_out(image: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut a square around ``box`` out of ``image`` (height, width, 3).

    Returns:
        the part that lies inside the image, and the (x, y) of its corner in pixels. Its side is ``CONTEXT`` times the
        longer side of the box, at least ``SMALLEST_CUT`` pixels where the image is that large.
    """
    height, width = image.shape[:2]
    side = max(CONTEXT * max(box[2], box[3]), SMALLEST_CUT)
    spans = []
    for start, length, limit in ((box[0], box[2], width), (box[1], box[3], height)):
        low = start + length / 2 - side / 2
        low = min(max(low, 0.0), max(limit - side, 0.0))
        spans.append((int(low), int(min(low + side, limit))))
    (left, right), (top, bottom) = spans
    return image[top:bottom, left:right], (left, top)


def _moved(marks: tuple[Mark, ...], corner: tuple[int, int]) -> tuple[Mark, ...]:
    return tuple(
        replace(
            mark,
            box=(mark.box[0] - corner[0], mark.box[1] - corner[1], mark.box[2], mark.box[3]),
        )
        for mark in marks
    )


def bins_of(item: Mapping[str, Any]) -> str:
    """Return the bins of a listed object as text: ``size small, frequency rare``."""
    return ", ".join(f"{axis} {name}" for axis, name in part(item.get("bins")).items())
