"""The first part of a run report: what was found, in a few numbers."""

from __future__ import annotations

import math

from lth_det.reports import html
from lth_det.reports.html import Html
from lth_det.reports.run_data import (
    WORTH_COMPARING,
    RoundResult,
    RunResults,
    sparsest_matching,
)
from lth_det.reports.run_scores import Score, score_of

TOLERANCE = 1.0
"""Points of AP or accuracy (0-100) that a ticket may be below dense and still count as matching it, in the summary."""


def summary(results: RunResults) -> Html:
    """Return the cards of every task, and notes on what a comparison lacks."""
    parts = []
    for task in results.tasks:
        items = _cards(results, task)
        if items:
            parts.append(html.cards(items))
    if results.facts.get("complete") is False:
        parts.append(html.note("The run is not finished; this page shows its finished rounds."))
    if results.dense is None:
        parts.append(html.note(_no_dense(results)))
    if not results.tickets:
        parts.append(html.note("The run has no ticket yet; this page shows the dense model only."))
    if not results.tasks:
        parts.append(
            html.note("No round has an AP or an accuracy; the metrics are in metrics.csv.")
        )
    parts.append(html.paragraph(_how_to_read(results), css="quiet"))
    return html.join(parts)


def _no_dense(results: RunResults) -> str:
    method = results.facts.get("method")
    if method:
        return f"A run of method {method} trains no dense network; compare it with a run of method imp."
    return "The run has no dense round yet, so nothing can be compared with it."


def _how_to_read(results: RunResults) -> str:
    scale, points = (
        ("Accuracy is in percent of the validation images", f"{TOLERANCE:.1f} points of accuracy")
        if results.is_classifier
        else ("AP is on the 0-100 scale", f"{TOLERANCE:g} AP")
    )
    return (
        f"{scale}. Sparsity counts zeros among all parameters of the network, prune rate among the prunable ones. A "
        f"ticket matches dense here when it is at most {points} below it; that is one run with one seed and no "
        "interval, so small differences are no evidence."
    )


def _cards(results: RunResults, task: str) -> list[tuple[str, str, str]]:
    score = score_of(task)
    name = score.metric
    dense = math.nan if results.dense is None else results.dense.metric(name)
    items = []
    if not math.isnan(dense):
        heading, metric = score.second
        second = results.dense.metric(metric) if results.dense else math.nan
        items.append((f"{score.title}, dense", f"{dense:.1f}", f"{heading} {_short(second)}"))
    matching = sparsest_matching(results, task, tolerance=TOLERANCE)
    if matching is not None:
        items.append(_ticket_card("Sparsest matching ticket", matching, score, dense=dense))
    elif results.tickets and dense < results.chance(task) + WORTH_COMPARING:
        items.append(("Sparsest matching ticket", "n/a", _why_none(results, score)))
    elif results.tickets and not math.isnan(dense):
        items.append(
            (
                "Sparsest matching ticket",
                "none",
                f"all lose more than {TOLERANCE:g} {_lower(score.title)}",
            )
        )
    scored = [ticket for ticket in results.tickets if not math.isnan(ticket.metric(name))]
    if scored:
        best = max(scored, key=lambda ticket: ticket.metric(name))
        items.append(_ticket_card("Best ticket", best, score, dense=dense))
        last = max(scored, key=lambda ticket: ticket.sparsity)
        items.append(_ticket_card("Sparsest ticket", last, score, dense=dense))
    return items


def _ticket_card(
    label: str, ticket: RoundResult, score: Score, *, dense: float
) -> tuple[str, str, str]:
    value = ticket.metric(score.metric)
    change = "" if math.isnan(dense) else f" ({value - dense:+.1f})"
    return (
        label,
        f"{100 * ticket.sparsity:.1f} %",
        f"{ticket.title}: {_lower(score.title)} {value:.1f}{change}",
    )


def _why_none(results: RunResults, score: Score) -> str:
    if score.is_accuracy:
        chance = results.chance(score.task)
        return f"dense is less than {WORTH_COMPARING:g} points above guessing ({chance:.1f})"
    return f"dense has less than {WORTH_COMPARING:g} {_lower(score.title)}"


def _lower(title: str) -> str:
    """Return ``title`` inside a sentence: ``Box AP`` -> ``box AP``."""
    return title[:1].lower() + title[1:]


def _short(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1f}"
