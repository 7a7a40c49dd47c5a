"""Made-up cells of sweeps, as lth_det.sweeps writes them: for tests of the summary and of the pages."""

import math
import random

GROUPS = {
    "backbone": (300_000, 290_000),
    "fpn": (60_000, 59_000),
    "rpn": (40_000, 36_000),
    "box_head": (220_000, 219_000),
    "predictors": (9_000, 0),
}
LIFT = {"dense": 0.0, "own": 0.8, "cls": -1.6, "kp": -2.4, "random": -6.0, "rst": -3.0}
SOURCES = [
    {"name": "own", "label": "own ticket", "kind": "task", "control": False, "control_of": None},
    {
        "name": "cls",
        "label": "classification ticket",
        "kind": "transfer",
        "control": False,
        "control_of": None,
    },
    {
        "name": "kp",
        "label": "cross-task ticket (keypoints)",
        "kind": "transfer",
        "control": False,
        "control_of": None,
    },
    {"name": "rst", "label": "RST", "kind": "rst", "control": False, "control_of": None},
    {
        "name": "own_random",
        "label": "random, own ticket's layer ratios",
        "kind": "random_layer_ratios",
        "control": True,
        "control_of": "own",
    },
]
TARGETS = [
    {"name": "det", "label": "shapes, boxes", "metric": "bbox/AP"},
    {"name": "kp", "label": "shapes, keypoints", "metric": "keypoints/AP"},
]


def groups_at(rate, pruned=None):
    """Counts by module group at prune rate ``rate`` of the groups in ``pruned`` (default: all)."""
    counts = {}
    for name, (total, prunable) in GROUPS.items():
        zeros = round(rate * prunable) if pruned is None or name in pruned else 0
        counts[name] = {
            "total_parameters": total,
            "prunable_parameters": prunable,
            "pruned_parameters": zeros,
            "sparsity": zeros / total,
            "prune_rate": zeros / prunable if prunable else 0.0,
        }
    return counts


def sparsity_of(groups):
    zeros = sum(counts["pruned_parameters"] for counts in groups.values())
    return zeros / sum(counts["total_parameters"] for counts in groups.values())


def make_cell(source, target, rate, seed, metrics, pruned=None):
    groups = groups_at(rate, pruned)
    return {
        "source": source,
        "target": target,
        "prune_rate": rate,
        "seed": seed,
        "metrics": metrics,
        "sparsity": sparsity_of(groups),
        "prune_rate_achieved": rate,
        "groups": groups,
        "ticket": None if source == "dense" else f"runs/{source}/ticket.safetensors",
        "ticket_sha256": None if source == "dense" else "ab" * 32,
        "run": f"runs/{source}_{target}_{seed}",
        "stage": "round_01",
    }


def make_cells(
    *, sources=SOURCES, targets=TARGETS, rates=(0.8, 0.9), seeds=(1, 2), std=0.6, kind="transfer"
):
    """Cells of a whole sweep; values are drawn from a fixed generator around a plausible curve."""
    rng = random.Random(7)
    cells = []
    for target in targets:
        base = 54.0 if target["metric"].startswith("bbox") else 61.0
        for seed in seeds:
            shift = rng.gauss(0, 0.2)
            cells.append(_cell("dense", target, 0.0, seed, base + shift + rng.gauss(0, std)))
            for place, source in enumerate(sources):
                for rate in rates:
                    lift = _lift(source, place)
                    pruned = source.get("groups_pruned")
                    if pruned is not None:
                        lift = -0.9 * len(pruned)
                    drop = lift * (0.4 + rate) - 9 * max(0.0, rate - 0.85)
                    if source["name"] in ("cls", "kp"):
                        pruned = ["backbone"]
                    value = base + drop + shift + rng.gauss(0, std)
                    cells.append(_cell(source["name"], target, rate, seed, value, pruned))
    return {
        "format_version": 1,
        "name": "shapes_compare",
        "kind": kind,
        "plan_sha256": "cd" * 32,
        "metric": "bbox/AP",
        "metrics": ["bbox/AP", "bbox/AP50", "keypoints/AP"],
        "targets": list(targets),
        "sources": list(sources),
        "prune_rates": list(rates),
        "seeds": list(seeds),
        "cells": cells,
        "missing": [],
        "complete": True,
        "commands": {"own_det_1": ["tools/train_net.py", "--config-file", "F.yaml", "SEED", "1"]},
        "versions": {"lth_det": "0.1.0", "torch": "2.14.1"},
    }


def make_modules(*, seeds=(1, 2, 3)):
    """Cells of a module-wise sweep over four subsets."""
    subsets = (
        ["rpn"],
        ["fpn"],
        ["backbone"],
        ["backbone", "fpn"],
        ["backbone", "fpn", "rpn"],
        ["box_head"],
    )
    subsets = (*subsets, ["backbone", "fpn", "rpn", "box_head"])
    sources = [
        {
            "name": "+".join(groups),
            "label": "+".join(groups),
            "kind": "modules",
            "control": False,
            "control_of": None,
            "groups_pruned": groups,
        }
        for groups in subsets
    ]
    return make_cells(
        sources=sources, targets=TARGETS[:1], rates=(0.8,), seeds=seeds, std=0.25, kind="modules"
    )


def without(cells, **match):
    """Take the cells that match out, and list them as missing."""
    gone = [c for c in cells["cells"] if all(c[k] == v for k, v in match.items())]
    cells["cells"] = [c for c in cells["cells"] if c not in gone]
    cells["missing"] += [
        {key: c[key] for key in ("source", "target", "prune_rate", "seed")}
        | {"reason": "the run is not finished"}
        for c in gone
    ]
    cells["complete"] = False
    return cells


def _lift(source, place):
    name = source["name"]
    known = next((LIFT[key] for key in ("random",) if key in name), LIFT.get(name))
    return known if known is not None else -0.35 * place


def _cell(source, target, rate, seed, value, pruned=None):
    half = target["metric"].replace("AP", "AP50")
    metrics = {target["metric"]: value, half: 1.25 * value, "bbox/APs": math.nan}
    return make_cell(source, target["name"], rate, seed, metrics, pruned)
