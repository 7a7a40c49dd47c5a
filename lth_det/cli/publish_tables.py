"""Tables of a published study: commands, cells and answers as text."""

import csv
import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lth_det.sweeps.study_marks import Answer

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
BINS = ("size-small", "size-medium", "size-large", "frequency-", "difficulty-", "occlusion-")
ANSWER_COLUMNS = (
    "question", "comparison", "part", "source", "against", "target", "metric", "prune_rate", "seeds", "difference", "low",
    "high", "seed_std", "df", "published_difference", "where", "claim", "mark", "reason",
)  # fmt: skip


def commands_text(matrix: Mapping[str, Any]) -> str:
    """Return the commands of every run of a ``matrix.json``, a line each below the run's name."""
    lines = []
    for run, commands in matrix.get("commands", {}).items():
        lines += [f"# {run}", *(shlex.join(command) for command in commands)]
    return "\n".join([*lines, ""])


def cells_csv(matrix: Mapping[str, Any]) -> str:
    """Return a row per cell with every metric of the task and the bins that the questions are about."""
    seen = dict.fromkeys(name for cell in matrix["cells"] for name in cell.get("metrics") or {})
    names = sorted(name for name in seen if _is_shown(name))
    places = ("source", "target", "prune_rate", "seed", "sparsity")
    rows = [
        (
            *(cell.get(key) for key in places),
            *(_short((cell.get("metrics") or {}).get(name)) for name in names),
        )
        for cell in matrix["cells"]
    ]
    return csv_text((*places, *names), rows)


def _is_shown(metric: str) -> bool:
    name = metric.rpartition("/")[2]
    return name in METRICS or name.removeprefix("AP-").startswith(BINS)


def _short(value: Any) -> str:
    return format(value, ".2f") if isinstance(value, float) and math.isfinite(value) else ""


def answer_row(one: Answer) -> list[str]:
    """Return the cells of one answer for people, in the order of the table of a question."""
    measured = one.measured
    # Two digits: an end of -0.96 printed as -1.0 would contradict a mark by the margin of 1.
    interval = "" if math.isnan(measured.low) else f" ({measured.low:+.2f} to {measured.high:+.2f})"
    mark = f"**{one.mark}**" + (f": {one.reason}" if one.reason else "")
    return [
        one.line.what,
        f"{100 * one.rate:g} %",
        str(measured.seeds),
        f"{measured.mean:+.2f}{interval}" if measured.seeds else "no result yet",
        "" if one.published is None else f"{one.published:+.2f}",
        one.line.where if one.claim else "",
        one.claim.text() if one.claim else "",
        mark if one.claim else "",
    ]


def answer_numbers(name: str, one: Answer) -> tuple[Any, ...]:
    """Return all numbers of one answer to the question ``name``, in the order of :data:`ANSWER_COLUMNS`."""
    line, measured = one.line, one.measured
    numbers = [measured.mean, measured.low, measured.high, measured.std]
    return (
        name,
        line.what,
        measured.part,
        measured.source,
        line.against,
        line.target,
        line.metric or " minus ".join(line.bins),
        one.rate,
        measured.seeds,
        *("" if math.isnan(number) else format(number, ".4f") for number in numbers),
        measured.df,
        "" if one.published is None else format(one.published, ".2f"),
        line.where,
        one.claim.text() if one.claim else "",
        one.mark,
        one.reason,
    )


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV file with a heading."""
    handle = io.StringIO()
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return handle.getvalue()
