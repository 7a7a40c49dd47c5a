"""A transfer run: the source task first, then one training on the target task for each cell of the table."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_det.classify.config import ClassifyConfig, PruningConfig
from lth_det.classify.config_file import load_config
from lth_det.classify.data.images import ClassificationData
from lth_det.classify.data.registry import load_data
from lth_det.classify.key_names import own_key_names
from lth_det.classify.plan import imp_plan
from lth_det.classify.progress import RunProgress
from lth_det.classify.run import (
    run_classifier,
    run_facts,
    run_settings,
    set_up,
)
from lth_det.classify.stages import ClassifierStages
from lth_det.classify.transfer import (
    OTHER_SEED,
    Cell,
    SourceRound,
    cells_of,
    source_of_ticket,
    source_rounds,
    target_ticket,
)
from lth_det.classify.transfer_table import transfer_rows, write_transfer_tables
from lth_det.errors import ConfigError, RunError
from lth_det.experiments.protocols import Stage
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.stage_runner import StageRunner
from lth_det.tickets.serialization import read_manifest
from lth_det.tickets.ticket import Ticket

logger = logging.getLogger(__name__)

_SOURCE_FOLDER = "source"

EVERY_CONVOLUTION = PruningConfig(groups={"stem": -1.0, "backbone": -1.0, "head": 0.0})
"""What the target of a transfer may carry a mask on: its convolutions, and only they: the head is new."""


@dataclasses.dataclass(frozen=True)
class TransferRun(StageRunner):
    """The trainings on the target task; ``trainer`` is replaced by the one of each kind of fine-tuning.

    Attributes:
        cells: what to train, in order.
        trainers: (fine-tuning, layers of the head) -> trainer.
    """

    cells: tuple[Cell, ...] = ()
    trainers: Mapping[tuple[str, int], ClassifierStages] = dataclasses.field(default_factory=dict)

    def stage_names(self) -> list[str]:
        """Return the folder names of all cells, in the order they run."""
        return [cell.stage for cell in self.cells]

    def __call__(self) -> dict[str, Any]:
        """Train every cell that is not finished; return the content of ``results.json``."""
        rounds: list[dict[str, Any]] = []
        self._write(rounds, [], complete=False)
        for cell in self.cells:
            runner = dataclasses.replace(
                self, trainer=self.trainers[cell.finetune, cell.head_layers]
            )
            rounds.append(runner.train_cell(cell))
            self._write(rounds, [], complete=False)
        return self._write(rounds, [], complete=True)

    def train_cell(self, cell: Cell) -> dict[str, Any]:
        """Train one cell with ``trainer``, or take its record where it is finished."""
        self._check_source(cell)
        finished = self._record(cell.stage)
        if finished is not None:
            return self._skip(cell.stage, finished)
        ticket = self._shared_ticket(cell.stage, lambda: self._make(cell))
        stage = Stage(
            name=cell.stage,
            folder=self.run.stage_folder(cell.stage),
            ticket=ticket,
            seed=self.plan.seed,
        )
        return self._train(stage, number=int(cell.source.record["round"]))

    def _check_source(self, cell: Cell) -> None:
        """Refuse a cell that another source round of the same name left here: its accuracy would stand in this table."""
        path = self.run.ticket_file(cell.stage)
        if not path.exists():
            return
        found, record = read_manifest(path)["provenance"], cell.source.record
        made_from = found["parent_sha256"], found["source_weights"]
        if made_from != (record["ticket_sha256"], str(record["weights_sha256"])):
            raise RunError(
                f"{path} was made from another source than {cell.source.run.root / cell.source.stage}; choose another "
                f"OUTPUT_DIR, or delete {self.run.stage_folder(cell.stage)} and run again."
            )

    def _make(self, cell: Cell) -> Ticket:
        trainer = self.trainers[cell.finetune, cell.head_layers]
        return target_ticket(
            cell,
            trainer.initial_state(self.plan.seed),
            other=trainer.initial_state(self.plan.seed + OTHER_SEED),
            table=trainer.table,
            seed=self.plan.seed,
        )


@own_key_names()
def run_transfer(config: ClassifyConfig, *, resume: bool) -> dict[str, Any]:
    """Run the source task of ``config.transfer`` (or find it finished), then the transfers; return the table.

    ``config.output`` gets ``source`` (the source run), a folder for each training, ``results.json``, and the table as
    ``transfer.json``, ``transfer.csv``, ``transfer.txt`` and ``report/index.html``. The source run takes seed, threads and device from
    ``config``.

    Args:
        config: the target task, with a section ``transfer``.
        resume: also go on inside an unfinished stage.

    Returns:
        The content of ``transfer.json``.

    Raises:
        LthDetError: the input is wrong, or the folder holds another run.
    """
    if config.model.weights:
        raise ConfigError(
            "model.weights has no part in a transfer: the weights come from the source; leave it empty."
        )
    sources = _sources(config, resume=resume)
    config = dataclasses.replace(config, pruning=EVERY_CONVOLUTION)
    set_up(config)
    run = RunDir(config.output)
    with run.lock():
        data = load_data(config.data)
        digest = run.claim(_settings(config, data, sources))
        experiment = _experiment(config, data, run, sources, digest=digest, resume=resume)
        results = experiment()
        table = transfer_rows(experiment.cells, results)
        write_transfer_tables(run.root, table)
        logger.info("The report is in %s", run.root / "report" / "index.html")
    return table


def _experiment(
    config: ClassifyConfig,
    data: ClassificationData,
    run: RunDir,
    sources: list[SourceRound],
    *,
    digest: str,
    resume: bool,
) -> TransferRun:
    transfer = config.transfer
    progress = RunProgress(total=1)
    trainers = {
        (finetune, layers): ClassifierStages(
            config,
            data,
            resume=resume,
            progress=progress,
            head_layers=layers,
            frozen=finetune == "frozen",
        )
        for finetune in transfer.finetune
        for layers in transfer.head_layers
    }
    first = next(iter(trainers.values()))
    # Inside the folder by its name there, so that the run may move.
    source = sources[0].run.root.resolve()
    if source.is_relative_to(run.root.resolve()):
        source = source.relative_to(run.root.resolve())
    facts = run_facts(config, data, digest) | {"source": source.as_posix()}
    experiment = TransferRun(
        first,
        imp_plan(config, images=len(data.train.labels), total=first.iterations),
        run,
        facts,
        cells=tuple(cells_of(transfer, sources)),
        trainers=trainers,
    )
    first.expect_stages(len(experiment.cells) - experiment.finished_stages())
    return experiment


def _sources(config: ClassifyConfig, *, resume: bool) -> list[SourceRound]:
    transfer = config.transfer
    if transfer.source:
        source = source_config(config)
        results = run_classifier(source, resume=resume)
        return source_rounds(RunDir(source.output), results, transfer.rounds)
    path = Path(transfer.ticket).expanduser()
    results_file = path.parent.parent / "results.json"
    if not path.is_file() or not results_file.is_file():
        raise ConfigError(
            f"transfer.ticket is {transfer.ticket}, but there is no ticket with {results_file} above it; name a "
            "ticket.safetensors in the output folder of train_classifier.py, whose weights are needed too."
        )
    try:
        results = json.loads(results_file.read_text(encoding="utf-8"))
        found = source_of_ticket(path, results)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{results_file} is not the results of a run ({error}).") from error
    if results.get("method", "imp") != "imp":
        raise ConfigError(
            f"transfer.ticket is of a run of method {results['method']!r}; a transfer takes rounds of method imp."
        )
    return [found]


def source_config(config: ClassifyConfig) -> ClassifyConfig:
    """Return the configuration of the source task of a transfer, with its place, seed, threads and device.

    Raises:
        ConfigError: the file cannot be used, or is a transfer itself.
    """
    source = load_config(config.transfer.source)
    if source.transfer.enabled:
        raise ConfigError(f"{config.transfer.source} is a transfer itself; name a source task.")
    if source.method != "imp":
        raise ConfigError(
            f"{config.transfer.source} has method {source.method!r}; a transfer takes rounds of method imp."
        )
    return dataclasses.replace(
        source,
        output=str(Path(config.output) / _SOURCE_FOLDER),
        seed=config.seed,
        threads=config.threads,
        device=config.device,
    )


def _settings(
    config: ClassifyConfig, data: ClassificationData, sources: list[SourceRound]
) -> dict[str, Any]:
    settings = run_settings(config, data)
    # The source by what it ended with. Which cells are trained may change: each is a stage of its own.
    for key in ("source", "ticket", "rounds", "starts", "controls", "finetune", "head_layers"):
        settings.pop(f"transfer.{key}", None)
    dense = sources[0].results["rounds"][0]["weights_sha256"]
    return settings | {"transfer source": dense}
