"""How many objects of which category and size: data, then the printed form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lth_det.data.shapes.splits import CLASSIFICATION, Split
from lth_det.errors import DataError

SIZE_LIMITS = (32.0**2, 96.0**2)
"""COCO's limits between small, medium and large, in px^2 of the "area" field; half-open bins."""

_COLUMNS = 3  # pairs of columns, as Detectron2 prints them


@dataclass(frozen=True)
class SplitStats:
    """Counts of one split.

    Attributes:
        name: Name of the data set.
        images: Number of images.
        crowds: Number of ``iscrowd`` regions; they are in no other count.
        by_category: Category name -> (small, medium, large) object counts, in the file's order; a
            classification split has no sizes and counts everything as small.
        sized: False for a classification split.
    """

    name: str
    images: int
    crowds: int
    by_category: dict[str, tuple[int, int, int]]
    sized: bool

    @property
    def objects(self) -> int:
        """Number of objects without crowds."""
        return sum(sum(counts) for counts in self.by_category.values())

    @property
    def by_size(self) -> tuple[int, int, int]:
        """Objects that are small, medium, large."""
        small, medium, large = zip(*self.by_category.values(), strict=True)
        return sum(small), sum(medium), sum(large)


def split_stats(folder: Path, split: Split) -> SplitStats:
    """Count the objects in a split's annotation file.

    Raises:
        DataError: The file cannot be read.
    """
    path = folder / split.annotations
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete {folder} to draw it again."
        ) from error
    names = {category["id"]: category["name"] for category in content["categories"]}
    counts = {name: [0, 0, 0] for name in names.values()}
    crowds = 0
    for annotation in content["annotations"]:
        if annotation.get("iscrowd", 0):
            crowds += 1
            continue
        size = sum(annotation.get("area", 0.0) >= limit for limit in SIZE_LIMITS)
        counts[names[annotation["category_id"]]][size] += 1
    by_category = {name: (c[0], c[1], c[2]) for name, c in counts.items()}
    return SplitStats(
        f"shapes_{split.name}",
        len(content["images"]),
        crowds,
        by_category,
        split.kind != CLASSIFICATION,
    )


def stats_table(stats: SplitStats) -> str:
    """Return the counts as text: Detectron2's category histogram, then objects by size."""
    head = f"{stats.name}: {stats.images} images, {stats.objects} objects, {stats.crowds} crowds"
    cells = [(name, str(sum(counts))) for name, counts in stats.by_category.items()]
    rows = [cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)]
    padded = [[*row, *[("", "")] * (_COLUMNS - len(row))] for row in rows]
    padded.append([("total", str(stats.objects)), *[("", "")] * (_COLUMNS - 1)])
    histogram = _pipe_table(
        ["category", "#instances"] * _COLUMNS,
        [[text for cell in row for text in cell] for row in padded],
    )
    if not stats.sized:
        return f"{head}\n{histogram}"
    return f"{head}\n{histogram}\n{_size_table(stats)}"


def _size_table(stats: SplitStats) -> str:
    rows = [[name, *map(str, counts)] for name, counts in stats.by_category.items()]
    total = max(1, stats.objects)
    rows.append(["total", *map(str, stats.by_size)])
    rows.append(["share", *(f"{100 * count / total:.1f} %" for count in stats.by_size)])
    return _pipe_table(["category", "small", "medium", "large"], rows)


def _pipe_table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
