"""What a run would prune, without training: the numbers of ``inspect_ticket.py --config-file``."""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from lth_det.d2.building import build_configured
from lth_det.d2.checkpoint import UNREADABLE
from lth_det.d2.datasets import check_dataset_available, register_all
from lth_det.d2.macs import count_macs
from lth_det.d2.module_groups import parameter_table, parameter_table_from_cfg
from lth_det.d2.plan import imp_plan
from lth_det.d2.scoring import DetectorScoring, detector_scoring
from lth_det.errors import ConfigError
from lth_det.experiments.decide import decide_mask
from lth_det.tickets.inspection import mask_report
from lth_det.tickets.scope import GROUPS, ParameterTable


def dry_run(
    cfg: Any, *, groups: Collection[str] | None = None, macs: bool = False
) -> dict[str, Any]:
    """Return the report of pruning the configured model to its final prune rate, JSON-ready.

    The model gets the weights of ``MODEL.WEIGHTS`` if that is a file on this machine; nothing is downloaded. Otherwise
    its weights are a random initialisation drawn with ``SEED``: the counts of the network are exact all the same, but
    under a global scope the split over groups and layers depends on the weights, and trained ones differ. The scope
    ``sensitivity`` measures losses on the trained dense network first, which a dry run does not: the split shown for it
    is that of the global scope (``split_scope``).

    Args:
        cfg: from :func:`~lth_det.d2.setup_cfg.load_config`; pruning as in its node LTH, in one step.
        groups: prune these module groups only; None means those of the configuration.
        macs: also count multiply-accumulate operations (:func:`~lth_det.d2.macs.count_macs`), some seconds.

    Returns:
        The keys of :func:`~lth_det.tickets.inspection.mask_report` and ``preset``, ``scope``,
        ``split_scope`` (the scope whose split is shown), ``criterion``, ``requested_prune_rate``, ``weights`` (where they
        come from), ``split_depends_on_weights``, and ``macs`` if asked.

    Raises:
        ConfigError: an unknown group, nothing to prune, a network that cannot be built, or ``MODEL.WEIGHTS`` cannot be read or is of another model.
        ScopeError: the rates cannot be met.
        DataError: the criterion looks at training data that is not there.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    model, source = _model_with_weights(cfg)
    table = _table(cfg, model, groups)
    plan = imp_plan(cfg)
    scope = plan.scope
    if scope == "sensitivity":
        plan = dataclasses.replace(plan, scope="global")
    mask = decide_mask(
        model.state_dict(), table, plan, len(plan.prune_rates), None, trainer=_Scorer(cfg)
    )
    report = mask_report(table, mask)
    report |= {
        "preset": cfg.LTH.PRESET,
        "scope": scope,
        "split_scope": plan.scope,
        "criterion": plan.criterion,
        "requested_prune_rate": plan.prune_rates[-1],
        "weights": source,
        "split_depends_on_weights": plan.scope == "global",
    }
    if macs:
        report["macs"] = count_macs(cfg, table, mask)
    return report


@dataclasses.dataclass(frozen=True)
class _Scorer:
    """Losses for criteria that need some, on the training data of the configuration."""

    cfg: Any

    def scoring(
        self, weights: Mapping[str, Tensor], *, batches: int, seed: int
    ) -> contextlib.AbstractContextManager[DetectorScoring]:
        register_all()
        for name in self.cfg.DATASETS.TRAIN:
            check_dataset_available(name)
        return detector_scoring(self.cfg, weights, batches=batches, seed=seed)


def configured_table(cfg: Any) -> ParameterTable:
    """Return the parameter table of the configured model; the model is built without memory for its weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return parameter_table_from_cfg(cfg, build_configured(cfg))


def _table(cfg: Any, model: nn.Module, groups: Collection[str] | None) -> ParameterTable:
    if groups is None:
        return parameter_table_from_cfg(cfg, model)
    unknown = sorted(set(groups) - set(GROUPS))
    if unknown or not groups:
        raise ConfigError(
            f"--groups has {', '.join(map(repr, unknown)) or 'no name'}; choose from {', '.join(GROUPS)}."
        )
    dense = [group for group in GROUPS if group not in groups]
    table = parameter_table(model, preset=cfg.LTH.PRESET, dense_groups=dense)
    absent = [group for group in groups if not any(e.prunable for e in table.in_group(group))]
    if absent:
        present = [
            g for g in table.groups if any(_is_candidate(e.reason) for e in table.in_group(g))
        ]
        raise ConfigError(
            f"--groups names {', '.join(absent)}, but this model has no prunable weight there (preset "
            f"{cfg.LTH.PRESET}); it has some in {', '.join(present)}."
        )
    return table


def _is_candidate(reason: str) -> bool:
    return not reason or reason.endswith("stays dense")


def _model_with_weights(cfg: Any) -> tuple[nn.Module, str]:
    seed = max(cfg.SEED, 0)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = build_configured(cfg)
    random = f"random initialisation (seed {seed})"
    path = cfg.MODEL.WEIGHTS
    if not path:
        return model, random
    if "://" in path:
        return model, f"{random}; {path} is not downloaded for this"
    if not Path(path).is_file():
        raise ConfigError(
            f"MODEL.WEIGHTS names {path}, which does not exist; check the path or use ''."
        )
    loaded, total = _load(model, path)
    if loaded == total:
        return model, path
    return model, f"{path} for {loaded} of {total} parameters; {random} for the others"


def _load(model: nn.Module, path: str) -> tuple[int, int]:
    """Load a checkpoint as Detectron2 does (which passes over what does not fit) and return (loaded, all) parameters."""
    checkpointer = _RecordingCheckpointer(model)
    try:
        checkpointer.load(path)
    except UNREADABLE as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ConfigError(f"MODEL.WEIGHTS {path} cannot be read as weights ({reason}).") from error
    names = [name for name, _ in model.named_parameters()]
    loaded = sum(name not in checkpointer.missing for name in names)
    if not loaded:
        raise ConfigError(
            f"MODEL.WEIGHTS {path} holds no parameter of this model; it is of another one."
        )
    return loaded, len(names)


class _RecordingCheckpointer(DetectionCheckpointer):
    """Keeps what Detectron2 only logs: the names that the file did not set."""

    missing: frozenset[str] = frozenset()

    def _load_model(self, checkpoint: Any) -> Any:
        incompatible = super()._load_model(checkpoint)
        self.missing = frozenset(incompatible.missing_keys)
        return incompatible
