"""What a run would prune, without data and without training."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.data.registry import data_folder, expected_files, shapes_config
from lth_det.classify.groups import classifier_table, group_of
from lth_det.classify.key_names import own_key_names
from lth_det.classify.models import build_model
from lth_det.classify.plan import imp_plan
from lth_det.classify.rst import rst_options, rst_plan, transform_solver
from lth_det.classify.transfer_run import EVERY_CONVOLUTION, source_config
from lth_det.errors import ConfigError
from lth_det.experiments.decide import check_plan, decide_mask, needs_model
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.rst_plan import rst_mask
from lth_det.reports.terminal import aligned
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket
from lth_det.tickets.summary import sparsity_summary

# Classes of the data sets as published; a configuration may name others (data.options.classes), ImageNet folders too.
_CLASSES = {
    "image_folder": 1000,
    "cifar10": 10,
    "cifar100": 100,
    "fashion_mnist": 10,
    "small_norb": 5,
}

_UNKNOWN = (
    10**9
)  # steps of a schedule, or images: not known without the data, and more than any rewind point


@own_key_names()
def dry_run(config: ClassifyConfig) -> dict[str, Any]:
    """Return what the run would prune in each round, and where its data is expected; JSON-ready.

    The weights are the random initialisation of ``seed``: the counts are exact, the split of a global budget over the
    groups is that of the initialisation and will differ after training. What needs losses is not computed: criteria with
    gradients are shown with magnitudes, the scope ``sensitivity`` with the global one. With ``method: rst`` the rounds are
    the cycles, and the masks those that the run will draw. Of a transfer the rounds are those of its source, or the one of
    its ticket, on the target's network.

    Returns:
        ``method``, ``model``, ``classes``, ``total_parameters``, ``prunable_parameters``, ``rounds`` (number, prune rate,
        pruned parameters, sparsity, groups), ``data`` (name, expected, found), ``transform`` (settings of a transformation,
        or None), ``output``, ``transfer``, ``starts`` (of a transfer, with its controls).

    Raises:
        ConfigError: nothing would be pruned, a name is unknown, or the source of a transfer cannot be used.
        LthDetError: ``transfer.ticket`` is no ticket, or one of another network.
    """
    classes = _class_count(config)
    asked, config = config, _with_rounds_of_source(config)
    model = build_model(config.model, classes, seed=config.seed)
    table = classifier_table(model, config)
    plan = _without_losses(imp_plan(config, images=_UNKNOWN, total=_UNKNOWN))
    check_plan(table, plan)
    rounds = []
    for number, mask in _masks(config, model, table, plan):
        summary = sparsity_summary(table, mask).to_dict()
        keys = ("prune_rate", "pruned_parameters", "sparsity", "groups")
        rounds.append({"round": number, **{key: summary[key] for key in keys}})
    rounds = _chosen(rounds, asked)
    folder = data_folder(config.data)
    return {
        "method": config.method,
        "model": config.model.name,
        "classes": classes,
        "total_parameters": table.total_parameters,
        "prunable_parameters": table.prunable_parameters,
        "rounds": rounds,
        "data": {
            "name": config.data.name,
            "expected": expected_files(config.data),
            "found": folder is None or folder.is_dir(),
        },
        "rewind": _rewind(config, plan),
        "transform": _transform(config) if config.method == "rst" else None,
        "output": str(Path(config.output)),
        "transfer": config.transfer.source or config.transfer.ticket or None,
        "starts": [*config.transfer.starts, *config.transfer.controls]
        if config.transfer.enabled
        else [],
    }


def dry_run_text(report: Mapping[str, Any]) -> str:
    """Return the printed form."""
    data = report["data"]
    lines = [
        f"model    {report['model']}, {report['classes']} classes: {report['total_parameters']:,} parameters, "
        f"{report['prunable_parameters']:,} prunable",
        f"data     {data['name']}: {data['expected']} ({'found' if data['found'] else 'not there'})",
        _transform_text(report)
        if report["transform"] is not None
        else f"rewind   {report['rewind']}",
        f"output   {report['output']}",
    ]
    if report["transfer"]:
        lines[2] = f"starts   {', '.join(report['starts'])}"
        lines.append(f"transfer from {report['transfer']}")
    rows = [
        ["round" if report["transform"] is None else "cycle", "prune rate", "pruned", "sparsity"]
    ]
    rows += [
        [
            str(row["round"]),
            f"{100 * row['prune_rate']:.2f} %",
            f"{row['pruned_parameters']:,}",
            f"{100 * row['sparsity']:.2f} %",
        ]
        for row in report["rounds"]
    ]
    return "\n".join(lines) + "\n\n" + aligned(rows) + "\n"


def _masks(
    config: ClassifyConfig, model: nn.Module, table: ParameterTable, plan: ImpPlan
) -> Iterator[tuple[int, Mask]]:
    mask: Mask | None = None
    if config.transfer.ticket:
        ticket = load_ticket(Path(config.transfer.ticket).expanduser())
        names = [name for name in ticket.mask if group_of(name) != "head"]
        yield ticket.provenance.round, ticket.mask.restricted_to(names)
        return
    if config.method == "rst":
        rst = rst_plan(config, total=_UNKNOWN)
        for cycle in range(1, rst.cycles + 1):
            mask = rst_mask(table, plan, rst, cycle=cycle, previous=mask)
            yield cycle, mask
        return
    for number in range(1, len(plan.prune_rates) + 1):
        mask = decide_mask(model.state_dict(), table, plan, number, mask)
        yield number, mask


def _with_rounds_of_source(config: ClassifyConfig) -> ClassifyConfig:
    """Return a transfer's configuration with the pruning that its run has: its own sections play no part."""
    if config.transfer.ticket:
        return dataclasses.replace(config, pruning=EVERY_CONVOLUTION)
    if not config.transfer.source:
        return config
    source = source_config(config)
    return dataclasses.replace(config, pruning=source.pruning, rewind=source.rewind)


