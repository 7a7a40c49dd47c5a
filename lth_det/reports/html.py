"""Self-contained HTML pages: skeleton, tables, figures, cards.

Text becomes markup only through ``escape``; functions that return markup return ``Html``, so a type checker sees a
string from a file that would reach a page unescaped.
"""

from __future__ import annotations

import base64
import html as _html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NewType

from lth_det.reports.html_assets import SCRIPT, STYLE_SHEET
from lth_det.reports.tables import Cell, Column, Table, format_cell, is_missing, is_number

Html = NewType("Html", str)

PIXELS_PER_POINT = 1.46
SMALLEST_SHARE = 0.6
MOST_ROWS = 2000


@dataclass(frozen=True)
class Section:
    """One titled part of a page; ``anchor`` is its address in the page (letters, digits, hyphens)."""

    anchor: str
    title: str
    body: Html


def escape(text: object) -> Html:
    """Return ``text`` with every character that has a meaning in HTML or in an attribute replaced."""
    return Html(_html.escape(str(text), quote=True))


def join(parts: Iterable[Html]) -> Html:
    """Return the markup of ``parts`` one after the other."""
    return Html("\n".join(parts))


def paragraph(text: str, *, css: str = "") -> Html:
    """Return plain ``text`` as a paragraph."""
    attribute = f' class="{escape(css)}"' if css else ""
    return Html(f"<p{attribute}>{escape(text)}</p>")


def note(text: str) -> Html:
    """Return ``text`` as a boxed note: what is missing from the page, and why."""
    return Html(f'<p class="note" role="note">{escape(text)}</p>')


def cards(items: Iterable[tuple[str, str, str]]) -> Html:
    """Return a row of cards from (label, value, detail) triples."""
    cells = [
        f'<div class="card"><div class="card-label">{escape(label)}</div>'
        f'<div class="card-value">{escape(value)}</div>'
        f'<div class="card-detail">{escape(detail)}</div></div>'
        for label, value, detail in items
    ]
    return Html(f'<div class="cards">{"".join(cells)}</div>')


def definitions(items: Iterable[tuple[str, str]]) -> Html:
    """Return (term, text) pairs as a definition list."""
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in items)
    return Html(f"<dl>{rows}</dl>")


def details(summary: str, body: Html, *, unfolded: bool = False) -> Html:
    """Return ``body`` under ``summary``, folded unless ``unfolded``."""
    state = " open" if unfolded else ""
    return Html(f"<details{state}><summary>{escape(summary)}</summary>{body}</details>")


def table(
    data: Table, *, emphasised: Sequence[int] = (), caption: str = "", compact: bool = False
) -> Html:
    """Return ``data`` as a table that sorts by a click on a heading; past ``MOST_ROWS`` rows a note names the CSV file.

    Args:
        data: the table.
        emphasised: indices of rows set off by a tint (the dense row, for example).
        caption: plain text above the table.
        compact: less room around the cells, for tables of many columns.
    """
    heads = "".join(_head(column) for column in data.columns)
    hidden = len(data.rows) - MOST_ROWS
    rest = note(f"{hidden} more rows are in the CSV file.") if hidden > 0 else ""
    body = "".join(
        f"<tr{_row_class(index in emphasised)}>{_cells(row, data.columns)}</tr>"
        for index, row in enumerate(data.rows[:MOST_ROWS])
    )
    css = "sortable compact" if compact else "sortable"
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="table-wrap"><table class="{css}">{title}'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def figure(svg: str, *, name: str, caption: str) -> Html:
    """Return an SVG drawing with its caption.

    Args:
        svg: a whole SVG file, as ``plots.render`` gives it.
        name: file name without suffix; ids inside the drawing get it as prefix, so that drawings never collide.
        caption: plain text; also the description for screen readers.

    The drawing keeps its own width where the column has room, so that letters are of one size on the page; past
    ``SMALLEST_SHARE`` of it the column scrolls instead of shrinking it further.
    """
    return Html(
        f'<figure class="figure" id="figure-{escape(name)}">{inline_svg(svg, prefix=name, label=caption)}'
        f"<figcaption>{escape(caption)} "
        f'<span class="files">{_file_links(name)}</span></figcaption></figure>'
    )


def inline_svg(svg: str, *, prefix: str, label: str) -> Html:
    """Return the ``<svg>`` element of a file, with unique ids and a description, ready to stand in a page."""
    start = svg.index("<svg")
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[start:], flags=re.DOTALL).strip()
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{prefix}-\1"', body)
    style = _width_style(body)
    return Html(body.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"{style}', 1))


def _width_style(svg: str) -> str:
    """Return the limits of the shown width for a drawing that states its width in points."""
    found = re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
    if not found:
        return ""
    width = float(found.group(1)) * PIXELS_PER_POINT
    return f' style="max-width:{width:.0f}px;min-width:{SMALLEST_SHARE * width:.0f}px"'


def data_uri(content: bytes, mime: str) -> str:
    """Return ``content`` as a ``data:`` address, so that the page needs no other file."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def page(title: str, subtitle: str, sections: Sequence[Section], *, footer: str) -> str:
    """Return a whole HTML page; equal arguments give equal text."""
    links = "".join(
        f'<a href="#{escape(section.anchor)}">{escape(section.title)}</a>' for section in sections
    )
    body = "\n".join(
        f'<section id="{escape(section.anchor)}"><h2>{escape(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE_SHEET}</style></head>\n<body>\n"
        f'<header><div class="inner"><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p></div></header>\n'
        f'<nav aria-label="Sections"><div class="inner">{links}</div></nav>\n'
        f"<main>\n{body}\n</main>\n<footer>{escape(footer)}</footer>\n"
        f"<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _head(column: Column) -> str:
    css = ' class="number"' if column.spec else ""
    return f'<th{css} scope="col"><button type="button">{escape(column.title)}</button></th>'


def _row_class(emphasised: bool) -> str:  # noqa: FBT001 (private, one use)
    return ' class="emphasised"' if emphasised else ""


def _cells(row: Sequence[Cell], columns: Sequence[Column]) -> str:
    return "".join(_cell(value, column) for value, column in zip(row, columns, strict=True))


def _cell(value: Cell, column: Column) -> str:
    css = ["number"] if column.spec else []
    if is_missing(value):
        css.append("missing")
    elif column.spec.startswith("+") and isinstance(value, int | float):
        css.append("up" if value > 0 else "down" if value < 0 else "")
    classes = " ".join(name for name in css if name)
    attributes = f' class="{classes}"' if classes else ""
    if is_number(value):
        attributes += f' data-sort="{value!r}"'
    return f"<td{attributes}>{escape(format_cell(value, column))}</td>"


def _file_links(name: str) -> str:
    return " ".join(
        f'<a href="{escape(name)}.{suffix}" download>{suffix.upper()}</a>'
        for suffix in ("png", "svg")
    )
