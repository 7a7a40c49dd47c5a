"""What a run writes about itself: the record of a stage, ``results.json`` and ``timings.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.protocols import Stage, StageResult
from lth_det.experiments.run_dir import RunDir
from lth_det.io import atomic_write_json
from lth_det.tickets.apply import count_revived
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket, ticket_sha256, weights_sha256
from lth_det.tickets.summary import sparsity_summary

FORMAT_VERSION = 1
_TIMING_KEYS = ("train_seconds", "eval_seconds")


def stage_record(
    run: RunDir,
    table: ParameterTable,
    stage: Stage,
    result: StageResult,
    *,
    number: int,
    weights: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Return the record of a finished stage, after checking that no pruned weight has come back.

    Args:
        run: the run's folder.
        table: parameters of the model.
        stage: what was trained.
        result: what the training left.
        number: the round.
        weights: the final state dict.

    Raises:
        RunError: a pruned weight is not zero in the final checkpoint (a defect worth stopping for).
    """
    mask = Mask.ones_like({name: weights[name] for name in table.prunable_names})
    digest = None
    if stage.ticket is not None:
        mask = stage.ticket.mask
        revived = count_revived(weights, mask)
        if revived:
            raise RunError(
                f"{result.weights}: {revived} pruned weights are not zero after training; please report this."
            )
        digest = ticket_digest(run, stage.name)
    summary = sparsity_summary(table, mask).to_dict()
    return {
        "round": number,
        "stage": stage.name,
        "prune_rate": summary["prune_rate"],
        "sparsity": summary["sparsity"],
        "metrics": dict(result.metrics),
        "ticket": None if stage.ticket is None else run.relative(run.ticket_file(stage.name)),
        "ticket_sha256": digest,
        "groups": summary["groups"],
        "layers": summary["layers"],
        "total_parameters": summary["total_parameters"],
        "prunable_parameters": summary["prunable_parameters"],
        "pruned_parameters": summary["pruned_parameters"],
        "predictions": run.relative(result.predictions),
        "weights": run.relative(result.weights),
        "weights_sha256": weights_sha256(weights),
        "train_seconds": result.train_seconds,
        "eval_seconds": result.eval_seconds,
    }


def ticket_digest(run: RunDir, name: str) -> str:
    """Return the SHA-256 of a stage's ticket (its content, see ``lth_det.tickets.serialization``)."""
    return ticket_sha256(load_ticket(run.ticket_file(name)))


def write_results(
    run: RunDir,
    rounds: Sequence[Mapping[str, Any]],
    controls: Sequence[Mapping[str, Any]],
    *,
    facts: Mapping[str, Any],
    complete: bool,
    write: bool,
) -> dict[str, Any]:
    """Write ``results.json`` (equal runs give equal bytes) and ``timings.json``; return the content of the first.

    Args:
        run: the run's folder.
        rounds: records of the finished rounds, in order.
        controls: records of the finished controls.
        facts: further top-level keys (seed, versions, dataset, ...).
        complete: whether all stages are finished.
        write: False on processes that only need the value.
    """
    content = {
        "format_version": FORMAT_VERSION,
        **facts,
        "rounds": [_without_times(record) for record in rounds],
        "controls": [_without_times(record) for record in controls],
        "complete": complete,
    }
    if write:
        atomic_write_json(run.results_file, content)
        times = {
            "rounds": [_times(record) for record in rounds],
            "controls": [_times(record) for record in controls],
        }
        total = sum(row[key] for rows in times.values() for row in rows for key in _TIMING_KEYS)
        atomic_write_json(run.timings_file, {**times, "total_seconds": round(total, 3)})
    return content


def _times(record: Mapping[str, Any]) -> dict[str, Any]:
    seconds = {key: record.get(key, 0.0) for key in _TIMING_KEYS}
    return {"stage": record["stage"], "round": record["round"], **seconds}


def _without_times(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _TIMING_KEYS}