def _without_losses(plan: ImpPlan) -> ImpPlan:
    if needs_model(plan.criterion):
        plan = dataclasses.replace(plan, criterion="magnitude")
    return dataclasses.replace(plan, scope="global") if plan.scope == "sensitivity" else plan


def _chosen(rounds: list[dict[str, Any]], config: ClassifyConfig) -> list[dict[str, Any]]:
    wanted = config.transfer.rounds if config.transfer.source else ()
    missing = [number for number in wanted if number > len(rounds)]
    if missing:
        raise ConfigError(
            f"transfer.rounds has {missing[0]}, but the source {config.transfer.source} has the rounds 0 to {len(rounds)}."
        )
    return [row for row in rounds if not wanted or row["round"] in wanted]


def _rewind(config: ClassifyConfig, plan: ImpPlan) -> str | None:
    if config.transfer.ticket:
        return None
    return f"epoch {config.rewind.epoch:g}" if config.rewind.epoch else plan.rewind


def _transform(config: ClassifyConfig) -> dict[str, Any]:
    total = config.solver.max_iter or _UNKNOWN
    rst, solver = rst_plan(config, total=total), transform_solver(config)
    settings = {**rst.to_dict(), "learning_rate": solver.lr, "batch_size": solver.batch_size}
    if rst_options(config).length(total) > _UNKNOWN // (2 * rst.cycles):
        settings |= {"ramp": None, "hold": None}  # shares of a length that only the data tells
    return settings


def _transform_text(report: Mapping[str, Any]) -> str:
    found = report["transform"]
    length = "as long as an ordinary training"
    if found["ramp"] is not None:
        length = f"ramp {found['ramp']:,} and hold {found['hold']:,} iterations a cycle"
    return (
        f"rst      {found['preset']}: {length}, {found['penalty']} penalty up to {found['ceiling']:g}, ratios "
        f"{found['ratios']}, learning rate {found['learning_rate']:g}, batch {found['batch_size']}"
    )


def _class_count(config: ClassifyConfig) -> int:
    options = dict(config.data.options)
    classes = options.pop("classes", None)
    if classes:
        return len(classes)
    if config.data.name == "shapes_cls":
        return int(shapes_config(options).num_categories)
    return _CLASSES[config.data.name]
