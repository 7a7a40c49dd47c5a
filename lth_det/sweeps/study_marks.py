"""Marks of a study's answers: does what was measured agree with what was published? By rule, never by hand.

A claim is a half-line of differences: above or below a threshold. With L and U, the one-sided 95 % limits of the measured
difference, it *agrees* when both lie on the claim's side, *differs* when both lie on the other, and is *not decidable with
this data* otherwise; always so with a single seed. A question agrees when every claim of it does, and differs when one of them does.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from lth_det.sweeps.study_contrasts import Contrast, contrast
from lth_det.sweeps.study_questions import Line, Question
from lth_det.sweeps.summary_values import Values

AGREES, DIFFERS, UNDECIDED = "agrees", "differs", "not decidable with this data"
NO_CLAIM = "nothing published"
FEWEST_SEEDS = 2
"""Pairs below which nothing is decided, even where the noise is known from other cells."""
BETTER, AS_GOOD, WORSE, OPEN, NO_DATA = "better", "as good", "worse", "open", "no result yet"


@dataclasses.dataclass(frozen=True)
class Claim:
    """What was published: the difference lies above (or not above) ``threshold``."""

    above: bool
    threshold: float

    def text(self) -> str:
        """Return it for people, such as ``> -1``."""
        return f"{'>' if self.above else '<'} {self.threshold:g}"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One line of a question at one prune rate.

    Attributes:
        line: what was compared.
        rate: the prune rate.
        measured: the difference.
        published: the published difference, or ``None``.
        claim: what it claims, or ``None``.
        finding: one of ``better``, ``as good``, ``worse``, ``open``, ``no result yet``.
        mark: ``agrees``, ``differs``, ``not decidable with this data`` or ``nothing published``.
        reason: why the mark is what it is.
    """

    line: Line
    rate: float
    measured: Contrast
    published: float | None
    claim: Claim | None
    finding: str
    mark: str
    reason: str


def claim_of(line: Line, rate: float, margin: float) -> Claim | None:
    """Return what is claimed at ``rate``, ``None`` if nothing is.

    A claim of kind ``margin`` is that a loss of ``margin`` points or more is absent, or present, as the published
    difference is above ``-margin`` or not.
    """
    if line.claim in ("above", "below"):
        return Claim(line.claim == "above", 0.0)
    values = line.rates[rate]
    if values is None:
        return None
    threshold = -margin if line.claim == "margin" else 0.0
    return Claim(values[0] - values[1] > threshold, threshold)


def mark_of(claim: Claim | None, measured: Contrast) -> tuple[str, str]:
    """Return the mark and its reason (see the top of this file)."""
    if claim is None:
        return NO_CLAIM, ""
    if not measured.seeds:
        return UNDECIDED, "no seed has both results"
    if measured.seeds < FEWEST_SEEDS:
        return UNDECIDED, "one seed alone decides nothing"
    if math.isnan(measured.low):
        return UNDECIDED, "no interval: no cell has two seeds"
    if measured.low <= claim.threshold < measured.high:
        return UNDECIDED, f"the interval contains {claim.threshold:g}"
    agrees = (measured.low > claim.threshold) == claim.above
    side = "above" if measured.low > claim.threshold else "below"
    return (AGREES if agrees else DIFFERS), f"the whole interval lies {side} {claim.threshold:g}"


def finding_of(measured: Contrast, margin: float) -> str:
    """Return what the interval shows by itself: better (above 0), as good (above ``-margin``), worse (below it)."""
    if not measured.seeds:
        return NO_DATA
    if measured.seeds < FEWEST_SEEDS:
        return OPEN
    if measured.low > 0.0:
        return BETTER
    if measured.low > -margin:
        return AS_GOOD
    return WORSE if measured.high <= -margin else OPEN


def answer(question: Question, parts: Mapping[str, Values], margin: float) -> list[Answer]:
    """Return an answer for every line and prune rate of a question.

    Args:
        question: see :class:`lth_det.sweeps.study_questions.Question`.
        parts: part -> its values; parts without results are absent.
        margin: the largest loss in points that does not matter.
    """
    found = []
    for line in question.lines:
        for rate, values in line.rates.items():
            measured, claim = contrast(parts, line, rate), claim_of(line, rate, margin)
            mark, reason = mark_of(claim, measured)
            published = None if values is None else values[0] - values[1]
            finding = finding_of(measured, 0.0 if line.bins else margin)
            found.append(Answer(line, rate, measured, published, claim, finding, mark, reason))
    return found


def overall(answers: Sequence[Answer]) -> str:
    """Return the mark of a question: ``differs`` if one claim does, ``agrees`` if all do, else ``not decidable ...``."""
    marks = [one.mark for one in answers if one.claim is not None]
    if not marks:
        return NO_CLAIM
    if DIFFERS in marks:
        return DIFFERS
    return AGREES if all(mark == AGREES for mark in marks) else UNDECIDED


def counts(answers: Sequence[Answer]) -> str:
    """Return how many claims have which mark, such as ``2 agree, 1 differ, 7 without a result``."""
    claimed = [one for one in answers if one.claim is not None]
    marks = [one.mark for one in claimed if one.finding != NO_DATA]
    without = len(claimed) - len(marks)
    numbers = {
        "agree": marks.count(AGREES),
        "differ": marks.count(DIFFERS),
        "not decidable": marks.count(UNDECIDED),
        "without a result": without,
    }
    return ", ".join(f"{number} {word}" for word, number in numbers.items() if number) or "no claim"


def in_words(answers: Sequence[Answer]) -> list[str]:
    """Return one sentence per comparison, such as ``boxes: as good at 50, 80 %; not decidable at 90 %``.

    Lines that differ only in what was published are one comparison, under the name of the first.
    """
    families: dict[tuple[object, ...], dict[float, Answer]] = {}
    for one in answers:
        line = one.line
        key = (line.tickets, line.against, line.target, line.metric, line.bins)
        families.setdefault(key, {}).setdefault(one.rate, one)
    sentences = []
    for family in families.values():
        mine = [family[rate] for rate in sorted(family)]
        words = []
        for finding in (BETTER, AS_GOOD, OPEN, WORSE, NO_DATA):
            rates = [f"{100 * one.rate:g}" for one in mine if one.finding == finding]
            where = "" if len(rates) == len(mine) == 1 else f" at {', '.join(rates)} %"
            words += [f"{_word(mine[0], finding)}{where}"] if rates else []
        sentences.append(f"{next(iter(family.values())).line.what}: {'; '.join(words)}.")
    return sentences


def _word(one: Answer, finding: str) -> str:
    if finding in (OPEN, NO_DATA):
        return "not decidable" if finding == OPEN else finding
    if one.line.bins:
        return {BETTER: "loses less", WORSE: "loses more"}.get(finding, finding)
    return finding
