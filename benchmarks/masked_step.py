#!/usr/bin/env python
"""What masks cost in a training step of real Detectron2 models, beside the other ways of masking.

    python benchmarks/masked_step.py                         # four minutes, 5 GB

One Mask R-CNN with random weights trains on made-up images with SGD at learning rate 0, so that every variant does the
same work; the variants take turns. ``alone`` is the extra work of a variant timed by itself (least of the repeats): its
share of the plain step is finer than the difference of two steps, which scatter by percents on a shared machine. It does
not depend on the images, the step does: the variants are compared on small images, and the plain step of full-size models is
also timed at 800 px, the shorter side of Detectron2's COCO configurations (which give a GPU two such images).

* hook: ours, ``MaskHook`` with packed bits on the CPU;
* float foreach: ``torch._foreach_mul_`` after the step by masks of the weights' type;
* bool fill: ``masked_fill_`` after the step, one byte per weight;
* torch prune: ``torch.nn.utils.prune``, which computes weight_orig * mask before each forward;
* in forward: weights multiplied in place before each forward, by float masks (as in open_lth);
* predecessor: after the step, over the whole state dict, by float masks, with a count of zeros read by ``.item()`` for
  each tensor (written from the description of the official code, which does this in ``run_step``).
"""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detectron2.utils.events import EventStorage

from benchmarks.common import (
    GPU_NOT_MEASURED,
    finish,
    interleaved,
    least,
    median,
    parser,
    table,
)
from benchmarks.detectors import detector, images, magnitude_mask
from lth_det.d2.hooks import MaskHook
from lth_det.tickets import Mask

TARGET = 0.01
SETTINGS = {"R-50": (1, 256), "R-18": (1, 256), "small": (8, 160)}
FULL_SIDE = 800  # INPUT.MIN_SIZE_TRAIN of Detectron2's configurations for COCO ends there
QUICK = {"small": (1, 64)}


class Side:
    """One model with its optimizer; a step does forward, backward and the update."""

    def __init__(self, model: nn.Module, batch: list[dict[str, Any]]) -> None:
        self.model, self.batch = model, batch
        trained = [value for value in model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=0.0, momentum=0.9, weight_decay=1e-4)

    def step(self) -> None:
        """Do one step; each draws the same random numbers."""
        torch.manual_seed(1)
        with EventStorage(0):
            loss = sum(self.model(self.batch).values())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def float_foreach(model: nn.Module, mask: Mask) -> tuple[Callable[[], None], int]:
    """Return the work after a step, and its bytes."""
    weights, keep = _pairs(model, mask, lambda flags: flags.float())

    @torch.no_grad()
    def work() -> None:
        torch._foreach_mul_(weights, keep)

    return work, _bytes(keep)


def bool_fill(model: nn.Module, mask: Mask) -> tuple[Callable[[], None], int]:
    """Return the work after a step, and its bytes."""
    weights, pruned = _pairs(model, mask, torch.logical_not)

    @torch.no_grad()
    def work() -> None:
        for weight, where in zip(weights, pruned, strict=True):
            weight.masked_fill_(where, 0.0)

    return work, _bytes(pruned)


def predecessor(model: nn.Module, mask: Mask) -> tuple[Callable[[], None], int]:
    """Return the work after a step, and its bytes."""
    masks = {name: flags.float() for name, flags in mask.items()}

    def work() -> None:
        zeros = 0
        for name, value in model.state_dict().items():
            if name in masks:
                value.mul_(masks[name])
                zeros += (value == 0).sum().item()

    return work, _bytes(list(masks.values()))


def hook(model: nn.Module, mask: Mask) -> tuple[Callable[[], None], int]:
    """Return the work after a step, and its bytes."""
    ours = MaskHook(mask, mask_gradients=False)
    ours.trainer = types.SimpleNamespace(model=model)
    ours.before_train()
    holder = ours._holder
    return ours.after_step, 0 if holder is None else holder.extra_bytes


def torch_pruned(model: nn.Module, mask: Mask) -> tuple[Callable[[], None], int]:
    """Change a model to ``torch.nn.utils.prune``; return its extra work of one step alone, and its bytes."""
    pairs = []
    for name, flags in mask.items():
        module = model.get_submodule(name.rpartition(".")[0])
        torch_prune.custom_from_mask(module, "weight", flags)
        pairs.append((module.weight_orig, module.weight_mask))

    def work() -> None:
        for weight, keep in pairs:
            product = weight.detach() * keep
            product.mul_(keep)  # the backward: the gradient times the mask

    # The mask, and the masked copy that lives from forward to backward.
    return work, 2 * _bytes([keep for _, keep in pairs])


