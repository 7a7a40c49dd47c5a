"""The summary of a sweep: means over seeds, paired differences with intervals, verdicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from lth_det.sweeps.published import compare_published
from lth_det.sweeps.summary_modules import module_rows
from lth_det.sweeps.summary_noise import (
    Noise,
    as_row,
    difference,
    interval,
    none_if_nan,
    pooled_noise,
)
from lth_det.sweeps.summary_values import DENSE, Key, Values, metric_names, read_values
from lth_det.sweeps.summary_verdicts import (
    APART,
    Contest,
    add_holm,
    alike_in_sparsity,
    matching_control,
    verdict,
)


def summarise(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``matrix.json``: ``cells`` (the content of ``cells.json``, left as it is) and its summary.

    Added keys, metrics on their own scale (AP: 0-100), ``None`` (null) for what cannot be computed:

    - ``summary``: one row per source, target, prune rate and metric: ``n`` seeds, ``mean``, ``std`` (n - 1), ``low`` and
      ``high`` of the mean, ``values`` by seed, ``sparsity_mean``, and the differences ``vs_dense`` and ``vs_random``
      (paired by seed; see :func:`lth_det.sweeps.summary_noise.as_row`), the latter with the name of the ``control``.
    - ``noise``: target -> metric -> pooled seed standard deviation ``std``, its ``df`` and the number of ``cells``.
    - ``verdicts``: per target, prune rate, class of like network sparsity, and metric (see
      :func:`lth_det.sweeps.summary_verdicts.verdict` and ``alike_in_sparsity``).
    - ``modules``: the table of a module-wise sweep, else empty.
    - ``not_computable``: cells that ran but lack a metric.
    - ``published``, if the plan has published values: each with what was measured beside it.

    Raises:
        RunError: ``cells`` is not what a sweep writes.
    """
    values = read_values(cells)
    noises = {
        (target["name"], metric): pooled_noise(values, target["name"], metric)
        for target in cells["targets"]
        for metric in metric_names(cells, target)
    }
    matrix = copy.deepcopy(dict(cells))
    matrix["summary"] = _rows(cells, values, noises)
    matrix["noise"] = _noise_rows(noises)
    matrix["modules"] = module_rows(cells, matrix["summary"])
    matrix["verdicts"] = [] if cells.get("kind") == "modules" else _verdicts(cells, values, noises)
    matrix["not_computable"] = values.lacking
    if matrix.get("published"):
        matrix["published"] = compare_published(matrix)
    return matrix


def labels(cells: Mapping[str, Any]) -> dict[str, str]:
    """Return source name -> name for people."""
    named = {
        source["name"]: str(source.get("label") or source["name"]) for source in cells["sources"]
    }
    return {DENSE: "dense", **named}


def _rows(
    cells: Mapping[str, Any], values: Values, noises: Mapping[tuple[str, str], Noise]
) -> list[dict[str, Any]]:
    order = list(dict.fromkeys([DENSE, *(source["name"] for source in cells["sources"])]))
    controls = {
        source["name"]: matching_control(source, cells["sources"]) for source in cells["sources"]
    }
    rows = []
    for target in cells["targets"]:
        for metric in metric_names(cells, target):
            noise = noises[target["name"], metric]
            for source in order:
                for rate in values.rates_of(source, target["name"]):
                    key = Key(source, target["name"], rate, metric)
                    if values.of(key):
                        rows.append(_row(key, values, noise, controls.get(source)))
    return rows


def _row(key: Key, values: Values, noise: Noise, control: str | None) -> dict[str, Any]:
    seeds = values.of(key)
    numbers = list(seeds.values())
    mean = fmean(numbers)
    low, high = interval(mean, noise.std / math.sqrt(len(numbers)), noise.df)
    sparsity = values.sparsity[key.source, key.target, key.prune_rate]
    row: dict[str, Any] = {
        "source": key.source,
        "target": key.target,
        "prune_rate": key.prune_rate,
        "metric": key.metric,
        "n": len(numbers),
        "mean": mean,
        "std": none_if_nan(stdev(numbers) if len(numbers) > 1 else math.nan),
        "low": low,
        "high": high,
        "values": {str(seed): seeds[seed] for seed in sorted(seeds)},
        "sparsity_mean": fmean(sparsity) if sparsity else None,
        "vs_dense": None,
        "vs_random": None,
    }
    if key.source == DENSE:
        return row
    against = difference(seeds, values.dense_of(key), noise)
    row["vs_dense"] = None if against is None else as_row(against, noise)
    if control is not None and _as_sparse(values, key, control):
        other = values.of(Key(control, key.target, key.prune_rate, key.metric))
        against = difference(seeds, other, noise)
        row["vs_random"] = (
            None if against is None else {**as_row(against, noise), "control": control}
        )
    return row


def _as_sparse(values: Values, key: Key, control: str) -> bool:
    """Say whether a control prunes about as much of the network; unknown sparsities count as equal.

    A random mask of the whole network stands in for sources without a control of their own, but it is none for a ticket
    of the backbone, which leaves most of the network dense at the same prune rate.
    """
    mine = values.sparsity.get((key.source, key.target, key.prune_rate))
    other = values.sparsity.get((control, key.target, key.prune_rate))
    return not mine or not other or abs(fmean(mine) - fmean(other)) <= APART


def _noise_rows(noises: Mapping[tuple[str, str], Noise]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for (target, metric), noise in noises.items():
        entry = {"std": none_if_nan(noise.std), "df": noise.df, "cells": noise.cells}
        rows.setdefault(target, {})[metric] = entry
    return rows


def _verdicts(
    cells: Mapping[str, Any], values: Values, noises: Mapping[tuple[str, str], Noise]
) -> list[dict[str, Any]]:
    competing = [source["name"] for source in cells["sources"] if source["name"] != DENSE]
    named = labels(cells)
    found = []
    for target in cells["targets"]:
        rates = {
            rate for name in competing for rate in values.rates_of(name, target["name"]) if rate
        }
        for rate in sorted(rates):
            pruned = [n for n in competing if _is_pruned(values, Key(n, target["name"], rate, ""))]
            classes = alike_in_sparsity(values, pruned, target["name"], rate)
            for metric in metric_names(cells, target):
                noise = noises[target["name"], metric]
                for members, sparsity in classes:
                    contest = Contest(target["name"], rate, metric, named, sparsity)
                    if any(values.of(contest.key(name)) for name in members):
                        found.append(verdict(contest, values, noise, members))
    add_holm(found)
    return found


def _is_pruned(values: Values, key: Key) -> bool:
    """Tell controls without a zero, such as the dense model trained again, from tickets; unknown sparsities count as pruned."""
    known = values.sparsity.get((key.source, key.target, key.prune_rate))
    return not known or max(known) > 0.0
