"""A COCO evaluator that adds the AP of every size, frequency, difficulty and other bin to Detectron2's metrics."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator

from lth_det.analysis.analyze import analyze
from lth_det.analysis.metrics import bin_metrics
from lth_det.analysis.options import Options
from lth_det.errors import InputError

logger = logging.getLogger(__name__)

PREDICTIONS = "coco_instances_results.json"


class AttributeCOCOEvaluator(COCOEvaluator):
    """Detectron2's ``COCOEvaluator`` plus ``bbox/AP-size-small``, ``bbox/AP-frequency-rare`` and so on.

    Detectron2's own numbers stay as they are. The bins, their edges and what happens to unmatched detections are those
    of :mod:`lth_det.analysis`; values are 0-100, NaN where a bin has no object. Classes are ranked by difficulty with
    the dense model's predictions where they are given, so that a class is in the same tercile in every round.

    Args:
        dataset_name: a registered COCO-format dataset.
        output_dir: where the predictions are written; needed.
        train_names: registered training datasets, for class frequency; the first with a ``json_file`` is used.
        dense_predictions: results file of the dense model; it need not exist.
        **kwargs: passed to ``COCOEvaluator`` (``use_fast_impl``, ``kpt_oks_sigmas``, ...).
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str,
        train_names: Sequence[str] = (),
        dense_predictions: Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name, output_dir=output_dir, **kwargs)
        self._train_names = tuple(train_names)
        self._dense_predictions = dense_predictions
        self._sigmas = tuple(kwargs.get("kpt_oks_sigmas") or ()) or None

    def evaluate(self, img_ids: Any = None) -> Any:
        """Return Detectron2's results with the bins added to each task; empty on other processes than the main one."""
        results = super().evaluate(img_ids)
        if not results or img_ids is not None:
            return results
        try:
            bins = self._bins()
        except InputError as error:
            # The run's own metrics are there; a file that the analysis refuses must not cost them.
            logger.warning("No AP by attribute: %s", error)
            return results
        for task, values in bins.items():
            if task in results:
                results[task].update(values)
        return results

    def _bins(self) -> dict[str, dict[str, float]]:
        models = {"model": str(Path(self._output_dir) / PREDICTIONS)}
        dense = self._dense_predictions
        if dense is not None and dense.exists() and dense != Path(models["model"]):
            models = {"dense": str(dense), **models}
        options = Options(
            reference=next(iter(models)),
            keypoint_sigmas=self._sigmas,
            crosses=(),
            replicates=0,
            errors=False,
            most_lost=0,
        )
        result = analyze(
            self._metadata.json_file, models, train=self._train_file(), options=options
        )
        found = bin_metrics(result.value, "model")
        # A number of Detectron2's own keeps its name and value: COCO's APs, APm and APl are already there.
        return {
            task: {
                name: value if math.isfinite(value) else math.nan for name, value in values.items()
            }
            for task, values in found.items()
        }

    def _train_file(self) -> str | None:
        for name in self._train_names:
            file = getattr(MetadataCatalog.get(name), "json_file", None)
            if file is not None and Path(file).exists():
                return str(file)
        return None
