"""What a sweep is made of: runs, the work they do, and the cells of the matrix that they fill."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth_det.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclasses.dataclass(frozen=True)
class Work:
    """One training (and its evaluation) inside a run, for estimates.

    Attributes:
        kind: what its speed depends on: the config file.
        iterations: iterations it trains; ``None`` when the config does not say.
    """

    kind: str
    iterations: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Commands that belong together and are finished or not as a whole.

    Attributes:
        name: unique in the sweep; letters, digits, ``_ . + -``.
        folder: where it writes, relative to the working folder.
        commands: argument lists, run in this order, each exactly as a person could type it.
        needs: names of the runs that must be finished before.
        done_file: the file, relative to ``folder``, that shows that the run is finished. A ``results.json`` must also
            hold ``"complete": true``.
        work: the trainings inside, in the order of its ``timings.json``; empty when unknown.
        identity: further JSON facts that the outcome depends on (contents of config files, for example).
    """

    name: str
    folder: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    done_file: str = "results.json"
    work: tuple[Work, ...] = ()
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """SHA-256 of what the outcome depends on: the commands and the contents they name."""
        text = json.dumps([self.commands, self.done_file, dict(self.identity)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_done(self) -> bool:
        """Tell whether the done-file is there and says that the run is complete."""
        path = Path(self.folder) / self.done_file
        if path.name != "results.json":
            return path.exists()
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(value, dict) and value.get("complete") is True

    def is_told(self, code: int | None) -> bool:
        """Tell whether the done-file can be believed after a start that ended with ``code``.

        Without a code the job's own process was killed. The last command may have come to its end all the same; but where
        there are several, the done-file may be that of an earlier one.
        """
        return code == 0 or (code is None and len(self.commands) == 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of the matrix and where in a run's ``results.json`` it stands.

    Attributes:
        source: name of the source, ``"dense"`` for the dense network.
        target: name of the target.
        prune_rate: nominal prune rate of the plan; 0 for dense.
        seed: seed of the target's training.
        run: name of the run.
        round: number of the round; ``None`` takes the only entry.
        control: name of a control; ``None`` for a round.
    """

    source: str
    target: str
    prune_rate: float
    seed: int
    run: str
    round: int | None = None
    control: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A plan turned into runs.

    Attributes:
        name: for titles.
        kind: ``"transfer"``, ``"modules"`` or ``"runs"``.
        output: folder of the sweep, relative to the working folder.
        runs: in the order of the plan.
        cells: what the matrix needs; empty for kind ``"runs"``.
        facts: top-level keys of ``cells.json``: metric, metrics, targets, sources, prune_rates, seeds.
        estimate: the plan's constants for estimates.
        execution: how runs are started.
        plan_sha256: SHA-256 of the plan's content.
    """

    name: str
    kind: str
    output: str
    runs: tuple[Run, ...]
    cells: tuple[Cell, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    estimate: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    execution: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plan_sha256: str = ""


def check_runs(runs: Sequence[Run]) -> None:
    """Check that the runs can be scheduled.

    Raises:
        ConfigError: a name occurs twice or cannot be a file name, two runs share a folder, a need is no run of the
            sweep, or needs go round in a circle.
    """
    names = [run.name for run in runs]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"The run name {name!r} cannot be used; take letters, digits and the signs _ . + -."
            )
        if names.count(name) > 1:
            raise ConfigError(f"The plan has two runs named {name}; give each a name of its own.")
    folders: dict[str, str] = {}
    for run in runs:
        other = folders.setdefault(str(Path(run.folder)), run.name)
        if other != run.name:
            raise ConfigError(f"The runs {other} and {run.name} write to one folder, {run.folder}.")
        for need in run.needs:
            if need not in names:
                raise ConfigError(f"The run {run.name} needs {need}, which is no run of the plan.")
    order(runs)


def order(runs: Sequence[Run]) -> list[Run]:
    """Return the runs so that each comes after those it needs, otherwise in the given order.

    Raises:
        ConfigError: needs go round in a circle.
    """
    done: set[str] = set()
    left, found = list(runs), []
    while left:
        ready = [run for run in left if done.issuperset(run.needs)]
        if not ready:
            raise ConfigError(
                f"The runs {', '.join(run.name for run in left)} need each other in a circle."
            )
        found += ready
        done |= {run.name for run in ready}
        left = [run for run in left if run.name not in done]
    return found


def dependants(runs: Sequence[Run], names: set[str]) -> set[str]:
    """Return the names of all runs that need one of ``names``, directly or through others."""
    found: set[str] = set()
    for run in order(runs):
        if (names | found) & set(run.needs):
            found.add(run.name)
    return found - names
