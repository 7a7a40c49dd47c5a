"""The questions of a study as a file: which differences answer them, and what was published beside each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import read_yaml
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.summary_values import DENSE, rate_key

CLAIMS = ("margin", "sign", "above", "below")
"""``margin``: the published difference says whether a loss of the margin or more is claimed. ``sign``: it says whether the
difference is above or below 0. ``above`` and ``below`` 0: claimed in words, without a number."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One kind of difference, at several prune rates.

    Attributes:
        what: for people, such as ``boxes``.
        tickets: (part, source) pairs that hold the same kind of ticket; the one with the most seeds is taken.
        against: source of the same part that is taken off.
        target: of the part.
        metric: of both; empty when ``bins`` are compared.
        bins: two metrics: the change to ``against`` in percent of the first, minus that of the second.
        claim: one of :data:`CLAIMS`.
        where: table or figure of the published values.
        rates: prune rate -> published (ticket, against), or changes in percent of the two bins, or ``None``.
    """

    what: str
    tickets: tuple[tuple[str, str], ...]
    against: str
    target: str
    metric: str
    bins: tuple[str, ...]
    claim: str
    where: str
    rates: dict[float, tuple[float, float] | None]


@dataclasses.dataclass(frozen=True)
class Question:
    """A question and the lines that answer it.

    Attributes:
        name: for anchors and CSV files.
        title: the question.
        paper: what the papers say, in words, with the source.
        note: what sets this study apart from them; empty if there is nothing to say.
        lines: what is compared.
    """

    name: str
    title: str
    paper: str
    note: str
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True)
class Questions:
    """A file of questions.

    Attributes:
        name: title of the page.
        about: paragraphs for the top of the page.
        parts: part -> its question in one sentence.
        limits: what the study cannot say.
        questions: in the order of the page.
    """

    name: str
    about: tuple[str, ...]
    parts: dict[str, str]
    limits: tuple[str, ...]
    questions: tuple[Question, ...]


def load_questions(path: str) -> Questions:
    """Return the questions in a YAML file.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    keys = Keys(path, read_yaml(path))
    name = keys.take("name", str)
    about, limits = keys.strings("about"), keys.strings("limits", [])
    parts = {str(part): str(text) for part, text in keys.take("parts", dict).items()}
    given = keys.take("questions", list)
    found = [
        _question(Keys(f"{path}: questions[{number}]", one)) for number, one in enumerate(given)
    ]
    keys.end()
    for question in found:
        for part in {part for line in question.lines for part, _ in line.tickets} - set(parts):
            raise ConfigError(f"{path}: {question.name} names {part}, which is not among parts.")
    return Questions(name, tuple(about), parts, tuple(limits), tuple(found))


def _question(keys: Keys) -> Question:
    lines = [
        _line(Keys(f"{keys.where}: lines[{number}]", one))
        for number, one in enumerate(keys.take("lines", list))
    ]
    found = Question(
        keys.take("name", str),
        keys.take("title", str),
        keys.take("paper", str),
        keys.take("note", str, ""),
        tuple(lines),
    )
    keys.end()
    return found


def _line(keys: Keys) -> Line:
    tickets = [tuple(place.split("/", 1)) for place in keys.strings("tickets")]
    if not tickets or any(len(place) != 2 for place in tickets):
        raise ConfigError(f"{keys.where}: tickets must be a list of PART/SOURCE.")
    bins = tuple(keys.strings("bins", []))
    metric = keys.take("metric", str, "")
    if bool(metric) == bool(bins) or len(bins) not in (0, 2):
        raise ConfigError(f"{keys.where}: give either metric or bins, a list of two metrics.")
    claim = keys.choice("claim", CLAIMS, "sign" if bins else "margin")
    line = Line(
        what=keys.take("what", str),
        tickets=tuple((part, source) for part, source in tickets),
        against=keys.take("against", str, DENSE),
        target=keys.take("target", str),
        metric=metric,
        bins=bins,
        claim=claim,
        where=keys.take("where", str, ""),
        rates=_rates(keys.where, keys.take("rates", dict)),
    )
    keys.end()
    if not line.where and any(line.rates.values()):
        raise ConfigError(f"{keys.where}: where is missing: table or figure of the values.")
    if claim == "margin" and bins:
        raise ConfigError(f"{keys.where}: bins are compared in percent; claim cannot be margin.")
    return line


def _rates(where: str, given: Mapping[Any, Any]) -> dict[float, tuple[float, float] | None]:
    found: dict[float, tuple[float, float] | None] = {}
    for rate, values in given.items():
        numbers = [rate, *(values if isinstance(values, list) else [])]
        good = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        if not good or (values is not None and len(numbers) != 3):
            raise ConfigError(
                f"{where}: rates must map prune rates to two published numbers or to null; {rate}: {values!r} does not."
            )
        found[rate_key(rate)] = None if values is None else (float(values[0]), float(values[1]))
    return found
