"""The answers of a study in words: up to which prune rate is a ticket as good as dense, and which ticket wins."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth_det.sweeps.summary_noise import Noise, non_inferiority
from lth_det.sweeps.summary_values import DENSE

AS_GOOD, WORSE, OPEN = "as good as dense", "worse than dense", "not decidable"


def judge(row: Mapping[str, Any], noise: Mapping[str, Any], margin: float) -> str:
    """Return what the seeds say about one row of ``summary`` in a ``matrix.json``.

    *As good as dense*: the one-sided 95 % limit of the paired difference lies above ``-margin`` (non-inferiority).
    *Worse*: the upper end of its two-sided 95 % interval lies below ``-margin``. Otherwise *not decidable*; also
    without an interval, because no cell has two seeds.

    Args:
        row: of a source that is not dense, with ``vs_dense``.
        noise: ``std`` and ``df`` of its target and metric.
        margin: the largest loss in points that does not matter.
    """
    against = row["vs_dense"]
    if against is None or against["high"] is None or noise.get("std") is None:
        return OPEN
    pairs = against["n"] or row["n"]
    pooled = Noise(float(noise["std"]), int(noise["df"]), int(noise.get("cells", 0)))
    shown = non_inferiority(against["mean"], pooled.error(pairs, pairs), pooled.df, margin=margin)[
        "non_inferior"
    ]
    if shown:
        return AS_GOOD
    return WORSE if against["high"] < -margin else OPEN


def answers(matrix: Mapping[str, Any], margin: float) -> list[dict[str, Any]]:
    """Return, per target and source in the target's own metric, a judgement at each prune rate.

    Args:
        matrix: content of a ``matrix.json``.
        margin: see :func:`judge`.

    Returns:
        Rows with ``target``, ``source``, ``label``, ``metric`` and ``rates``: prune rate -> ``judgement``, ``mean``,
        ``low`` and ``high`` of the difference to dense (``None`` where it is not known).
    """
    labels = {source["name"]: source.get("label") or source["name"] for source in matrix["sources"]}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for target in matrix["targets"]:
        metric = target["metric"]
        noise = matrix["noise"].get(target["name"], {}).get(metric, {})
        for row in matrix["summary"]:
            if (row["target"], row["metric"]) != (target["name"], metric) or row["source"] == DENSE:
                continue
            entry = found.setdefault(
                (target["name"], row["source"]),
                {
                    "target": target.get("label") or target["name"],
                    "source": row["source"],
                    "label": labels.get(row["source"], row["source"]),
                    "metric": metric,
                    "rates": {},
                },
            )
            against = row["vs_dense"] or {}
            numbers = {key: against.get(key) for key in ("mean", "low", "high")}
            entry["rates"][row["prune_rate"]] = {"judgement": judge(row, noise, margin), **numbers}
    return list(found.values())


def answers_text(rows: Sequence[Mapping[str, Any]], margin: float) -> str:
    """Return the answers as a Markdown table: one line per target and source, one column per prune rate."""
    if not rows:
        return "No ticket has a result yet.\n"
    rates = sorted({rate for row in rows for rate in row["rates"]})
    head = ["target", "ticket", *(f"{100 * rate:g} %" for rate in rates)]
    lines = [
        f"Difference to dense in points, paired by seed, with its 95 % interval; *as good as dense* means that a loss of "
        f"{margin:g} or more is excluded (one-sided, 95 %).",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for row in rows:
        cells = [_cell(row["rates"].get(rate)) for rate in rates]
        lines.append(
            f"| {row['target']} ({row['metric']}) | {row['label']} | {' | '.join(cells)} |"
        )
    return "\n".join([*lines, ""])


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry["mean"] is None:
        return "-"
    if entry["low"] is None:
        return f"{entry['mean']:+.1f}, {entry['judgement']}"
    return (
        f"{entry['mean']:+.1f} ({entry['low']:+.1f} to {entry['high']:+.1f}), {entry['judgement']}"
    )
