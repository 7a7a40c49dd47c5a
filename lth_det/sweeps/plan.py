"""From a plan file to a sweep."""

import hashlib
import itertools
import json
import shlex
from pathlib import Path
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import config_sha256, read_yaml
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.model import Cell, Run, Sweep, Work, check_runs
from lth_det.sweeps.modules_plan import expand_modules, modules_facts, read_modules
from lth_det.sweeps.plan_keys import Head, read_head
from lth_det.sweeps.published import read_published, read_run_values
from lth_det.sweeps.transfer_plan import read_transfer
from lth_det.sweeps.transfer_runs import expand_transfer, source_facts


def load_plan(path: str, output: str | None = None) -> Sweep:
    """Return the sweep that a YAML plan describes; nothing is written.

    Args:
        path: the plan.
        output: folder of the sweep in place of the plan's.

    Raises:
        ConfigError: the plan or a config that it names is missing or wrong; names file and key.
    """
    return expand_plan(read_yaml(path), where=path, output=output)


def expand_plan(plan: dict[str, Any], *, where: str, output: str | None = None) -> Sweep:
    """Return the sweep of a plan that is already read; equal plans give equal sweeps.

    Args:
        plan: the content of the file.
        where: its name, for messages.
        output: as of :func:`load_plan`.

    Raises:
        ConfigError: see :func:`load_plan`.
    """
    keys = Keys(where, plan)
    head = read_head(keys, output)
    facts: dict[str, Any] = {}
    if head.kind == "transfer":
        transfer = read_transfer(keys)
        runs, cells = expand_transfer(transfer, head.output)
        facts = _facts(transfer, source_facts(transfer))
    elif head.kind == "modules":
        modules = read_modules(keys)
        runs, cells = expand_modules(modules, head.output)
        facts = _facts(modules, modules_facts(modules))
    else:
        runs, cells = _command_runs(keys, head), []
        facts["published"] = read_run_values(keys, [run.name for run in runs])
    if cells:
        facts["published"] = read_published(keys, facts, cells)
    keys.end()
    check_runs(runs)
    return _sweep(head, runs, cells, facts, plan)


def _sweep(
    head: Head, runs: list[Run], cells: list[Cell], facts: dict[str, Any], plan: dict[str, Any]
) -> Sweep:
    text = json.dumps(plan, sort_keys=True, default=str)
    return Sweep(
        name=head.name,
        kind=head.kind,
        output=head.output,
        runs=tuple(runs),
        cells=tuple(cells),
        facts=facts,
        estimate=head.estimate,
        execution=head.execution,
        plan_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _facts(plan: Any, sources: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metric": plan.targets[0].metric,
        "metrics": list(plan.metrics),
        "targets": [
            {"name": target.name, "label": target.label, "metric": target.metric}
            for target in plan.targets
        ],
        "sources": sources,
        "prune_rates": list(plan.prune_rates),
        "seeds": list(plan.seeds),
    }


def _command_runs(keys: Keys, head: Head) -> list[Run]:
    """Return the runs of a plan of kind ``runs``: commands as they stand, ``{folder}`` and ``{output}`` filled in."""
    inner = keys.inner("runs")
    runs = []
    for name in inner.values:
        one = inner.inner(name)
        folder = f"{head.output}/runs/{name}"
        commands = tuple(
            _command(item, one.where, folder, head.output) for item in one.take("commands", list)
        )
        if not commands:
            raise ConfigError(f"{one.where}: commands is empty.")
        configs = sorted({word for line in commands for word in _configs(line)})
        iterations = one.take("iterations", int, None)
        run = Run(
            name=name,
            folder=folder,
            commands=commands,
            needs=tuple(one.strings("needs", [])),
            done_file=one.take("done_file", str, "results.json"),
            work=(Work(one.take("like", str, name), iterations),),
            identity={path: config_sha256(path) for path in configs},
        )
        one.end()
        runs.append(run)
    return runs


def _command(item: Any, where: str, folder: str, output: str) -> tuple[str, ...]:
    words = shlex.split(item) if isinstance(item, str) else item
    if not isinstance(words, list) or not words:
        raise ConfigError(f"{where}: a command is a line or a list of words, not {item!r}.")
    return tuple(
        str(word).replace("{folder}", folder).replace("{output}", output) for word in words
    )


def _configs(line: tuple[str, ...]) -> list[str]:
    """Return the config files that a command names after ``--config-file``."""
    pairs = itertools.pairwise(line)
    return [
        path for flag, path in pairs if flag == "--config-file" and Path(path).suffix == ".yaml"
    ]
