"""From the folder of a study to the pages that are committed: answers, figures, numbers and commands, but no runs."""

import csv
import dataclasses
import io
import math
import os
import shlex
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lth_det.cli.report_comparison import verdict_text
from lth_det.errors import RunError
from lth_det.io import atomic_write
from lth_det.reports.early_bird_part import early_bird_figure
from lth_det.reports.plots import Drawing
from lth_det.reports.study_files import publish_part, without_paths
from lth_det.reports.study_page import (
    MARKER,
    PartView,
    QuestionView,
    StudyView,
    answers_page,
    readme,
)
from lth_det.sweeps.job import read_small
from lth_det.sweeps.listing import duration
from lth_det.sweeps.study import Study, load_parts
from lth_det.sweeps.study_answers import answers, answers_text
from lth_det.sweeps.study_marks import Answer, answer, counts, in_words, overall
from lth_det.sweeps.study_questions import Questions, load_questions
from lth_det.sweeps.summary_values import read_values
from lth_det.version import __version__

CAPTIONS = {
    "transfer_matrix": "Mean over seeds and its seed deviation, in brackets the difference to dense, which is also the colour",
    "ap_against_sparsity": "AP against network sparsity; bands are one seed deviation, dashed is dense, open symbols are controls",
    "differences": "Differences paired by seed, with 95 % intervals; short bars are single seeds",
    "modules": "What is pruned, and the paired difference to dense with its 95 % interval",
    "early_bird": "How the mask at an iteration resembles the last one",
    "overlap": "What the masks of the tickets have in common",
}
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
BINS = ("size-small", "size-medium", "size-large", "frequency-", "difficulty-", "occlusion-")
ANSWER_COLUMNS = (
    "question", "comparison", "part", "source", "against", "target", "metric", "prune_rate", "seeds", "difference", "low",
    "high", "seed_std", "df", "published_difference", "where", "claim", "mark", "reason",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user says beside the results.

    Attributes:
        command: that runs the study.
        hardware: what the runs ran on; ``None``: this machine, if the runs were here.
        commit: of the code that the runs used; ``None``: not recorded.
    """

    command: str
    hardware: str | None = None
    commit: str | None = None


def publish_study(study: Study, folder: Path, given: Given) -> Path:
    """Write ``README.md``, ``answers.md``, ``answers.csv`` and a folder per part; return the path of the first.

    Nothing is run and nothing is written to the study's output. Parts without results are shown as such. Equal results
    give equal files.

    Raises:
        RunError: a page that was not generated stands in the way, or a file cannot be written or read.
        ConfigError: a plan or the file of questions is wrong.
    """
    for name in ("README.md", "answers.md"):
        page = folder / name
        if page.exists() and not page.read_text(encoding="utf-8").startswith(MARKER):
            raise RunError(f"{page} was not generated; move it away or publish elsewhere.")
    asked = (
        load_questions(study.questions)
        if study.questions
        else Questions(study.name, (), {}, (), ())
    )
    plans = {part: sweep.plan_sha256 for part, sweep in load_parts(study).items()}
    found = {part: read_small(Path(study.folder(part)) / "matrix.json") for part in study.parts}
    matrices = {part: matrix for part, matrix in found.items() if matrix and matrix.get("cells")}
    values = {part: read_values(matrix) for part, matrix in matrices.items()}
    answered = [answer(question, values, study.margin) for question in asked.questions]
    view = StudyView(
        title=asked.name,
        about=asked.about,
        limits=asked.limits,
        margin=study.margin,
        facts=_facts(study, matrices, given),
        parts=[
            _part(study, part, matrices.get(part), plans[part], folder, asked.parts.get(part, part))
            for part in study.parts
        ],
        questions=[
            QuestionView(
                name=question.name,
                title=question.title,
                paper=question.paper,
                note=question.note,
                mark=overall(mine),
                counts=counts(mine),
                words=in_words(mine),
                rows=[_row(one) for one in mine if one.claim or one.measured.seeds],
            )
            for question, mine in zip(asked.questions, answered, strict=True)
        ],
        command=given.command,
        tables={
            part: answers_text(answers(matrix, study.margin), study.margin)
            for part, matrix in matrices.items()
        },
    )
    names = [question.name for question in asked.questions]
    rows = [_numbers(name, one) for name, mine in zip(names, answered, strict=True) for one in mine]
    atomic_write(folder / "answers.csv", _csv(ANSWER_COLUMNS, rows))
    atomic_write(folder / "answers.md", without_paths(answers_page(view)))
    atomic_write(folder / "README.md", without_paths(readme(view)))
    return folder / "README.md"


def _part(
    study: Study, part: str, matrix: dict[str, Any] | None, plan: str, folder: Path, about: str
) -> PartView:
    source = Path(study.folder(part))
    if matrix is None:
        return PartView(part, about, study.parts[part], "not begun", {}, False, (), ())
    missing = matrix.get("missing", [])
    total = len(matrix["cells"]) + len(missing)
    state = "complete" if matrix.get("complete") else f"{total - len(missing)} of {total} results"
    texts = {
        "commands.txt": _commands(matrix),
        "plan.yaml": Path(study.parts[part]).read_text(encoding="utf-8"),
        "cells.csv": _cells(matrix),
    }
    if missing:
        texts["missing.csv"] = _csv(tuple(missing[0]), [tuple(one.values()) for one in missing])
    figures, files = publish_part(source / "report", folder / part, texts, _early_birds(source))
    return PartView(
        name=part,
        about=about,
        plan=study.parts[part],
        state=state,
        missing=dict(Counter(one["reason"].partition(" ")[2] for one in missing)),
        changed=plan != matrix.get("plan_sha256"),
        figures=[(name, _caption(name)) for name in figures],
        files=files,
        verdicts=verdict_text(matrix).splitlines(),
    )


def _early_birds(source: Path) -> list[Drawing]:
    """Return the figure of the first run that records early-bird masks; the reports of sweeps do not draw it."""
    for path in sorted(source.glob("runs/*/early_bird.json")):
        record = read_small(path)
        if record and record.get("points"):
            return [early_bird_figure(record, name="early_bird")]
    return []


def _caption(name: str) -> str:
    stem = Path(name).stem
    first = stem.rstrip("0123456789").rstrip("_")
    return f"{CAPTIONS.get(stem) or CAPTIONS.get(first) or stem}."


def _commands(matrix: Mapping[str, Any]) -> str:
    lines = []
    for run, commands in matrix.get("commands", {}).items():
        lines += [f"# {run}", *(shlex.join(command) for command in commands)]
    return "\n".join([*lines, ""])


def _cells(matrix: Mapping[str, Any]) -> str:
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
    return _csv((*places, *names), rows)


def _is_shown(metric: str) -> bool:
    name = metric.rpartition("/")[2]
    return name in METRICS or name.removeprefix("AP-").startswith(BINS)


def _short(value: Any) -> str:
    return format(value, ".2f") if isinstance(value, float) and math.isfinite(value) else ""


def _facts(
    study: Study, matrices: Mapping[str, Mapping[str, Any]], given: Given
) -> list[tuple[str, str]]:
    folders = [Path(study.folder(part)) for part in matrices]
    done = sorted(path.stat().st_mtime for f in folders for path in f.glob("runs/*/results.json"))
    outcomes = [read_small(path) for f in folders for path in sorted(f.glob("jobs/*/outcome.json"))]
    seconds = sum(float(one.get("seconds") or 0.0) for one in outcomes if one)
    hosts = {
        str(one.get("host"))
        for f in folders
        for path in f.glob("jobs/*/process.json")
        if (one := read_small(path))
    }
    here = hosts == {socket.gethostname()}
    seeds = sorted({seed for matrix in matrices.values() for seed in matrix.get("seeds", [])})
    versions: dict[str, str] = {}
    for matrix in matrices.values():
        versions |= matrix.get("versions", {})
    days = sorted({datetime.fromtimestamp(at, timezone.utc).date().isoformat() for at in done})
    facts = [
        ("hardware", given.hardware or (_machine() if here else "not recorded")),
        ("code", f"lth_det {__version__}, commit {given.commit or 'not recorded'}"),
        ("packages", ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))),
        ("seeds", ", ".join(map(str, seeds))),
        ("runs", f"{len(done)} with results, {duration(seconds)} of work one after the other"),
        ("finished", " to ".join(dict.fromkeys([days[0], days[-1]])) + " (UTC)" if days else ""),
    ]
    return [(what, value or "nothing yet") for what, value in facts]


def _machine() -> str:
    """Return the processor and the number of cores of this machine."""
    names = ["unknown processor"]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if "model name" in line] or names
    except OSError:
        pass
    return f"{names[0]}, {os.cpu_count()} cores"


def _row(one: Answer) -> list[str]:
    measured = one.measured
    interval = "" if math.isnan(measured.low) else f" ({measured.low:+.1f} to {measured.high:+.1f})"
    mark = f"**{one.mark}**" + (f": {one.reason}" if one.reason else "")
    return [
        one.line.what,
        f"{100 * one.rate:g} %",
        str(measured.seeds),
        f"{measured.mean:+.1f}{interval}" if measured.seeds else "no result yet",
        "" if one.published is None else f"{one.published:+.2f}",
        one.line.where if one.claim else "",
        one.claim.text() if one.claim else "",
        mark if one.claim else "",
    ]


def _numbers(name: str, one: Answer) -> tuple[Any, ...]:
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


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    handle = io.StringIO()
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return handle.getvalue()
