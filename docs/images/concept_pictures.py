#!/usr/bin/env python
"""Draw the pictures of docs/concepts.md from the masks and weights of a finished run of several rounds.

Example:
  tools/train_net.py --config-file configs/faster_rcnn_imp.yaml
  python docs/images/concept_pictures.py --run output/faster_rcnn_imp
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lth_det.io import atomic_write
from lth_det.pruning import ErkAllocation, GlobalAllocation, MagnitudeCriterion, UniformAllocation
from lth_det.pruning import prune as prune_weights
from lth_det.pruning.controls import random_like
from lth_det.reports.plots import Drawing, render
from lth_det.reports.study_files import small_png
from lth_det.reports.style import BLUE, INK, MUTED, PALE, SERIES, SKY
from lth_det.tickets import Mask, Ticket, load_ticket

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER = "roi_heads.box_head.fc2.weight"
SIDE = 64  # weights of the layer that are shown, either way
HERE = Path(__file__).resolve().parent


def rounds_of(run: Path) -> list[Ticket]:
    """Return the tickets of the rounds, first pruning first."""
    return [load_ticket(path) for path in sorted(run.glob("round_*/ticket.safetensors"))]


def when_pruned(masks: list[Mask], name: str) -> Tensor:
    """Return per weight the number of rounds that it survived, a tensor of the layer's shape."""
    return torch.stack([mask[name].int() for mask in masks]).sum(0)


def picture_of_rounds(tickets: list[Ticket]) -> Drawing:
    """Return the layer's weights by the round that pruned them, beside a random mask of as many weights."""
    masks = [ticket.mask for ticket in tickets]
    rates = [100 * ticket.provenance.prune_rate for ticket in tickets]
    survived = when_pruned(masks, LAYER)[:SIDE, :SIDE]
    random = random_like(masks[-1], seed=1)[LAYER].int()[:SIDE, :SIDE] * len(masks)

    def draw(figure: "Figure") -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        colours = [*("#ffffff", PALE, SKY, BLUE)[: len(masks)], INK]
        left, right = figure.subplots(1, 2)
        titles = (f"mask of {len(masks)} rounds", "random mask, as many weights")
        for axes, values, title in zip((left, right), (survived, random), titles, strict=True):
            axes.imshow(
                values.numpy(),
                cmap=ListedColormap(colours),
                vmin=0,
                vmax=len(masks),
                interpolation="nearest",
            )
            axes.set(title=title, xticks=[], yticks=[])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(True)
        words = [f"pruned in round {place} ({rate:.0f} %)" for place, rate in enumerate(rates, 1)]
        handles = [
            Patch(facecolor=colour, edgecolor=MUTED, label=word)
            for colour, word in zip(colours, [*words, "kept"], strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

    return render("concept_rounds", draw, width=7.4, height=4.2)


def picture_of_scopes(dense: Mapping[str, Tensor], names: list[str], density: float) -> Drawing:
    """Return what each layer keeps at one density, by the scope."""
    weights = {name: dense[name] for name in names}
    scopes = {
        "global": GlobalAllocation(),
        "layer, uniform": UniformAllocation(),
        "layer, ERK": ErkAllocation(),
    }
    masks = {
        label: prune_weights(
            weights,
            table_groups=dict.fromkeys(names, "all"),
            criterion=MagnitudeCriterion(),
            allocation=allocation,
            density=density,
        )
        for label, allocation in scopes.items()
    }

    def draw(figure: "Figure") -> None:
        axes: Axes = figure.subplots()
        for style, (label, mask) in zip(SERIES, masks.items(), strict=False):
            kept = [100 * mask.kept_in(name) / mask.numel_in(name) for name in names]
            axes.plot(
                kept,
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                label=label,
                markersize=4,
            )
        axes.set_xticks(range(len(names)), [short(name) for name in names], rotation=90, fontsize=7)
        axes.set(
            ylabel="kept (%)",
            ylim=(0, 103),
            title=f"{100 * (1 - density):.0f} % pruned, three scopes",
        )
        axes.legend()

    return render("concept_scopes", draw, width=7.4, height=3.9)


def short(name: str) -> str:
    """Return a layer's name for the axis."""
    name = name.removesuffix(".weight").removeprefix("backbone.").removeprefix("bottom_up.")
    return name.removeprefix("proposal_generator.").removeprefix("roi_heads.")


def picture_of_rewinding(start: Tensor, end: Tensor, keep: Tensor, iteration: str) -> Drawing:
    """Return each weight of a layer at the rewind point and at the end of round 0, kept and pruned."""
    start, end, keep = start.flatten(), end.flatten(), keep.flatten()

    def draw(figure: "Figure") -> None:
        axes: Axes = figure.subplots()
        for chosen, colour, label in ((~keep, PALE, "pruned"), (keep, BLUE, "kept")):
            many: dict[str, Any] = {"s": 3, "linewidths": 0, "rasterized": True}
            axes.scatter(
                start[chosen].numpy(), end[chosen].numpy(), color=colour, label=label, **many
            )
        reach = 1.05 * float(torch.cat([start.abs(), end.abs()]).max())
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(
            xlabel=f"weight at {iteration}: where it goes back to",
            ylabel="weight at the end of round 0",
            title="the end decides what is kept",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
        )
        axes.legend(markerscale=4, loc="lower right")

    return render("concept_rewinding", draw, width=4.6, height=4.4)


def main() -> None:
    """Draw all pictures of the run that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--output", type=Path, default=HERE, help="default: beside this file")
    arguments = parser.parse_args()
    tickets = rounds_of(arguments.run)
    first = tickets[0]
    state = torch.load(
        arguments.run / "round_00/model_final.pth", map_location="cpu", weights_only=True
    )
    dense = state["model"]
    second = tickets[min(1, len(tickets) - 1)].mask
    start = (first.weights or dense)[LAYER]
    pictures = (
        picture_of_rounds(tickets),
        picture_of_scopes(dense, list(first.mask), second.density),
        picture_of_rewinding(start, dense[LAYER], first.mask[LAYER], first.provenance.rewind),
    )
    for picture in pictures:
        atomic_write(arguments.output / f"{picture.name}.png", small_png(picture.png, 60_000))


if __name__ == "__main__":
    main()
