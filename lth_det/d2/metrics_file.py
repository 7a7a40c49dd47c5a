"""``metrics.json`` of a stage that was stopped: Detectron2 appends to it, one JSON object a line."""

import json
import os
from pathlib import Path


def trim_metrics(path: Path, iteration: int) -> None:
    """Cut off what a resumed training is going to write again, and a line that a killed process left half-written.

    Args:
        path: the file; may be missing. It is cut in place, as the trainer has it open for appending.
        iteration: where training goes on; lines from there on are removed.
    """
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as handle:
        for line in handle:
            if not line.endswith(b"\n") or _iteration(line) >= iteration:
                break
            kept += len(line)
    os.truncate(path, kept)


def _iteration(line: bytes) -> float:
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, TypeError, KeyError):
        return float("inf")
