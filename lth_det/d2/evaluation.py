"""Evaluators for the datasets that Detectron2 knows, chosen as its own ``train_net.py`` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    COCOEvaluator,
    LVISEvaluator,
    PascalVOCDetectionEvaluator,
)
from fvcore.common.config import CfgNode

from lth_det.d2.attribute_evaluator import PREDICTIONS, AttributeCOCOEvaluator
from lth_det.env import compiled_operators
from lth_det.errors import ConfigError


def build_evaluator(cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> Any:
    """Return the evaluator of a dataset by its ``evaluator_type``.

    Args:
        cfg: the configuration; ``TEST.KEYPOINT_OKS_SIGMAS`` is used for keypoints.
        dataset_name: a registered dataset.
        output_folder: where predictions are written; ``None`` = ``OUTPUT_DIR/inference`` (with the dataset's name below
            it when ``DATASETS.TEST`` has several).

    Raises:
        ConfigError: no evaluator is known for the dataset.
    """
    folder = Path(output_folder) if output_folder else predictions_folder(cfg, dataset_name)
    kind = getattr(MetadataCatalog.get(dataset_name), "evaluator_type", None)
    if kind in ("coco", "coco_person"):
        common = {
            "output_dir": str(folder),
            "use_fast_impl": bool(compiled_operators()),
            "kpt_oks_sigmas": cfg.TEST.KEYPOINT_OKS_SIGMAS,
        }
        if cfg.LTH.ATTRIBUTE_AP:
            return AttributeCOCOEvaluator(
                dataset_name,
                train_names=cfg.DATASETS.TRAIN,
                dense_predictions=_dense_predictions(folder, Path(cfg.OUTPUT_DIR)),
                **common,
            )
        return COCOEvaluator(dataset_name, **common)
    if kind == "pascal_voc":
        return PascalVOCDetectionEvaluator(dataset_name)
    if kind == "lvis":
        return LVISEvaluator(dataset_name, output_dir=str(folder))
    raise ConfigError(
        f"DATASETS.TEST has {dataset_name!r} with evaluator type {kind!r}; supported are coco, pascal_voc and lvis."
    )


def _dense_predictions(folder: Path, stage: Path) -> Path:
    """Return where the dense round of the same run has its predictions of the dataset that ``folder`` is for."""
    inside = folder.relative_to(stage) if folder.is_relative_to(stage) else Path("inference")
    return stage.parent / "round_00" / inside / PREDICTIONS


def predictions_folder(cfg: CfgNode, dataset_name: str) -> Path:
    """Return where the predictions of a dataset are written (see :func:`build_evaluator`)."""
    folder = Path(cfg.OUTPUT_DIR) / "inference"
    return folder / dataset_name if len(cfg.DATASETS.TEST) > 1 else folder


def stage_metrics(results: Any, datasets: Sequence[str]) -> dict[str, float]:
    """Return the metrics of a stage by flat names; those of the first of several test datasets have no prefix.

    So ``bbox/AP`` is always there, and it is the one of the dataset that ``results.json`` names.
    """
    flat = flatten_metrics(results)
    if len(datasets) > 1:
        first = f"{datasets[0]}/"
        flat = {name.removeprefix(first): value for name, value in flat.items()}
    return flat


def flatten_metrics(results: Any) -> dict[str, float]:
    """Return Detectron2's nested results as ``{"bbox/AP": 55.0, ...}``, values in 0-100.

    Args:
        results: what ``DefaultTrainer.test`` returns; with several test datasets the names are
            ``"<dataset>/bbox/AP"``.
    """
    flat: dict[str, float] = {}
    for key, value in (results or {}).items():
        if isinstance(value, dict):
            flat.update({f"{key}/{name}": item for name, item in flatten_metrics(value).items()})
        else:
            flat[str(key)] = float(value)
    return flat
