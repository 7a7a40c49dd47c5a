"""A drawing as files of a report folder and as a part of its page."""

from __future__ import annotations

from pathlib import Path

from lth_det.reports import html
from lth_det.reports.html import Html
from lth_det.reports.plots import Drawing


def add_figure(folder: Path, drawing: Drawing, caption: str) -> Html:
    """Write ``drawing`` to ``folder`` as SVG and PNG and return it for the page, with plain-text ``caption``."""
    (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    (folder / f"{drawing.name}.png").write_bytes(drawing.png)
    return html.figure(drawing.svg, name=drawing.name, caption=caption)