def _pairs(
    model: nn.Module, mask: Mask, make: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    parameters = dict(model.named_parameters())
    names = [name for name in mask if parameters[name].requires_grad]
    return [parameters[name] for name in names], [make(mask[name]) for name in names]


def _bytes(tensors: list[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors)


def measure(name: str, batch: list[dict[str, Any]], repeats: int) -> dict[str, Any]:
    """Return seconds per step and of the extra work, and bytes per masked weight, of each variant."""
    cfg, model = detector(name)
    mask = magnitude_mask(cfg, model, density=0.2)
    side = Side(model, batch)
    other = detector(name)[1]
    parametrised, extra = torch_pruned(other, mask)
    alone = {"torch prune": parametrised}
    memory = {"torch prune": extra}
    for variant, build in {
        "hook": hook,
        "float foreach": float_foreach,
        "bool fill": bool_fill,
        "in forward": float_foreach,
        "predecessor": predecessor,
    }.items():
        alone[variant], memory[variant] = build(model, mask)

    def before(work: Callable[[], None]) -> Callable[[], None]:
        return lambda: (work(), side.step())  # type: ignore[func-returns-value, return-value]

    jobs: dict[str, Callable[[], None]] = {
        "plain": side.step,
        "torch prune": Side(other, batch).step,
    }
    jobs |= {variant: before(work) for variant, work in alone.items() if variant != "torch prune"}
    interleaved(jobs, 1)  # warm-up
    steps = interleaved(jobs, repeats)
    pieces = interleaved(alone, 3 * repeats + 4)
    plain = least(steps["plain"])
    full = None
    if name != "small":
        large = Side(model, images(1, FULL_SIDE))
        full = least(interleaved({"plain": large.step}, 2)["plain"])
    return {
        "weights": mask.numel,
        "plain_step_seconds": plain,
        "plain_step_seconds_full_size": full,
        "variants": {
            variant: {
                "step_over_plain": median(steps[variant]) / median(steps["plain"]),
                "alone_seconds": least(pieces[variant]),
                "share_of_step": least(pieces[variant]) / plain,
                "bytes_per_weight": memory[variant] / mask.numel,
            }
            for variant in (
                "hook",
                "float foreach",
                "bool fill",
                "torch prune",
                "in forward",
                "predecessor",
            )
        },
    }


def markdown(figures: dict[str, Any]) -> str:
    """Return the table."""
    rows = []
    for name, value in figures.items():
        for variant, row in value["variants"].items():
            rows.append(
                (
                    f"{name}, {value['plain_step_seconds']:.2f} s plain",
                    f"**{variant} (ours)**" if variant == "hook" else variant,
                    f"{1000 * row['alone_seconds']:.1f}",
                    f"{100 * row['share_of_step']:.2f} %",
                    f"{row['step_over_plain']:.3f}",
                    f"{row['bytes_per_weight']:.2f}",
                )
            )
    header = (
        "model, step",
        "masks",
        "alone, ms",
        "share of the step",
        "step / plain step",
        "extra bytes per weight",
    )
    lines = [table(header, rows), ""]
    shares = {}
    for name, value in figures.items():
        hook_row = value["variants"]["hook"]
        shares[name] = hook_row["share_of_step"]
        seconds = value["plain_step_seconds_full_size"]
        if seconds is not None:
            shares[f"{name}, {FULL_SIDE} px"] = share = hook_row["alone_seconds"] / seconds
            lines += [
                f"{name}, one image of {FULL_SIDE} px: {seconds:.1f} s plain, of which ours adds {100 * share:.2f} %.",
                "",
            ]
    missed = [f"{name} ({100 * share:.2f} %)" for name, share in shares.items() if share > TARGET]
    verdict = f"missed for {', '.join(missed)}" if missed else "met by all"
    lines.append(
        f"Target on the CPU: at most {100 * TARGET:.0f} % of a plain step; {verdict}. Target of memory: at most 1 byte "
        f"per weight. On a GPU: {GPU_NOT_MEASURED}."
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--models", nargs="+", choices=("R-50", "R-18", "small"))
    made.add_argument("--repeats", type=int, help="steps of each variant; default 3")
    made.add_argument("--threads", type=int, default=1)
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = QUICK if arguments.quick else SETTINGS
    if arguments.models:
        settings = {name: {**SETTINGS, **QUICK}[name] for name in arguments.models}
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    figures = {
        name: measure(name, images(number, side), repeats)
        for name, (number, side) in settings.items()
    }
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
