"""The table of a module-wise sweep: which module groups are pruned, how much of the network that is, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lth_det.analysis.statistics import holm
from lth_det.sweeps.summary_values import DENSE, rate_key
from lth_det.sweeps.summary_verdicts import ALPHA, points


def module_rows(
    cells: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return one row per module subset, target, prune rate and metric, in the shape of Table 3 of Girish et al. (2021).

    Keys: ``source``, ``groups_pruned``, ``target``, ``prune_rate``, ``metric``, ``parameter_share`` (prunable weights of
    the pruned groups among all parameters, 0-1), ``sparsity`` (mean, 0-1), ``n``, ``mean``, ``std``, ``vs_dense``,
    ``p_holm`` (p of the difference to dense, corrected for all rows of the target and metric), ``larger_than_seed_noise``
    and ``sentence``. Empty unless ``cells`` is of kind "modules". The dense model has no pruned group and stands first.
    """
    if cells.get("kind") != "modules":
        return []
    sources = {source["name"]: source for source in cells["sources"]}
    rows = []
    for entry in summary:
        source = sources.get(entry["source"], {"name": entry["source"]})
        pruned = [str(group) for group in source.get("groups_pruned") or []]
        rows.append(
            {
                "source": entry["source"],
                "label": str(source.get("label") or entry["source"]),
                "groups_pruned": pruned,
                "target": entry["target"],
                "prune_rate": entry["prune_rate"],
                "metric": entry["metric"],
                "parameter_share": _share(cells, source, entry),
                "sparsity": entry["sparsity_mean"],
                "n": entry["n"],
                "mean": entry["mean"],
                "std": entry["std"],
                "vs_dense": entry["vs_dense"],
                "p_holm": None,
                "larger_than_seed_noise": None,
            }
        )
    _judge(rows)
    return rows


def _share(
    cells: Mapping[str, Any], source: Mapping[str, Any], entry: Mapping[str, Any]
) -> float | None:
    if entry["source"] == DENSE:
        return 0.0
    stated = source.get("parameter_share")
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        return float(stated)
    for cell in cells["cells"]:
        same = (cell["source"], cell["target"]) == (entry["source"], entry["target"])
        if same and rate_key(cell["prune_rate"]) == entry["prune_rate"] and cell.get("groups"):
            groups = cell["groups"]
            total = sum(counts.get("total_parameters") or 0 for counts in groups.values())
            prunable = sum(
                groups.get(name, {}).get("prunable_parameters") or 0
                for name in source.get("groups_pruned") or []
            )
            return prunable / total if total else None
    return None


def _judge(rows: Sequence[dict[str, Any]]) -> None:
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["vs_dense"] is not None:
            families.setdefault((row["target"], row["metric"]), []).append(row)
    for family in families.values():
        known = [row for row in family if row["vs_dense"]["p"] is not None]
        for row, adjusted in zip(known, holm([row["vs_dense"]["p"] for row in known]), strict=True):
            row["p_holm"] = float(adjusted)
            row["larger_than_seed_noise"] = bool(adjusted < ALPHA)
        for row in family:
            row["sentence"] = _sentence(row)


def _sentence(row: Mapping[str, Any]) -> str:
    against = row["vs_dense"]
    share = row["parameter_share"]
    weight = "" if share is None else f" ({100 * share:.1f} % of the parameters)"
    text = (
        f"Pruning {row['label']}{weight} at {100 * row['prune_rate']:g} % changes it by "
        f"{points(against['mean'], row['metric'], sign=True)}"
    )
    if row["larger_than_seed_noise"] is None:
        return f"{text}; no cell has two seeds, so whether that is seed noise is not known."
    interval = (
        f"95 % interval {against['low']:+.1f} to {against['high']:+.1f}, {_p_text(row['p_holm'])}"
    )
    judged = "larger than seed noise" if row["larger_than_seed_noise"] else "within seed noise"
    return f"{text} ({interval}): {judged}."


def _p_text(p: float) -> str:
    return "corrected p < 0.001" if p < 0.001 else f"corrected p {p:.2g}"
