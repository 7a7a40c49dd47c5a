"""A toy detector as a target, and toy sources for it: a stem, two residual stages, an FPN, a head and a predictor."""

import torch

from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.ticket import Provenance
from lth_det.transfer.names import name_source
from lth_det.transfer.preprocessing import IMAGENET_RGB, InputFacts
from lth_det.transfer.source import Source
from lth_det.transfer.target import Target

UP = "backbone.bottom_up."
SHAPES = {
    f"{UP}stem.conv1.weight": (4, 3, 3, 3),
    f"{UP}stem.conv1.norm.weight": (4,),
    f"{UP}stem.conv1.norm.running_mean": (4,),
    f"{UP}res2.0.conv1.weight": (4, 4, 3, 3),
    f"{UP}res2.0.shortcut.weight": (4, 4, 1, 1),
    f"{UP}res3.0.conv1.weight": (8, 4, 3, 3),
    "backbone.fpn_lateral3.weight": (4, 8, 1, 1),
    "roi_heads.box_head.fc1.weight": (5, 16),
    "roi_heads.box_predictor.cls_score.weight": (3, 5),
}
BUFFERS = {f"{UP}stem.conv1.norm.running_mean"}


def group_of(name):
    if "stem" in name:
        return "stem"
    if name.startswith(UP):
        return "backbone"
    if "fpn" in name:
        return "fpn"
    return "box_head" if "box_head" in name else "predictors"


def reason_of(name):
    if "norm" in name:
        return "norm layer"
    if "stem" in name:
        return "frozen"
    return "module group predictors stays dense" if "predictor" in name else ""


def toy_table(shapes=SHAPES):
    return ParameterTable(
        ParameterEntry(
            name=name,
            shape=shape,
            numel=int(torch.Size(shape).numel()),
            group=group_of(name),
            prunable=not reason_of(name),
            frozen="stem" in name,
            reason=reason_of(name),
        )
        for name, shape in shapes.items()
        if name not in BUFFERS
    )


def values_of(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def toy_target(shapes=SHAPES):
    return Target(
        table=toy_table(shapes),
        shapes=shapes,
        groups={name: group_of(name) for name in shapes},
        inputs=InputFacts(IMAGENET_RGB, None, "the target's configuration"),
        options={
            "INPUT.FORMAT": "RGB",
            "MODEL.PIXEL_MEAN": list(IMAGENET_RGB.mean),
            "MODEL.PIXEL_STD": list(IMAGENET_RGB.std),
            "MODEL.RESNETS.STRIDE_IN_1X1": True,
        },
        initial=lambda: values_of(shapes, 1),
        seed=1,
        weights_label="random initialisation (seed 1)",
    )


def toy_source(kind, shapes=SHAPES, *, masks=None, weights=None, provenance=None):
    """Return a source whose file has the target's names; masks and weights are given by those names."""
    weights = values_of(shapes, 2) if weights is None else weights
    masks = masks or {}
    named = name_source(dict.fromkeys([*weights, *masks]), "toy.pth")
    canonical = {name: key for key, name in named.file_names.items()}
    return Source(
        label="toy.pth",
        sha256="0" * 64,
        kind=kind,
        named=named,
        weights={canonical[name]: value for name, value in weights.items()},
        masks={canonical[name]: value for name, value in masks.items()},
        inputs=InputFacts(IMAGENET_RGB, None, "made up"),
        values="weights of toy.pth",
        provenance=provenance,
    )


def every_other(*names):
    masks = {}
    for name in names:
        flat = torch.arange(int(torch.Size(SHAPES[name]).numel())) % 2 == 0
        masks[name] = flat.reshape(SHAPES[name])
    return masks


def provenance(extra=None):
    return Provenance(
        criterion="magnitude",
        scope="global",
        prune_rate=0.5,
        prune_rates_by_group={},
        sparsity=0.4,
        round=3,
        parent_sha256=None,
        source_task="toy_train",
        source_weights="",
        seed=1,
        rewind="init",
        extra=extra or {},
    )
