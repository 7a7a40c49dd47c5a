"""The answers of a study in words: up to which prune rate is a ticket as good as dense, and which ticket wins."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth_det.sweeps.study_contrasts import limits
from lth_det.sweeps.summary_laws import student_quantile
from lth_det.sweeps.summary_noise import LEVEL, Noise, none_if_nan
from lth_det.sweeps.summary_values import DENSE

AS_GOOD, WORSE, OPEN = "as good as dense", "worse than dense", "not decidable"


def judge(row: Mapping[str, Any], noise: Mapping[str, Any], margin: float) -> str:
    """Return what the seeds say about one row of ``summary`` in a ``matrix.json``.

    *As good as dense*: the one-sided 95 % limit of the paired difference lies above ``-margin`` (non-inferiority).
    *Worse*: its one-sided 95 % limit on the other side lies below ``-margin``. Otherwise *not decidable*; also without
    limits, because no cell has two seeds.

    Args:
        row: of a source that is not dense, with ``vs_dense``.
        noise: ``std`` and ``df`` of its target and metric.
        margin: the largest loss in points that does not matter.
    """
    low, high = _limits(row, noise)
    if low is None or high is None:
        return OPEN
    if low > -margin:
        return AS_GOOD
    return WORSE if high < -margin else OPEN


def _limits(row: Mapping[str, Any], noise: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the one-sided 95 % limits of the difference to dense, ``None`` where they are not known."""
    against = row["vs_dense"]
    if against is None or noise.get("std") is None:
        return None, None
    pairs = against["n"]
    pooled = Noise(float(noise["std"]), int(noise["df"]), int(noise.get("cells", 0)))
    if pairs:
        error = pooled.error(pairs, pairs)
    else:
        # No seed in common, and dense may have fewer seeds than the ticket: the two-sided interval knows both numbers.
        error = (against["high"] - against["mean"]) / student_quantile(0.5 + 0.5 * LEVEL, pooled.df)
    low, high = limits(against["mean"], error, pooled.df)
    return none_if_nan(low), none_if_nan(high)


def answers(matrix: Mapping[str, Any], margin: float) -> list[dict[str, Any]]:
    """Return, per target and source in the target's own metric, a judgement at each prune rate.

    Args:
        matrix: content of a ``matrix.json``.
        margin: see :func:`judge`.

    Returns:
        Rows with ``target``, ``source``, ``label``, ``metric`` and ``rates``: prune rate -> ``judgement``, ``mean``,
        ``low`` and ``high`` (one-sided 95 % limits) of the difference to dense (``None`` where it is not known).
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
            low, high = _limits(row, noise)
            entry["rates"][row["prune_rate"]] = {
                "judgement": judge(row, noise, margin),
                "mean": against.get("mean"),
                "low": low,
                "high": high,
            }
    return list(found.values())


def answers_text(rows: Sequence[Mapping[str, Any]], margin: float) -> str:
    """Return the answers as a Markdown table: one line per target and source, one column per prune rate."""
    if not rows:
        return "No ticket has a result yet.\n"
    rates = sorted({rate for row in rows for rate in row["rates"]})
    head = ["target", "ticket", *(f"{100 * rate:g} %" for rate in rates)]
    lines = [
        f"Difference to dense in points, paired by seed, with its 90 % interval, whose ends are the one-sided 95 % limits. *As "
        f"good as dense*: a loss of {margin:g} or more is excluded; *worse*: it is shown.",
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
