"""Plans of kind ``modules``: which module groups can be pruned, in the shape of Table 3 of Girish et al. (CVPR 2021)."""

import dataclasses
import itertools
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.detector_runs import Target, Transfer, imp_run, ticket_run
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.model import Cell, Run
from lth_det.sweeps.plan_keys import check_rates, rate_text, values_text
from lth_det.sweeps.transfer_plan import DENSE, read_targets

SUBSETS = ("each", "leave_one_out", "all_subsets")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModulesPlan:
    """A plan of kind ``modules``.

    Attributes:
        targets: detectors.
        subsets: module groups that are pruned together, everything else dense; one row of the table each.
        labels: module group -> name for people.
        prune_rates: of the groups of a subset together (one threshold); one-shot.
        seeds: one run of each subset per seed.
        metrics: Detectron2's names.
    """

    targets: tuple[Target, ...]
    subsets: tuple[tuple[str, ...], ...]
    labels: dict[str, str]
    prune_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]


def read_modules(keys: Keys) -> ModulesPlan:
    """Take the keys of a plan of kind ``modules``.

    Raises:
        ConfigError: a key is missing or wrong.
    """
    metrics = keys.strings("metrics", ["bbox/AP"])
    rates = keys.numbers("prune_rates", float)
    check_rates(f"{keys.where}: prune_rates", rates)
    groups = keys.strings("groups")
    if not groups or len(set(groups)) != len(groups):
        raise ConfigError(f"{keys.where}: groups is {groups}, but must name different groups.")
    return ModulesPlan(
        targets=read_targets(keys, metrics),
        subsets=_subsets(keys, groups),
        labels={str(key): str(value) for key, value in keys.take("labels", dict, {}).items()},
        prune_rates=tuple(rates),
        seeds=tuple(keys.numbers("seeds", int)),
        metrics=tuple(metrics),
    )


def _subsets(keys: Keys, groups: list[str]) -> tuple[tuple[str, ...], ...]:
    value = keys.values.get("subsets")
    keys.taken.add("subsets")
    if isinstance(value, str) and value in SUBSETS:
        return subsets(groups, value)
    good = isinstance(value, list) and all(isinstance(item, list) and item for item in value)
    if not isinstance(value, list) or not good or not value:
        raise ConfigError(
            f"{keys.where}: subsets is {value!r}; choose one of {', '.join(SUBSETS)}, or list groups: [[backbone], [fpn, rpn]]."
        )
    for item in value:
        unknown = [group for group in item if group not in groups]
        if unknown or len(set(item)) != len(item):
            raise ConfigError(f"{keys.where}: subsets: {item} names {unknown or 'a group twice'}.")
    return tuple(tuple(group for group in groups if group in item) for item in value)


def subsets(groups: list[str], kind: str) -> tuple[tuple[str, ...], ...]:
    """Return subsets of module groups: ``each`` alone, all but one, or every non-empty subset (as in Table 3).

    >>> subsets(["a", "b", "c"], "leave_one_out")
    (('b', 'c'), ('a', 'c'), ('a', 'b'))
    >>> subsets(["a", "b"], "all_subsets")
    (('a',), ('b',), ('a', 'b'))
    """
    if kind == "each":
        return tuple((group,) for group in groups)
    if kind == "leave_one_out":
        return tuple(tuple(other for other in groups if other != group) for group in groups)
    sizes = range(1, len(groups) + 1)
    return tuple(itertools.chain.from_iterable(itertools.combinations(groups, n) for n in sizes))


def subset_name(subset: tuple[str, ...]) -> str:
    """Return the name of a subset, such as ``"backbone+fpn"``."""
    return "+".join(subset)


def expand_modules(plan: ModulesPlan, output: str) -> tuple[list[Run], list[Cell]]:
    """Return the runs of a plan and the cells of its table.

    One dense round per target and seed serves all subsets: the run that trains it also trains the first subset; each
    other subset is a ticket by magnitude of the same trained weights, rewound to the same snapshot.

    Args:
        plan: the plan.
        output: folder of the sweep.

    Raises:
        ConfigError: a config file is missing.
    """
    runs: list[Run] = []
    cells: list[Cell] = []
    for target in plan.targets:
        for seed in plan.seeds:
            dense = _dense(plan, target, seed, output)
            runs.append(dense)
            cells.append(_cell(DENSE, target, 0.0, seed, (dense.name, 0)))
            for rate in plan.prune_rates:
                for subset in plan.subsets:
                    if rate == plan.prune_rates[0] and subset == plan.subsets[0]:
                        place: tuple[str, int | None] = dense.name, 1
                    else:
                        run = _subset_run(target, subset, rate, seed, dense)
                        runs.append(run)
                        place = run.name, None
                    cells.append(_cell(subset_name(subset), target, rate, seed, place))
    return runs, cells


def _dense(plan: ModulesPlan, target: Target, seed: int, output: str) -> Run:
    name = f"dense-{target.name}-seed{seed}"
    only = ("LTH.PRUNE_ONLY", values_text(list(plan.subsets[0])))
    place = name, f"{output}/runs/{name}"
    return imp_run(target, place, seed, rates=plan.prune_rates[:1], opts=only)


def _subset_run(target: Target, subset: tuple[str, ...], rate: float, seed: int, dense: Run) -> Run:
    name = f"{subset_name(subset)}-{target.name}-{rate_text(rate)}-seed{seed}"
    folder = f"{dense.folder[: -len(dense.name)]}{name}"
    transfer = Transfer(
        kind="magnitude",
        source=f"{dense.folder}/round_00/model_final.pth",
        weights=f"{dense.folder}/round_00/rewind.safetensors",
        prune_rate=rate,
        arguments=("--groups", ",".join(subset)),
        needs=(dense.name,),
    )
    only = ("LTH.PRUNE_ONLY", values_text(list(subset)))
    return ticket_run(target, (name, folder), seed, transfer=transfer, opts=only)


def _cell(
    source: str, target: Target, rate: float, seed: int, place: tuple[str, int | None]
) -> Cell:
    return Cell(
        source=source, target=target.name, prune_rate=rate, seed=seed, run=place[0], round=place[1]
    )


def modules_facts(plan: ModulesPlan) -> list[dict[str, Any]]:
    """Return the sources for ``cells.json``: one per subset."""
    return [
        {
            "name": subset_name(subset),
            "label": " + ".join(plan.labels.get(group, group) for group in subset),
            "kind": "modules",
            "control": False,
            "control_of": None,
            "groups_pruned": list(subset),
        }
        for subset in plan.subsets
    ]
