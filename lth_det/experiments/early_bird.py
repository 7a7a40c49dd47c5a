"""Early-bird tickets: when, during the dense training, is the mask already the one of the end?

You et al. 2020 (arXiv 1909.11957) draw the mask of the live weights now and then, and call it stable when its distance to
each of the last few is below a threshold. Girish et al. 2021 (figure 2f) compare the masks along the training
with the final one by the IoU of the pruned sets, which is far above 0 for unrelated masks: the chance level stands
beside every IoU here.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_det.errors import RunError
from lth_det.experiments.decide import check_plan, decide_mask
from lth_det.experiments.imp import ImpRun
from lth_det.experiments.method_run import check_live_plan, method_ticket
from lth_det.experiments.method_specs import EarlyBird, require_method
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.protocols import Stage
from lth_det.io import atomic_write_json
from lth_det.pruning.controls import complement
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import load_ticket, save_ticket
from lth_det.tickets.similarity import Similarity, mask_similarity

FORMAT_VERSION = 1
_NAME = re.compile(r"iteration_(\d+)\.safetensors")


@dataclasses.dataclass(frozen=True)
class EarlyBirdPlan:
    """What to record during the dense round.

    Attributes:
        period: steps between two masks.
        prune_rate: of these masks; ``None`` = that of the last round.
        patience: how many masks before, a stable one is compared with.
        threshold: largest distance of a stable mask to each of them (You et al.: 0.1, with a patience of 5 epochs).
        stop: end the dense round when the mask is stable.
    """

    period: int
    prune_rate: float | None
    patience: int
    threshold: float
    stop: bool


def mask_distance(first: Mask, second: Mask) -> float:
    """Return the share of elements in which two masks of the same parameters differ, in 0-1 (normalised Hamming distance).

    Two independent uniform masks of density d are 2 d (1 - d) apart.
    """
    both = sum(first.kept_in_both(second, name) for name in first)
    return (first.kept + second.kept - 2 * both) / first.numel if first.numel else 0.0


def is_stable(masks: Sequence[Mask], *, patience: int, threshold: float) -> bool:
    """Return whether the last mask differs from each of the ``patience`` before it in less than ``threshold``.

    False as long as there are not that many.
    """
    if len(masks) <= patience:
        return False
    newest = masks[-1]
    return all(mask_distance(mask, newest) < threshold for mask in masks[-1 - patience : -1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyBirdRun(ImpRun):
    """An IMP run whose dense round records masks, and writes ``early_bird.json`` when it is over.

    With ``early.stop`` the dense round ends when the mask is stable, and the rounds are drawn from its weights there.

    Attributes:
        early: what to record.
    """

    early: EarlyBirdPlan

    def __call__(self) -> dict[str, Any]:
        """Run as an IMP run does."""
        require_method(self.trainer, "early_bird")
        check_live_plan(self.plan, "LTH.EARLY_BIRD")
        check_plan(self.trainer.table, self._one_shot, self.trainer)
        return super().__call__()

    def _train(self, stage: Stage, *, number: int, control: str | None = None) -> dict[str, Any]:
        if number or control is not None:
            return super()._train(stage, number=number, control=control)
        spec = EarlyBird(
            period=self.early.period,
            record=self._record_mask,
            stop=self.early.stop,
            earliest=stage.snapshot_iteration,
        )
        record = super()._train(dataclasses.replace(stage, early_bird=spec), number=0)
        self.communicator.on_main(self._write_early_bird)
        return record

    @property
    def _one_shot(self) -> ImpPlan:
        rate = self.early.prune_rate
        return dataclasses.replace(
            self.plan, prune_rates=(self.plan.prune_rates[-1] if rate is None else rate,)
        )

    @property
    def _folder(self) -> Path:
        return self.run.stage_folder(self.run.round_name(0)) / "early_bird"

    def _record_mask(self, weights: Mapping[str, Tensor], done: int) -> bool:
        mask = decide_mask(
            weights, self.trainer.table, self._one_shot, 1, None, trainer=self.trainer
        )
        ticket = method_ticket(
            self,
            mask,
            None,
            criterion=f"early bird {self.plan.criterion}",
            rewind="none",
            extra={"iteration": str(done)},
        )
        save_ticket(self._folder / f"iteration_{done:07d}.safetensors", ticket)
        # Later ones may lie there from before a resume: they are going to be written again.
        earlier = [path for iteration, path in recorded(self._folder) if iteration < done]
        masks = [load_ticket(path).mask for path in earlier[-self.early.patience :]]
        return is_stable(
            [*masks, mask], patience=self.early.patience, threshold=self.early.threshold
        )

    def _write_early_bird(self) -> bytes:
        found = recorded(self._folder)
        if not found:
            raise RunError(
                f"{self._folder} holds no recorded mask; delete {self._folder.parent} to train the dense round again."
            )
        content = early_bird_record(
            {iteration: load_ticket(path).mask for iteration, path in found},
            self.trainer.table.group_of,
            patience=self.early.patience,
            threshold=self.early.threshold,
        )
        for point, (_, path) in zip(content["points"], found, strict=True):
            point["ticket"] = self.run.relative(path)
        atomic_write_json(
            self.run.early_bird_file,
            {
                "format_version": FORMAT_VERSION,
                "prune_rate": self._one_shot.prune_rates[0],
                "scope": self.plan.scope,
                # The final mask is that of the moment the dense round ended, early or not.
                "stop": self.early.stop,
                **content,
            },
        )
        return b""


def recorded(folder: Path) -> list[tuple[int, Path]]:
    """Return the iterations and files of the masks in a folder, in order."""
    found = []
    for path in folder.glob("iteration_*.safetensors"):
        match = _NAME.fullmatch(path.name)
        if match:
            found.append((int(match.group(1)), path))
    return sorted(found)


def early_bird_record(
    masks: Mapping[int, Mask], groups: Mapping[str, str], *, patience: int, threshold: float
) -> dict[str, Any]:
    """Return how the masks along a training compare with the last one and with each other.

    Args:
        masks: iteration -> mask, of the same parameters, in order; at least one.
        groups: parameter -> module group.
        patience: see :func:`is_stable`.
        threshold: see :func:`is_stable`.

    Returns:
        ``final_iteration``, ``stable_at`` (first stable iteration or ``None``), ``patience``, ``threshold``, ``points``: each with
        ``iteration``, ``distance_previous``, ``iou_kept`` / ``iou_pruned`` with ``chance_*``, ``kappa`` (of the kept sets, against
        uniform masks of the same densities) and ``layer_kappa`` (against masks with the same layer densities), all ``to``
        the final mask, ``iou_previous`` / ``chance_previous`` of the kept sets, and ``groups`` with the same of each group.
    """
    iterations = list(masks)
    final = masks[iterations[-1]]
    points: list[dict[str, Any]] = []
    stable_at = None
    for index, iteration in enumerate(iterations):
        history = [masks[i] for i in iterations[: index + 1]]
        if stable_at is None and is_stable(history, patience=patience, threshold=threshold):
            stable_at = iteration
        previous = history[-2] if index else None
        points.append({"iteration": iteration, **_point(history[-1], final, previous, groups)})
    return {
        "final_iteration": iterations[-1],
        "stable_at": stable_at,
        "patience": patience,
        "threshold": threshold,
        "points": points,
    }


def _point(
    mask: Mask, final: Mask, previous: Mask | None, groups: Mapping[str, str]
) -> dict[str, Any]:
    kept = mask_similarity(mask, final, groups)
    pruned = mask_similarity(complement(mask), complement(final), groups)
    before = None if previous is None else mask_similarity(mask, previous, groups)
    return {
        "to": "final",
        "distance_previous": None if previous is None else mask_distance(mask, previous),
        **_values(kept.total, pruned.total, None if before is None else before.total),
        "groups": {
            group: _values(
                kept.groups[group],
                pruned.groups[group],
                None if before is None else before.groups[group],
            )
            for group in kept.groups
        },
    }


def _values(kept: Similarity, pruned: Similarity, before: Similarity | None) -> dict[str, Any]:
    return {
        "iou_kept": kept.overlap.iou,
        "chance_kept": kept.overlap.chance,
        "iou_pruned": pruned.overlap.iou,
        "chance_pruned": pruned.overlap.chance,
        "kappa": kept.overlap.kappa,
        "layer_kappa": kept.layer_overlap.kappa,
        "iou_previous": None if before is None else before.overlap.iou,
        "chance_previous": None if before is None else before.overlap.chance,
    }
