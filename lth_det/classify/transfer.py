"""Tickets of one classification task as starting points of another (Mehta 2019, arXiv 1905.07785, section 3).

The mask is found on the source task alone. The new network gets the mask on its convolutions, a new head, and starts from
one of three places: the weights at the end of the source training (Mehta's theta_S), the source's initialisation (theta_0),
or another random initialisation.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_det.classify.config import TransferConfig
from lth_det.classify.groups import HEAD
from lth_det.env import package_versions
from lth_det.errors import ConfigError, MaskMismatchError, RunError
from lth_det.experiments.run_dir import RunDir
from lth_det.experiments.snapshot import load_snapshot
from lth_det.pruning.controls import random_like
from lth_det.tickets.checkpoint_file import load_checkpoint_weights
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

OTHER_SEED = 1_000_003
"""Added to the seed for whatever a control draws, far from the seeds that repeated runs would use."""


@dataclasses.dataclass(frozen=True)
class SourceRound:
    """One finished round of the source run.

    Attributes:
        record: its entry in the source's ``results.json``.
        run: the source's folder.
        results: the source's ``results.json``.
    """

    record: Mapping[str, Any]
    run: RunDir
    results: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Folder name of the round, such as ``"round_03"``."""
        return str(self.record["stage"])

    @property
    def mask(self) -> Mask | None:
        """The ticket's mask; None for the dense round."""
        if self.record["ticket"] is None:
            return None
        return load_ticket(self.run.root / self.record["ticket"]).mask

    @property
    def final(self) -> dict[str, Tensor]:
        """The weights at the end of the round's training."""
        return load_checkpoint_weights(self.run.root / self.record["weights"])

    @property
    def dense_final(self) -> dict[str, Tensor]:
        """The weights at the end of the dense round's training."""
        return load_checkpoint_weights(self.run.root / self.results["rounds"][0]["weights"])

    @property
    def initial(self) -> dict[str, Tensor]:
        """The source's initialisation.

        Raises:
            ConfigError: the run kept the weights of a later iteration instead.
        """
        rewind = str(self.results.get("rewind", ""))
        if rewind.startswith("iteration ") and rewind != "iteration 0":
            raise ConfigError(
                f"The source run {self.run.root} kept its weights of {rewind}, not its initialisation, which the start "
                "source_init needs; set rewind.to to final or init in the source's configuration, or leave that start out."
            )
        return load_snapshot(self.run.snapshot_file)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training on the target task.

    Attributes:
        source: the round whose mask it has.
        start: ``source_final``, ``source_init``, ``random``, or the control ``random_mask``.
        finetune: ``frozen`` or ``full``.
        head_layers: linear layers of the head.
    """

    source: SourceRound
    start: str
    finetune: str
    head_layers: int

    @property
    def stage(self) -> str:
        """Folder name in the run's folder."""
        return f"{self.source.stage}_{self.start}_{self.finetune}_{self.head_layers}fc"


def cells_of(transfer: TransferConfig, sources: Sequence[SourceRound]) -> list[Cell]:
    """Return all trainings that a configuration asks for; the control has no meaning for the dense round."""
    return [
        Cell(source, start, finetune, layers)
        for finetune in transfer.finetune
        for layers in transfer.head_layers
        for source in sources
        for start in (*transfer.starts, *transfer.controls)
        if not (start in transfer.controls and source.record["ticket"] is None)
    ]


def source_rounds(
    run: RunDir, results: Mapping[str, Any], wanted: Sequence[int]
) -> list[SourceRound]:
    """Return the rounds of a finished source run, all or those ``wanted``.

    Raises:
        ConfigError: the run has no such round.
    """
    records = {record["round"]: record for record in results["rounds"]}
    missing = [number for number in wanted if number not in records]
    if missing:
        raise ConfigError(
            f"transfer.rounds has {missing[0]}, but the source run {run.root} has the rounds "
            f"{', '.join(map(str, sorted(records)))}."
        )
    return [SourceRound(records[number], run, results) for number in wanted or sorted(records)]


def source_of_ticket(path: Path, results: Mapping[str, Any]) -> SourceRound:
    """Return the round that a ticket file belongs to; ``results`` are those of the run two folders above it.

    Raises:
        RunError: the run does not have that ticket.
    """
    run = RunDir(path.parent.parent)
    for record in (*results["rounds"], *results["controls"]):
        if record["ticket"] == run.relative(path):
            return SourceRound(record, run, results)
    raise RunError(f"{run.results_file} does not name {path}; give a ticket of a finished stage.")


def target_ticket(
    cell: Cell,
    initial: Mapping[str, Tensor],
    *,
    other: Mapping[str, Tensor],
    table: ParameterTable,
    seed: int,
) -> Ticket:
    """Return the ticket of the target network that a cell starts from.

    Convolutions and batch norm (with its statistics) come from the start, the head from ``initial`` in every cell.

    Args:
        cell: what to make.
        initial: state dict of the target at its initialisation.
        other: the same of another seed, for the start ``random``.
        table: parameters of the target.
        seed: of the run; the control's mask is drawn with ``seed + OTHER_SEED``.

    Raises:
        MaskMismatchError: source and target are different networks.
    """
    body = _start_weights(cell, other)
    names = [name for name in initial if not _in_head(name)]
    given = {name for name in body if not _in_head(name)}
    wrong = [
        name
        for name in {*names, *given}
        if name not in body or name not in initial or body[name].shape != initial[name].shape
    ]
    if wrong:
        raise MaskMismatchError(
            f"The source {cell.source.run.root} is another network than the target: {list_names(sorted(wrong))} differ; "
            "use the same section model."
        )
    weights = {name: value if _in_head(name) else body[name] for name, value in initial.items()}
    mask = _mask(cell, table, seed)
    summary = sparsity_summary(table, mask).to_dict()
    return Ticket(
        mask=mask,
        weights=weights,
        provenance=Provenance(
            criterion="random_mask" if cell.start == "random_mask" else "transfer",
            scope="global",
            prune_rate=summary["prune_rate"],
            prune_rates_by_group={
                group: row["prune_rate"] for group, row in summary["groups"].items()
            },
            sparsity=summary["sparsity"],
            round=int(cell.source.record["round"]),
            parent_sha256=cell.source.record["ticket_sha256"],
            source_task=str(cell.source.results.get("task", "")),
            source_weights=str(cell.source.record["weights_sha256"]),
            seed=seed,
            rewind=cell.start,
            versions=package_versions(),
            extra={"finetune": cell.finetune, TABLE_KEY: table_to_text(table)},
        ),
    )


def _start_weights(cell: Cell, other: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if cell.start == "source_final":
        return cell.source.final
    if cell.start == "source_init":
        return cell.source.initial
    # The ticket's own final weights are zero where a random mask keeps some: it gets the dense round's.
    return cell.source.dense_final if cell.start == "random_mask" else other


def _mask(cell: Cell, table: ParameterTable, seed: int) -> Mask:
    shapes = {entry.name: entry.shape for entry in table if entry.prunable}
    found = cell.source.mask
    if found is None:
        return Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()})
    mask = found.restricted_to([name for name in found if not _in_head(name)])
    return random_like(mask, seed + OTHER_SEED) if cell.start == "random_mask" else mask


def _in_head(name: str) -> bool:
    return name.startswith(f"{HEAD}.")
