"""From the folder of a study to the pages that are committed: answers, figures, numbers and commands, but no runs."""

import dataclasses
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lth_det.cli.publish_tables import (
    ANSWER_COLUMNS,
    answer_numbers,
    answer_row,
    cells_csv,
    commands_text,
    csv_text,
)
from lth_det.cli.report_comparison import verdict_text
from lth_det.errors import RunError
from lth_det.io import atomic_write
from lth_det.reports.early_bird_part import early_bird_figure
from lth_det.reports.plots import Drawing
from lth_det.reports.study_figures import Row, answers_figure
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

FIGURES = "figures"
CAPTIONS = {
    "transfer_matrix": "Mean over seeds and its seed deviation, in brackets the difference to dense, which is also the colour",
    "ap_against_sparsity": "AP against network sparsity; bands are one seed deviation, dashed is dense, open symbols are controls",
    "differences": "Differences paired by seed, with 95 % intervals; short bars are single seeds",
    "modules": "What is pruned, and the paired difference to dense with its 95 % interval",
    "early_bird": "How the mask at an iteration resembles the last one",
    "overlap": "What the masks of the tickets have in common",
}


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
    drawings = {
        question.name: drawing
        for question, mine in zip(asked.questions, answered, strict=True)
        if (drawing := _figure(question.name, mine, study.margin)) is not None
    }
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
                figure=f"{FIGURES}/{question.name}.png" if question.name in drawings else "",
                rows=[answer_row(one) for one in mine if one.claim or one.measured.seeds],
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
    rows = [
        answer_numbers(name, one)
        for name, mine in zip(names, answered, strict=True)
        for one in mine
    ]
    publish_part(None, folder / FIGURES, {}, list(drawings.values()))
    atomic_write(folder / "answers.csv", csv_text(ANSWER_COLUMNS, rows))
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
        "commands.txt": commands_text(matrix),
        "plan.yaml": Path(study.parts[part]).read_text(encoding="utf-8"),
        "cells.csv": cells_csv(matrix),
    }
    if missing:
        texts["missing.csv"] = csv_text(tuple(missing[0]), [tuple(one.values()) for one in missing])
    figures, files = publish_part(
        source / "report",
        folder / part,
        texts,
        _early_birds(source),
        skipped=("ap_against_sparsity.png",) if len(matrix.get("prune_rates", [])) == 1 else (),
    )
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


def _figure(name: str, answers_: Sequence[Answer], margin: float) -> Drawing | None:
    """Return the figure of a question, ``None`` while it has no result."""
    shown = [one for one in answers_ if one.measured.seeds]
    if not shown:
        return None
    rows = [
        Row(
            label=f"{one.line.what}, {100 * one.rate:g} %",
            mean=one.measured.mean,
            low=one.measured.low,
            high=one.measured.high,
            published=one.published,
            mark=one.mark,
        )
        for one in shown
    ]
    if any(one.line.bins for one in shown):
        return answers_figure(name, rows, unit="percent of dense", threshold=0.0)
    return answers_figure(name, rows, unit="points of AP", threshold=-margin)


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
