"""Keys that plans of all kinds share: head, execution, estimates; and the constants of the commands."""

import dataclasses
import json
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.keys import Keys

EXECUTORS = ("local", "slurm", "debug")
TRAIN = "tools/train_net.py"
CLASSIFY = "tools/train_classifier.py"
TRANSFER = "tools/transfer_ticket.py"


@dataclasses.dataclass(frozen=True)
class Head:
    """What every plan says.

    Attributes:
        name: of the sweep.
        kind: ``transfer``, ``modules`` or ``runs``.
        output: folder of the sweep.
        estimate: constants for estimates; see ``lth_det.sweeps.estimate``.
        execution: how runs are started; see ``lth_det.sweeps.executors``.
    """

    name: str
    kind: str
    output: str
    estimate: dict[str, Any]
    execution: dict[str, Any]


def read_head(keys: Keys, output: str | None) -> Head:
    """Take the shared keys of a plan.

    Args:
        keys: the whole plan.
        output: in place of the plan's ``output``; ``None`` keeps it.

    Raises:
        ConfigError: a key is missing or wrong.
    """
    name = keys.take("name", str)
    given = keys.take("output", str, f"output/{name}")
    return Head(
        name=name,
        kind=keys.choice("kind", ("transfer", "modules", "runs")),
        output=(output or given).rstrip("/"),
        estimate=_estimate(keys.inner("estimate", {})),
        execution=_execution(keys.inner("execution", {})),
    )


def _estimate(keys: Keys) -> dict[str, Any]:
    found = _constants(keys)
    by_config = keys.inner("by_config", {})
    found["by_config"] = {
        path: _constants(by_config.inner(path), end=True) for path in by_config.values
    }
    keys.end()
    return found


def _constants(keys: Keys, *, end: bool = False) -> dict[str, Any]:
    names = ("seconds_per_iteration", "evaluation_seconds", "disk_mb", "command_seconds")
    found = {name: keys.take(name, float, None) for name in names}
    for name, value in found.items():
        if value is not None and value < 0:
            raise ConfigError(f"{keys.where}: {name} is {value}, but cannot be negative.")
    found["iterations"] = keys.take("iterations", int, None)
    if end:
        keys.end()
    return {name: value for name, value in found.items() if value is not None}


def _execution(keys: Keys) -> dict[str, Any]:
    slurm = keys.inner("slurm", {})
    found: dict[str, Any] = {
        "executor": keys.choice("executor", EXECUTORS, "local"),
        "parallel": keys.take("parallel", int, None),
        "threads": keys.take("threads", int, 1),
        "warm": keys.take("warm", bool, True),
        "gpus": keys.take("gpus", list, []),
        "env": {str(key): str(value) for key, value in keys.take("env", dict, {}).items()},
        "slurm": {
            "partition": slurm.take("partition", str, None),
            "minutes": slurm.take("minutes", int, 24 * 60),
            "gpus": slurm.take("gpus", int, 1),
            "cpus": slurm.take("cpus", int, None),
            "memory_gb": slurm.take("memory_gb", int, None),
            "more": slurm.take("more", dict, {}),
        },
    }
    slurm.end()
    keys.end()
    for name in ("parallel", "threads"):
        if found[name] is not None and found[name] < 1:
            raise ConfigError(f"{keys.where}: {name} is {found[name]}, but must be at least 1.")
    return found


def check_rates(where: str, rates: list[float]) -> None:
    """Check nominal prune rates.

    Raises:
        ConfigError: one is outside (0, 1), or they do not ascend.
    """
    if not all(0 < rate < 1 for rate in rates) or rates != sorted(rates):
        raise ConfigError(
            f"{where} are {rates}, but prune rates ascend and lie between 0 and 1 (0.8 prunes 80 %)."
        )


def rate_text(rate: float) -> str:
    """Return a prune rate as part of a name: 0.8 -> ``"80"``, 0.925 -> ``"92.5"``.

    >>> rate_text(0.8), rate_text(0.925)
    ('80', '92.5')
    """
    return f"{100 * rate:.6g}"


def values_text(values: list[Any]) -> str:
    """Return a list as the tuple that Detectron2's command line reads.

    >>> values_text([0.8]), values_text(["a", "b"])
    ('(0.8,)', '("a", "b")')
    """
    inner = ", ".join(json.dumps(value) for value in values)
    return f"({inner},)" if len(values) == 1 else f"({inner})"
