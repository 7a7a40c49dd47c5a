"""Cells and sweeps for tests of the summary."""


def cell(source, rate, seed, value, *, target="det", sparsity=None):
    return {
        "source": source,
        "target": target,
        "prune_rate": rate,
        "seed": seed,
        "metrics": {"bbox/AP": value},
        "sparsity": rate if sparsity is None else sparsity,
    }


def source(name, *, control_of=None, kind="task", **more):
    control = control_of is not None
    return {
        "name": name,
        "label": f"{name} ticket",
        "kind": kind,
        "control": control,
        "control_of": control_of,
    } | more


def sweep(cells, *, sources=("own", "cls", "random")):
    listed = [
        source(s, kind="random" if s == "random" else "task") if isinstance(s, str) else s
        for s in sources
    ]
    return {
        "format_version": 1,
        "name": "s",
        "kind": "transfer",
        "metric": "bbox/AP",
        "metrics": ["bbox/AP"],
        "targets": [{"name": "det", "label": "boxes", "metric": "bbox/AP"}],
        "sources": listed,
        "prune_rates": [0.8],
        "seeds": [1, 2],
        "cells": cells,
        "missing": [],
        "complete": True,
    }


def two_seeds():
    """Four cells of two seeds: s^2 = (0 + 0.5 + 2 + 0.5) / 4 = 0.75 with 4 degrees of freedom."""
    values = {
        "dense": (50.0, 50.0),
        "own": (52.0, 53.0),
        "cls": (49.0, 51.0),
        "random": (40.0, 41.0),
    }
    return sweep(
        [
            cell(name, 0.0 if name == "dense" else 0.8, seed, pair[seed - 1])
            for name, pair in values.items()
            for seed in (1, 2)
        ]
    )


def row_of(matrix, name, rate=0.8, metric="bbox/AP"):
    (found,) = [
        r
        for r in matrix["summary"]
        if (r["source"], r["prune_rate"], r["metric"]) == (name, rate, metric)
    ]
    return found
