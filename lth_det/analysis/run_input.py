"""A run folder of ours as input: its dataset, and every finished round and control as a model."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_det.analysis.inputs import ModelInfo
from lth_det.analysis.read_json import parse_json, read_bytes
from lth_det.errors import InputError
from lth_det.io import inside


@dataclass(frozen=True)
class RunInput:
    """What ``results.json`` of a run says: ground truth, images, result files and facts per model, notes.

    ``train`` is the training annotation file, None when the run does not name one (``dataset.train_json_file``).
    """

    ground_truth: str
    image_root: str | None
    train: str | None
    results: dict[str, str]
    info: dict[str, ModelInfo]
    notes: tuple[str, ...]


def read_run(folder: str | os.PathLike[str]) -> RunInput:
    """Return the input that a run folder stands for.

    Models are called after their stage: ``dense`` (round 0), ``round_01``, ..., ``<control>_01``. A stage without
    predictions (not finished, or evaluated without writing them) is left out with a note.

    Raises:
        InputError: the folder has no usable ``results.json``, or no stage has predictions.
    """
    root = Path(folder)
    path = root / "results.json"
    value = parse_json(read_bytes(path), str(path))
    if not isinstance(value, dict) or not isinstance(value.get("rounds"), list):
        raise InputError(
            f"{path}: not the results of a run; give the OUTPUT_DIR of a finished run."
        )
    dataset = value.get("dataset")
    truth = dataset.get("json_file") if isinstance(dataset, dict) else None
    if not isinstance(dataset, dict) or not isinstance(truth, str):
        raise InputError(
            f"{path}: names no COCO annotation file; give it with --gt and the results with --dt NAME=FILE."
        )
    results: dict[str, str] = {}
    info: dict[str, ModelInfo] = {}
    notes = []
    controls = value.get("controls") or []
    if not isinstance(controls, list):
        raise InputError(f"{path}: its controls are not a list; the file is damaged.")
    for stage in [*value["rounds"], *controls]:
        name = _name(stage, path)
        file = _predictions(root, stage.get("predictions"))
        if file is None:
            notes.append(f"{path}: {name} has no predictions and is left out.")
            continue
        results[name] = str(file)
        info[name] = ModelInfo(
            sparsity=_number(stage.get("sparsity")),
            prune_rate=_number(stage.get("prune_rate")),
            round=stage["round"],
            control=str(stage["name"]) if "name" in stage else None,
        )
    if not results:
        raise InputError(f"{path}: no round has predictions; finish the run, or evaluate it again.")
    images, train = (_text(dataset.get(key)) for key in ("image_root", "train_json_file"))
    return RunInput(truth, images, train, results, info, tuple(notes))


def _name(stage: Any, path: Path) -> str:
    number = stage.get("round") if isinstance(stage, dict) else None
    if type(number) is not int:
        raise InputError(f"{path}: a round has no number; the file is damaged.")
    if "name" in stage:
        return f"{stage['name']}_{number:02d}".replace("/", "_")
    return "dense" if number == 0 else f"round_{number:02d}"


def _predictions(root: Path, name: Any) -> Path | None:
    """Return the predictions of a stage if they are a file below the run's folder."""
    file = inside(root, name) if isinstance(name, str) else None
    try:
        return file if file is not None and file.is_file() else None
    except OSError:  # a name too long for the file system
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
