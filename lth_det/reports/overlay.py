"""Marks as SVG over an embedded photograph: sharp at any size, with tool tips, filtered by score in the page."""

from __future__ import annotations

from collections.abc import Sequence

from lth_det.reports.html import Html, data_uri, escape
from lth_det.reports.marks import Mark, Panel
from lth_det.reports.scenes import Picture

STATE_TEXT = {
    "truth": "object of the ground truth",
    "found": "detection that found an object",
    "false": "detection without an object",
    "missed": "object not found",
    "ignored": "crowd region, not counted",
}


def photograph(picture: Picture, content: bytes, mime: str, *, photo: str = "") -> Html:
    """Return the definition of a photograph that all panels of the image share, so that it is stored once.

    ``photo`` is its name in the page; by default that is the image id.
    """
    uri = data_uri(content, mime)
    return Html(
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
        f'<image id="photo-{escape(photo or picture.image_id)}" width="{picture.width}" height="{picture.height}" '
        f'preserveAspectRatio="none" href="{uri}"/></defs></svg>'
    )


def panel(
    picture: Picture,
    view: Panel,
    *,
    cut: float,
    caption: str,
    photo: str = "",
    shown_width: int = 270,
) -> Html:
    """Return one view as a figure; marks outside the score cut are there, but hidden."""
    marks = "".join(_mark(mark, cut=cut, scale=picture.width / shown_width) for mark in view.marks)
    label = escape(f"{view.title}: {caption}")
    return Html(
        f'<figure class="panel"><svg viewBox="0 0 {picture.width} {picture.height}" role="img" aria-label="{label}">'
        f'<use href="#photo-{escape(photo or picture.image_id)}"/>{marks}</svg>'
        f'<figcaption><strong>{escape(view.title)}</strong> <span class="caption">{escape(caption)}</span></figcaption></figure>'
    )


def legend(states: Sequence[str]) -> Html:
    """Return a legend of mark states."""
    entries = "".join(
        f'<span><svg viewBox="0 0 30 14"><g class="mark {state}">'
        f'<rect class="area" x="2" y="2" width="26" height="10"/><rect class="line" x="2" y="2" width="26" height="10"/>'
        f"</g></svg>{escape(STATE_TEXT[state])}</span>"
        for state in states
    )
    return Html(f'<div class="legend">{entries}</div>')


def _mark(mark: Mark, *, cut: float, scale: float) -> str:
    x, y, width, height = mark.box
    frame = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    hidden = "" if mark.visible(cut) else ' style="display:none"'
    area = _path(mark)
    size = 10.5 * scale
    baseline = y - 0.3 * size if y > 1.3 * size else y + 1.1 * size
    return (
        f'<g class="mark {mark.state}" data-from="{mark.shown_above:.4f}" data-to="{mark.shown_up_to:.4f}"{hidden}>'
        f"<title>{escape(mark.label)}: {escape(STATE_TEXT[mark.state])}</title>{area}"
        f'<rect class="halo" {frame}/><rect class="line" {frame}/>{_skeleton(mark, scale)}'
        f'<text x="{x:.1f}" y="{baseline:.1f}" font-size="{size:.1f}">{escape(mark.label)}</text></g>'
    )


def _path(mark: Mark) -> str:
    if not mark.outlines:
        return ""
    parts = (
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in outline) + "Z" for outline in mark.outlines
    )
    return f'<path class="area" fill-rule="evenodd" d="{"".join(parts)}"/>'


def _skeleton(mark: Mark, scale: float) -> str:
    lines = []
    for first, second in mark.bones:
        start, end = mark.joints[first], mark.joints[second]
        if start and end:
            lines.append(f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}")
    bones = "".join(lines)
    dots = "".join(
        f'<circle class="dot" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{2.6 * scale:.1f}"/>'
        for point in mark.joints
        if point
    )
    path = f'<path class="halo" d="{bones}"/><path class="bone line" d="{bones}"/>' if bones else ""
    return path + dots
