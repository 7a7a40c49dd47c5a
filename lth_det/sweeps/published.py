"""Published values in plans: what a paper reports for the cells of a matrix, or for the tables of single runs."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.job import read_small
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.model import Cell
from lth_det.sweeps.summary_values import DENSE

PICKS = ("max", "min", "last", "mean")


def read_published(
    keys: Keys, facts: Mapping[str, Any], cells: Collection[Cell]
) -> list[dict[str, Any]]:
    """Take ``published`` of a plan with a matrix: a list of mappings of prune rates to values of one source.

    ``target`` of an entry is one name or a list: the value then stands beside the results of each.

    Args:
        keys: the whole plan.
        facts: its targets, sources, metrics and prune rates, as in ``cells.json``.
        cells: of its matrix; a source need not have one on every target and at every prune rate.

    Returns:
        One mapping per value: ``source``, ``target``, ``prune_rate``, ``metric``, ``value``, ``std`` (``None`` if it is
        not published), ``relative`` (the value is a change to dense in percent), ``where`` and ``note``.

    Raises:
        ConfigError: an entry is wrong or names what the plan does not have, so that it could never be shown.
    """
    found: list[dict[str, Any]] = []
    places = {(cell.source, cell.target, cell.prune_rate) for cell in cells}
    for number, entry in enumerate(keys.take("published", list, [])):
        one = Keys(f"{keys.where}: published[{number}]", entry)
        common = {
            "source": one.take("source", str),
            "metric": one.take("metric", str),
            "relative": one.take("relative", bool, False),
            "where": one.take("where", str),
            "note": one.take("note", str, ""),
        }
        named = entry.get("target")
        targets = one.strings("target") if isinstance(named, list) else [one.take("target", str)]
        values = one.take("values", dict)
        one.end()
        for target in targets:
            _check_names(one.where, {**common, "target": target}, facts)
            for rate, value in values.items():
                place = _rate(one.where, rate, common["source"], facts["prune_rates"])
                if (common["source"], target, place) not in places:
                    raise ConfigError(
                        f"{one.where}: the plan has no cell of {common['source']} on {target} at prune rate {place:g}."
                    )
                mean, std = _value(one.where, value)
                row = {**common, "target": target, "prune_rate": place, "value": mean, "std": std}
                found.append(row)
    return found


def _check_names(where: str, entry: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    known = {
        "source": [DENSE, *(source["name"] for source in facts["sources"])],
        "target": [target["name"] for target in facts["targets"]],
        "metric": list(facts["metrics"]),
    }
    for key, names in known.items():
        if entry[key] not in names:
            raise ConfigError(
                f"{where}: {key} {entry[key]} is not in the plan ({', '.join(names)})."
            )
    if entry["source"] == DENSE and entry["relative"]:
        raise ConfigError(f"{where}: dense has no change to dense; leave relative out.")


def _rate(where: str, rate: Any, source: str, rates: Collection[float]) -> float:
    allowed = [0.0] if source == DENSE else list(rates)
    if not isinstance(rate, int | float) or float(rate) not in allowed:
        raise ConfigError(f"{where}: {rate!r} is not a prune rate of {source} ({allowed}).")
    return float(rate)


def _value(where: str, value: Any) -> tuple[float, float | None]:
    """Return mean and deviation of ``value``: a number, or a pair of numbers."""
    pair = value if isinstance(value, list) else [value]
    numbers = all(isinstance(part, int | float) and not isinstance(part, bool) for part in pair)
    if not numbers or len(pair) not in (1, 2):
        raise ConfigError(
            f"{where}: {value!r} must be a number, or [mean, standard deviation over seeds]."
        )
    return float(pair[0]), float(pair[1]) if len(pair) == 2 else None


def compare_published(matrix: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the published values of a ``matrix.json`` with what was measured beside them.

    Returns:
        The entries of ``matrix["published"]`` with ``measured`` (mean over seeds, or for relative values the change of
        the mean to the dense mean in percent), ``measured_std``, ``n`` and ``difference`` (measured minus published);
        ``None`` and 0 where nothing has been measured.
    """
    rows = {
        (row["source"], row["target"], row["prune_rate"], row["metric"]): row
        for row in matrix["summary"]
    }
    found = []
    for entry in matrix.get("published", []):
        place = entry["target"], entry["prune_rate"], entry["metric"]
        row = rows.get((entry["source"], *place))
        dense = rows.get((DENSE, entry["target"], 0.0, entry["metric"]))
        mean, std = (None, None) if row is None else (row["mean"], row["std"])
        if entry["relative"]:
            mean, std = _change(mean, None if dense is None else dense["mean"]), None
        found.append(
            {
                **entry,
                "measured": mean,
                "measured_std": std,
                "n": 0 if row is None or mean is None else row["n"],
                "difference": None if mean is None else mean - entry["value"],
            }
        )
    return found


