"""The first part of a comparison's page: which source wins, by how much, and what the sweep lacks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lth_det.reports import html
from lth_det.reports.html import Html
from lth_det.reports.sweep_data import DENSE, Matrix, Target, metric_title, percent, signed, wrap
from lth_det.reports.tables import Column, make_table

METHOD = (
    "Differences are paired by seed. The seed noise of a target is the seed standard deviation pooled over its cells, "
    "s\u00b2 = \u03a3 (x \u2212 mean of the cell)\u00b2 / \u03a3 (n \u2212 1), with \u03a3 (n \u2212 1) degrees of "
    "freedom: two seeds of one cell alone give an interval of \u00b112.7 standard errors, which decides nothing. A "
    "difference d of means of n seeds has the 95 % interval d \u00b1 t s \u221a(2/n) (Student's t)."
)
PICKED = (
    "The winner and the second are named after looking at the results, so their interval is Tukey and Kramer's: it "
    "holds for all pairs of the sources ranked together at once. Ranked together are sources of one prune rate whose "
    "network sparsities are near to each other: a backbone ticket leaves the other modules dense. The corrected p takes all verdicts of the metric "
    "into account (Holm). Differences to dense and to the random control are intervals of one comparison each: read a "
    "whole column of them with care."
)
LIMITS = (
    "Limits: one noise is assumed for all cells of a target, and rounds of one run share their seed, so the degrees of "
    'freedom are an upper bound. "Within seed noise" is no evidence that sources are equal.'
)


def headline(matrix: Matrix) -> Html:
    """Return the verdict sentences of every target, the cards, and notes on what the sweep lacks."""
    parts: list[Html] = []
    if matrix.raw.get("complete") is False:
        parts.append(html.note("The sweep is not finished; this page shows its finished cells."))
    parts += [_target(matrix, target) for target in matrix.targets]
    if not matrix.is_modules and not matrix.verdicts:
        parts.append(
            html.note("No source has a result at any prune rate yet, so there is no verdict.")
        )
    return html.join(parts)


def method() -> Html:
    """Return how noise, intervals and verdicts are computed."""
    return html.join([html.paragraph(METHOD), html.paragraph(PICKED), html.paragraph(LIMITS)])


def verdicts_part(matrix: Matrix) -> Html:
    """Return every verdict as a table, all metrics."""
    if not matrix.verdicts:
        words = "A module-wise sweep has no winner: its subsets differ in sparsity."
        return html.paragraph(words, css="quiet") if matrix.is_modules else Html("")
    columns = (
        Column("target", "target"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("sparsity", "sparsity", ".1%"),
        Column("metric", "metric"),
        Column("winner", "winner"),
        Column("runner_up", "second"),
        Column("difference", "difference", "+.2f"),
        Column("low", "from", "+.2f"),
        Column("high", "to", "+.2f"),
        Column("p_holm", "p, corrected", ".2g"),
        Column("decided", "larger than seed noise"),
    )
    named = {target.name: target.label for target in matrix.targets}
    rows = [
        (
            named.get(entry["target"], entry["target"]),
            entry["prune_rate"],
            entry["sparsity"],
            entry["metric"],
            matrix.labels.get(entry["winner"] or ""),
            matrix.labels.get(entry["runner_up"] or ""),
            entry["difference"],
            entry["low"],
            entry["high"],
            entry["p_holm"],
            entry["larger_than_seed_noise"],
        )
        for entry in matrix.verdicts
    ]
    return html.details("Table of all verdicts", html.table(make_table(columns, rows)))


def missing_part(matrix: Matrix) -> Html:
    """Return what is missing: cells without a run, and metrics that could not be computed."""
    parts: list[Html] = []
    missing = matrix.raw.get("missing") or []
    lacking = matrix.raw.get("not_computable") or []
    columns = [
        Column("source", "source"),
        Column("target", "target"),
        Column("prune_rate", "prune rate", ".1%"),
        Column("seed", "seed", "d"),
    ]
    if missing:
        rows = [[*_place(matrix, entry), str(entry.get("reason") or "")] for entry in missing]
        table = make_table([*columns, Column("reason", "why")], rows)
        count = f"{len(missing)} cell{'' if len(missing) == 1 else 's'} of the matrix"
        parts += [html.note(f"{count} have no result."), html.table(table)]
    if lacking:
        rows = [[*_place(matrix, entry), str(entry["metric"])] for entry in lacking]
        table = make_table([*columns, Column("metric", "metric")], rows)
        parts += [
            html.note("These cells ran, but their metric is not a number."),
            html.table(table),
        ]
    for target in matrix.targets:
        if matrix.dense(target) is None:
            words = f"{target.label} has no dense result in {metric_title(target.metric)}: no difference to dense."
            parts.append(html.note(words))
        elif matrix.noise(target)["std"] is None:
            words = f"{target.label}: no cell has two seeds, so there are no intervals and no verdict on noise."
            parts.append(html.note(words))
    return html.join(parts) if parts else html.paragraph("Nothing: every cell has a result.")


def commands_part(matrix: Matrix) -> Html:
    """Return the commands that made every run, the versions, and the hash of the plan."""
    commands = matrix.raw.get("commands")
    lines = [
        f"# {name}\n{_shell(words)}"
        for name, words in (commands.items() if isinstance(commands, Mapping) else ())
    ]
    versions = matrix.raw.get("versions")
    known = versions.items() if isinstance(versions, Mapping) else ()
    items = [
        ("Plan, SHA-256", str(matrix.raw.get("plan_sha256") or "unknown")),
        ("Seeds", ", ".join(str(seed) for seed in matrix.raw.get("seeds") or []) or "unknown"),
        ("Versions", ", ".join(f"{name} {value}" for name, value in sorted(known)) or "unknown"),
    ]
    parts = [html.definitions(items)]
    if lines:
        block = Html(f'<pre class="commands">{html.escape(chr(10).join(lines))}</pre>')
        parts.append(html.details(f"Commands of all {len(lines)} runs", block))
    else:
        parts.append(html.note("The sweep lists no commands."))
    return html.join(parts)


def _target(matrix: Matrix, target: Target) -> Html:
    parts = [Html(f"<h3>{html.escape(f'{target.label}: {metric_title(target.metric)}')}</h3>")]
    cards = _cards(matrix, target)
    if cards:
        parts.append(html.cards(cards))
    sentences = [
        f"Prune rate {percent(entry['prune_rate'])}: {entry['sentence']}{_beside(matrix, target, entry)}"
        for entry in matrix.verdicts_of(target)
    ]
    sentences += [
        row["sentence"]
        for row in matrix.raw.get("modules", [])
        if (row["target"], row["metric"]) == (target.name, target.metric) and "sentence" in row
    ]
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    parts.append(Html(f"<ul>{items}</ul>") if items else html.note("No result of a ticket yet."))
    return html.join(parts)


def _cards(matrix: Matrix, target: Target) -> list[tuple[str, str, str]]:
    dense, noise = matrix.dense(target), matrix.noise(target)
    items = []
    if dense is not None:
        spread = (
            "one seed"
            if dense["std"] is None
            else f"seed std {dense['std']:.1f}, {dense['n']} seeds"
        )
        items.append(("Dense", f"{dense['mean']:.1f}", spread))
    if noise["std"] is not None:
        words = f"pooled over {noise['cells']} cells, {noise['df']} degrees of freedom"
        items.append(("Seed noise (std)", f"{noise['std']:.2f}", words))
    for entry in matrix.verdicts_of(target):
        rate = entry["prune_rate"]
        row = matrix.row(entry["winner"], target, rate) if entry["winner"] else None
        if row is not None and entry["runner_up"]:  # the best of one is no news
            words = f"{row['mean']:.1f} \u2013 {_decision(entry)}"
            name = wrap(matrix.labels[row["source"]], width=40, lines=1)
            near = (
                "" if entry["sparsity"] is None else f", sparsity {100 * entry['sparsity']:.0f} %"
            )
            items.append((f"Best at prune rate {percent(rate)}{near}", name, words))
    return items


def _decision(entry: Mapping[str, Any]) -> str:
    decided = entry["larger_than_seed_noise"]
    if decided is None:
        return "not compared with noise"
    return "larger than seed noise" if decided else "within seed noise"


def _beside(matrix: Matrix, target: Target, entry: Mapping[str, Any]) -> str:
    """Return the winner's differences to dense and to its random control as a sentence, or an empty text."""
    row = matrix.row(entry["winner"], target, entry["prune_rate"]) if entry["winner"] else None
    if row is None:
        return ""
    words = []
    for key, name in (("vs_dense", DENSE), ("vs_random", "its random control")):
        found = row[key]
        if found is not None:
            known = found["low"] is not None
            limits = f" ({signed(found['low'])} to {signed(found['high'])})" if known else ""
            words.append(f"against {name} {signed(found['mean'])}{limits}")
    return f" The winner {', '.join(words)}." if words else ""


def _place(matrix: Matrix, entry: Mapping[str, Any]) -> list[Any]:
    named = {target.name: target.label for target in matrix.targets}
    return [
        matrix.labels.get(str(entry.get("source")), str(entry.get("source"))),
        named.get(str(entry.get("target")), str(entry.get("target"))),
        entry.get("prune_rate"),
        entry.get("seed"),
    ]


def _shell(words: Any) -> str:
    """Return one command, or several, as they are typed."""
    if isinstance(words, str):
        return words
    if words and all(isinstance(word, list | tuple) for word in words):
        return "\n".join(_shell(command) for command in words)
    return shlex.join(str(word) for word in words or [])
