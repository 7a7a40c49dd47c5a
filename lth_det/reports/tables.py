"""A table as data, and its Markdown, CSV and LaTeX forms (the HTML form is in ``html.py``)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Cell = str | int | float | bool | None

NOT_AVAILABLE = "n/a"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: short machine name, the heading in CSV files.
        title: heading for people, with the unit.
        spec: format specification of the printed number (``".1f"``, ``"+.2f"``, ``",d"``, ``".1%"``); empty for text.
    """

    key: str
    title: str
    spec: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of raw values; every printed form is made from them, so that all forms hold the same numbers."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells for {len(self.columns)} columns")


def make_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """Return a table of ``columns`` and ``rows``.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    return Table(tuple(columns), tuple(tuple(row) for row in rows))


def is_missing(value: Cell) -> bool:
    """Say whether ``value`` stands for a number that could not be computed (``None`` or NaN)."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def is_number(value: Cell) -> bool:
    """Say whether ``value`` is a finite number (truth values are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value)


def format_cell(value: Cell, column: Column) -> str:
    """Return ``value`` as it is printed: missing numbers as ``n/a``, others by the format of ``column``.

    >>> format_cell(-0.25, Column("change", "change", "+.1f"))
    '-0.2'
    >>> format_cell(None, Column("AP", "AP", ".1f"))
    'n/a'
    """
    if is_missing(value):
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value) and column.spec:
        return format(value, column.spec)
    return str(value)


def to_markdown(table: Table) -> str:
    """Return ``table`` as GitHub Markdown; numbers are right-aligned and ``|`` in text is escaped."""
    heads = [_escape_markdown(column.title) for column in table.columns]
    rules = ["---:" if column.spec else "---" for column in table.columns]
    lines = [_markdown_row(heads), _markdown_row(rules)]
    for row in table.rows:
        printed = (
            format_cell(value, column) for value, column in zip(row, table.columns, strict=True)
        )
        lines.append(_markdown_row([_escape_markdown(text) for text in printed]))
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Return ``table`` as CSV with unrounded numbers; a missing number is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow(["" if is_missing(value) else value for value in row])
    return buffer.getvalue()


def to_latex(table: Table, *, caption: str = "", label: str = "") -> str:
    """Return ``table`` as a LaTeX ``table`` environment with ``booktabs`` rules."""
    align = "".join("r" if column.spec else "l" for column in table.columns)
    lines = [r"\begin{table}", r"\centering"]
    if caption:
        lines.append(rf"\caption{{{escape_latex(caption)}}}")
    if label:
        lines.append(rf"\label{{{label}}}")
    lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
    lines.append(" & ".join(escape_latex(column.title) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for row in table.rows:
        cells = (
            format_cell(value, column) for value, column in zip(row, table.columns, strict=True)
        )
        lines.append(" & ".join(escape_latex(text) for text in cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\n": " ",
}


def escape_latex(text: str) -> str:
    """Return ``text`` with every character that has a meaning in LaTeX replaced."""
    return "".join(_LATEX.get(character, character) for character in text)
