"""What a run would prune, without data and without training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lth_det.classify.config import ClassifyConfig
from lth_det.classify.data.registry import data_folder, expected_files, shapes_config
from lth_det.classify.groups import classifier_table
from lth_det.classify.key_names import own_key_names
from lth_det.classify.models import build_model
from lth_det.classify.plan import imp_plan
from lth_det.classify.rst import rst_options, rst_plan, transform_solver
from lth_det.experiments.decide import check_plan, decide_mask
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.rst_plan import rst_mask
from lth_det.reports.terminal import aligned
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
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
    groups is that of the initialisation and will differ after training. With ``method: rst`` the rounds are the cycles, and
    the masks those that the run will draw.

    Returns:
        ``method``, ``model``, ``classes``, ``total_parameters``, ``prunable_parameters``, ``rounds`` (number, prune rate,
        pruned parameters, sparsity, groups), ``data`` (name, expected, found), ``transform`` (settings of a transformation,
        or None), ``output``, ``transfer``.

    Raises:
        ConfigError: nothing would be pruned, or a name is unknown.
    """
    classes = _class_count(config)
    model = build_model(config.model, classes, seed=config.seed)
    table = classifier_table(model, config)
    plan = imp_plan(config, images=_UNKNOWN, total=_UNKNOWN)
    check_plan(table, plan)
    rounds = []
    for number, mask in enumerate(_masks(config, model, table, plan), 1):
        summary = sparsity_summary(table, mask).to_dict()
        keys = ("prune_rate", "pruned_parameters", "sparsity", "groups")
        rounds.append({"round": number, **{key: summary[key] for key in keys}})
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
        "rewind": f"epoch {config.rewind.epoch:g}" if config.rewind.epoch else plan.rewind,
        "transform": _transform(config) if config.method == "rst" else None,
        "output": str(Path(config.output)),
        "transfer": config.transfer.source or config.transfer.ticket or None,
    }


def dry_run_text(report: Mapping[str, Any]) -> str:
    """Return the printed form."""
    data = report["data"]
    lines = [
        f"model    {report['model']}, {report['classes']} classes: {report['total_parameters']:,} parameters, "
        f"{report['prunable_parameters']:,} prunable",
        f"data     {data['name']}: {data['expected']} ({'found' if data['found'] else 'not there'})",
        f"rewind   {report['rewind']}" if report["transform"] is None else _transform_text(report),
        f"output   {report['output']}",
    ]
    if report["transfer"]:
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
) -> Iterator[Mask]:
    mask: Mask | None = None
    if config.method == "rst":
        rst = rst_plan(config, total=_UNKNOWN)
        for cycle in range(1, rst.cycles + 1):
            mask = rst_mask(table, plan, rst, cycle=cycle, previous=mask)
            yield mask
        return
    for number in range(1, len(plan.prune_rates) + 1):
        mask = decide_mask(model.state_dict(), table, plan, number, mask)
        yield mask


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
