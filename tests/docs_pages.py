"""What the pages of the documentation contain: commands, files shown in code blocks, links."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "benchmarks/README.md",
        ROOT / "configs/README.md",
        ROOT / "datasets/README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_STARTS = ("tools/", "make ", "python ", "lth-", "pytest ")


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


class Command(NamedTuple):
    """A command on a page: its words without comments, variables and the interpreter."""

    page: str
    words: tuple[str, ...]


def blocks(text):
    """Return the fenced blocks of a page."""
    return [Block(*match) for match in _FENCE.findall(text)]


def shown_files(page):
    """Return name -> content of the files that a page shows: blocks that begin with ``# name``."""
    found = {}
    for block in blocks(page.read_text()):
        match = re.match(r"# (\w+\.(?:py|yaml))\n", block.text)
        if match and block.language in ("python", "yaml"):
            found[match[1]] = block.text
    return found


def _lines(text):
    """Return every line of a page that may be a command: of plain blocks, of indented blocks, and inline code."""
    fenced = [block.text for block in blocks(text) if block.language in ("", "bash", "console")]
    rest = _FENCE.sub("", text)
    indented = [line for line in rest.splitlines() if line.startswith("    ")]
    inline = [" ".join(code.split()) for code in _INLINE.findall(rest)]
    lines = "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()
    return [line.strip() for line in [*lines, *inline]]


def _without_prefix(line):
    line = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line)
    return re.sub(r"^(?:\.venv/bin/)?python (?=tools/)|^\.venv/bin/(?=python -m )", "", line)


def commands(text, page="page"):
    """Return the commands on a page."""
    found = []
    for line in _lines(text):
        line = _without_prefix(line)
        if line.startswith(_STARTS):
            words = tuple(shlex.split(line, comments=True))
            if words:
                found.append(Command(page, words))
    return found


def all_commands():
    """Return the commands of all pages."""
    return [
        command
        for page in PAGES
        for command in commands(page.read_text(), page.relative_to(ROOT).as_posix())
    ]