def _change(mean: float | None, dense: float | None) -> float | None:
    """Return the change of ``mean`` to ``dense`` in percent of it; ``None`` where it is not known."""
    return None if mean is None or not dense else 100.0 * (mean / dense - 1.0)


def read_run_values(keys: Keys, runs: Collection[str]) -> list[dict[str, Any]]:
    """Take ``published`` of a plan of kind ``runs``: values that stand in a table of a run's JSON file.

    An entry has ``label``, ``value``, ``where`` (in the paper), ``run``, ``file`` (in the run's folder), ``table`` (key
    of a list of mappings in it; default ``rows``), ``rows`` (what its rows must say), ``column`` (with dots
    for what lies deeper, as ``metrics.top1``), ``pick`` (one of
    :data:`PICKS`, over the rows that fit) and ``note``.

    Raises:
        ConfigError: an entry is wrong, or names a run that the plan does not have.
    """
    found = []
    for number, entry in enumerate(keys.take("published", list, [])):
        one = Keys(f"{keys.where}: published[{number}]", entry)
        made = {
            "label": one.take("label", str),
            "value": one.take("value", float),
            "where": one.take("where", str),
            "run": one.take("run", str),
            "file": one.take("file", str),
            "table": one.take("table", str, "rows"),
            "rows": one.take("rows", dict, {}),
            "column": one.take("column", str),
            "pick": one.choice("pick", PICKS, "last"),
            "note": one.take("note", str, ""),
        }
        one.end()
        if made["run"] not in runs:
            raise ConfigError(
                f"{one.where}: run {made['run']} is not in the plan ({', '.join(runs)})."
            )
        found.append(made)
    return found


def measured_run_values(
    entries: Sequence[Mapping[str, Any]], folder: str | Path
) -> list[dict[str, Any]]:
    """Return the published values of a plan of kind ``runs`` with ``measured`` (``None`` without a result) beside them.

    Args:
        entries: from :func:`read_run_values`.
        folder: of the sweep.
    """
    return [{**entry, "measured": _measured(entry, Path(folder))} for entry in entries]


def _measured(entry: Mapping[str, Any], folder: Path) -> float | None:
    content = read_small(folder / "runs" / entry["run"] / entry["file"])
    rows = (content or {}).get(entry["table"])
    if not isinstance(rows, list):
        return None
    found = [
        _at(row, entry["column"])
        for row in rows
        if isinstance(row, dict)
        and all(row.get(key) == value for key, value in entry["rows"].items())
    ]
    values = [value for value in found if isinstance(value, int | float)]
    if not values:
        return None
    if entry["pick"] == "mean":
        return fmean(values)
    return float({"max": max(values), "min": min(values), "last": values[-1]}[entry["pick"]])


def _at(row: Mapping[str, Any], column: str) -> Any:
    """Return the value of a column; ``None`` where the row has none."""
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def run_values_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the values of :func:`measured_run_values` as a Markdown table; empty without entries."""
    if not entries:
        return ""
    lines = ["| what | published | measured | where |", "|---|---|---|---|"]
    for entry in entries:
        measured = "-" if entry["measured"] is None else f"{entry['measured']:.2f}"
        lines.append(f"| {entry['label']} | {entry['value']:.2f} | {measured} | {entry['where']} |")
    return "\n".join([*lines, ""])
