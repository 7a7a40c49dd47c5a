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
    task_title,
)

TOLERANCE = 1.0
"""AP points (0-100) that a ticket may be below dense and still count as matching it, in the summary."""


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
        parts.append(
            html.note("The run has no dense round yet, so nothing can be compared with it.")
        )
    if not results.tickets:
        parts.append(html.note("The run has no ticket yet; this page shows the dense model only."))
    if not results.tasks:
        parts.append(html.note("No round has an AP; the metrics are in metrics.csv."))
    parts.append(
        html.paragraph(
            "AP is on the 0-100 scale. Sparsity counts zeros among all parameters of the network, prune rate among "
            f"the prunable ones. A ticket matches dense here when it is at most {TOLERANCE:g} AP below it; that is one "
            "run with one seed and no interval, so small differences are no evidence.",
            css="quiet",
        )
    )
    return html.join(parts)


def _cards(results: RunResults, task: str) -> list[tuple[str, str, str]]:
    name, title = f"{task}/AP", task_title(task)
    dense = math.nan if results.dense is None else results.dense.metric(name)
    items = []
    if not math.isnan(dense):
        fifty = results.dense.metric(f"{task}/AP50") if results.dense else math.nan
        items.append((f"{title} AP, dense", f"{dense:.1f}", f"AP50 {_short(fifty)}"))
    matching = sparsest_matching(results, task, tolerance=TOLERANCE)
    if matching is not None:
        items.append(_ticket_card("Sparsest matching ticket", matching, name, dense=dense))
    elif results.tickets and dense < WORTH_COMPARING:
        words = f"dense has less than {WORTH_COMPARING:g} {title.lower()} AP"
        items.append(("Sparsest matching ticket", "n/a", words))
    elif results.tickets and not math.isnan(dense):
        items.append(
            (
                "Sparsest matching ticket",
                "none",
                f"all lose more than {TOLERANCE:g} {title.lower()} AP",
            )
        )
    scored = [ticket for ticket in results.tickets if not math.isnan(ticket.metric(name))]
    if scored:
        best = max(scored, key=lambda ticket: ticket.metric(name))
        items.append(_ticket_card("Best ticket", best, name, dense=dense))
        last = max(scored, key=lambda ticket: ticket.sparsity)
        items.append(_ticket_card("Sparsest ticket", last, name, dense=dense))
    return items


def _ticket_card(
    label: str, ticket: RoundResult, name: str, *, dense: float
) -> tuple[str, str, str]:
    value = ticket.metric(name)
    change = "" if math.isnan(dense) else f" ({value - dense:+.1f})"
    return label, f"{100 * ticket.sparsity:.1f} %", f"{ticket.title}: AP {value:.1f}{change}"


def _short(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1f}"
