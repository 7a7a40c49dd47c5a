"""Colours, markers and matplotlib settings shared by every figure and page.

The hues are those of Okabe and Ito (2008), "Color Universal Design", which stay apart for readers
with colour-vision deficiencies. Colour never carries a meaning alone: markers, dashes or hatches
differ as well, so that every figure can be read in grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
INK: Final = "#1f2933"
MUTED: Final = "#66727f"
GRID: Final = "#e3e7eb"
PALE: Final = "#d5dbe1"

SEQUENTIAL_MAP: Final = "Blues"
DIVERGING_MAP: Final = "PuOr"

FONT_STACK: Final = '"Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif'


@dataclass(frozen=True)
class SeriesStyle:
    """How one series looks: its hue, and what tells it apart without the hue."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]
    hatch: str


SERIES: Final = (
    SeriesStyle(BLUE, "o", "-", ""),
    SeriesStyle(VERMILION, "s", "--", "////"),
    SeriesStyle(GREEN, "^", "-.", "...."),
    SeriesStyle(PURPLE, "D", ":", "xxxx"),
    SeriesStyle(ORANGE, "v", (0, (5, 1, 1, 1, 1, 1)), "\\\\\\\\"),
    SeriesStyle(SKY, "P", (0, (8, 2)), "++++"),
)

REFERENCE: Final = SeriesStyle(INK, "o", "-", "")
"""The model that others are compared with: black in every figure."""
