"""A study: several plans under one roof, each a sweep of its own in a folder of the study."""

import dataclasses
from pathlib import Path

from lth_det.errors import ConfigError
from lth_det.sweeps.config_file import read_yaml
from lth_det.sweeps.estimate import Costs, measure
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.listing import duration, size
from lth_det.sweeps.model import Sweep
from lth_det.sweeps.plan import load_plan
from lth_det.sweeps.simulate import makespan
from lth_det.sweeps.state import FINISHED, SweepState


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study's file says.

    Attributes:
        name: for titles.
        output: its folder.
        parts: name -> plan file, in the order in which they are run.
        margin: the largest loss in points that does not matter, for the answers; chosen before anything is run.
        questions: file of its questions (:mod:`lth_det.sweeps.study_questions`); empty: none.
    """

    name: str
    output: str
    parts: dict[str, str]
    margin: float
    questions: str = ""

    def folder(self, part: str) -> str:
        """Return the folder of a part."""
        return f"{self.output}/{part}"


def load_study(path: str, output: str | None = None) -> Study:
    """Return the study that a YAML file describes.

    Args:
        path: the file, with ``name``, ``parts`` (name -> plan file) and perhaps ``output``, ``margin`` and ``questions``.
        output: folder in place of the file's.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    keys = Keys(path, read_yaml(path))
    name = keys.take("name", str)
    given = keys.take("output", str, f"output/{name}")
    parts = keys.take("parts", dict)
    margin = keys.take("margin", float, 1.0)
    questions = keys.take("questions", str, "")
    keys.end()
    if margin <= 0:
        raise ConfigError(f"{path}: margin is {margin}, but a margin lies above 0.")
    for part, plan in parts.items():
        if not isinstance(plan, str) or Path(str(part)).name != str(part):
            raise ConfigError(
                f"{path}: parts must map a name, which becomes a folder, to the file of a plan; {part}: {plan!r} does not."
            )
    if not parts:
        raise ConfigError(f"{path}: parts is empty; name at least one plan.")
    named = {str(part): plan for part, plan in parts.items()}
    return Study(name, (output or given).rstrip("/"), named, margin, questions)


@dataclasses.dataclass(frozen=True)
class PartLeft:
    """What is left to do of one part.

    Attributes:
        name: of the part.
        runs: how many runs are not finished, of ``total``.
        trainings: in these runs.
        seconds: of work, one after the other; what cannot be estimated counts as 0.
        elapsed: with ``parallel`` runs side by side.
        megabytes: of disk.
        unknown: runs without an estimate.
    """

    name: str
    runs: int
    total: int
    trainings: int
    seconds: float
    elapsed: float
    megabytes: float
    unknown: int


def left_of(name: str, sweep: Sweep, parallel: int) -> PartLeft:
    """Return what is left of the sweep of a part; nothing is written.

    Args:
        name: of the part.
        sweep: its plan, expanded.
        parallel: runs side by side.

    Raises:
        RunError: the state in the part's folder is damaged.
    """
    state = SweepState.load(sweep.output)
    costs = Costs(measure(sweep, state), {}, sweep.estimate)
    left = [run for run in sweep.runs if state.state_of(run) != FINISHED]
    found = {run.name: costs.of(run) for run in left}
    seconds = {run: one.seconds or 0.0 for run, one in found.items()}
    return PartLeft(
        name=name,
        runs=len(left),
        total=len(sweep.runs),
        trainings=sum(len(run.work) for run in left),
        seconds=sum(seconds.values()),
        elapsed=makespan(sweep.runs, seconds, parallel),
        megabytes=sum(one.megabytes or 0.0 for one in found.values()),
        unknown=sum(one.seconds is None for one in found.values()),
    )


def left_text(study: Study, parts: list[PartLeft], parallel: int) -> str:
    """Return a table of what is left of each part and of the study."""
    lines = [f"{study.name}: {len(parts)} parts in {study.output}", ""]
    for part in parts:
        unknown = f" ({part.unknown} runs without an estimate)" if part.unknown else ""
        lines.append(
            f"{part.name}: {part.runs} of {part.total} runs left, {part.trainings} trainings, {duration(part.seconds)} of "
            f"work, {size(part.megabytes)} of disk{unknown}"
        )
    elapsed = duration(sum(part.elapsed for part in parts))
    lines.append(
        f"All: {sum(part.trainings for part in parts)} trainings, {duration(sum(p.seconds for p in parts))} of work, "
        f"{size(sum(part.megabytes for part in parts))} of disk; with {parallel} side by side {elapsed}."
    )
    return "\n".join([*lines, ""])


def load_parts(study: Study) -> dict[str, Sweep]:
    """Return the sweep of each part, with the study's folders.

    Raises:
        ConfigError: a plan, or a config that it names, is missing or wrong.
    """
    return {part: load_plan(plan, study.folder(part)) for part, plan in study.parts.items()}
