"""Time and memory of one global pruning decision against the alternatives, side by side in one run.

    python benchmarks/pruning_decision.py --weights 44 --json decision.json

Shapes are like those of a Mask R-CNN R-50 FPN (or of a part of it), values normal with He's scale. ``kthvalue`` and
``np.partition`` get the joined absolute values for nothing and give a threshold only; ours reads the tensors as they
are and gives the masks. CPU time, so that other processes matter less; the least of the repeats.
"""

import argparse
import json
import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from lth_det.pruning import GlobalAllocation, MagnitudeCriterion, prune
from lth_det.tickets import Mask

SHAPES = (
    [(64, 64, 3, 3)] * 3
    + [(128, 128, 3, 3)] * 4
    + [(256, 256, 3, 3)] * 19
    + [(512, 512, 3, 3)] * 3
    + [(1024, 512, 1, 1), (2048, 512, 1, 1)] * 3
    + [(1024, 256, 1, 1), (256, 1024, 1, 1)] * 6
    + [(1024, 1024), (1024, 12544)]
)


def make_weights(millions: float) -> dict[str, Tensor]:
    """Return tensors of about so many million elements."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    total = 0
    # The largest layer last: a smaller run does without it.
    for index, shape in enumerate(SHAPES):
        size = int(np.prod(shape))
        if total + size <= millions * 1e6:
            scale = float(np.sqrt(2 / np.prod(shape[1:])))
            weights[f"layer{index}.weight"] = torch.randn(shape, generator=generator) * scale
            total += size
    return weights


def cpu_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU time of some calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def decide(weights: dict[str, Tensor], density: float) -> Mask:
    """Return our mask."""
    return prune(
        weights,
        table_groups=dict.fromkeys(weights, "all"),
        criterion=MagnitudeCriterion(),
        allocation=GlobalAllocation(),
        density=density,
    )


def global_unstructured(weights: dict[str, Tensor], pruned: int) -> None:
    """Prune with torch.nn.utils.prune, on modules made for it."""
    modules = []
    for weight in weights.values():
        module = nn.Module()
        module.weight = nn.Parameter(weight)
        modules.append((module, "weight"))
    torch_prune.global_unstructured(modules, torch_prune.L1Unstructured, amount=pruned)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--weights", type=float, default=44.0, help="at most so many million weights (default 44)"
    )
    parser.add_argument("--density", type=float, default=0.2, help="kept share (default 0.2)")
    parser.add_argument("--repeats", type=int, default=3, help="of the fast ones (default 3)")
    parser.add_argument("--json", default=None, help="also write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = make_weights(args.weights)
    size = sum(weight.numel() for weight in weights.values())
    mask = decide(weights, args.density)
    joined = torch.cat([weight.reshape(-1) for weight in weights.values()]).abs()
    rank = size - mask.kept
    threshold = joined.kthvalue(rank).values
    same = torch.equal(torch.cat([mask[n].reshape(-1) for n in weights]), joined > threshold)
    seconds = {
        "lth_det": cpu_seconds(lambda: decide(weights, args.density), args.repeats),
        "torch.kthvalue": cpu_seconds(lambda: joined.kthvalue(rank), args.repeats),
        "numpy.partition": cpu_seconds(lambda: np.partition(joined.numpy(), rank), args.repeats),
        "global_unstructured": cpu_seconds(lambda: global_unstructured(weights, rank), 1),
    }
    tracemalloc.start()
    decide(weights, args.density)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread",
        "weights": size,
        "equal_to_kthvalue": same,
        "cpu_seconds": seconds,
        "times_as_fast": {name: value / seconds["lth_det"] for name, value in seconds.items()},
        "peak_memory_share_of_weights": peak / (4 * size),
    }
    for name, value in seconds.items():
        print(f"{name:20} {value:8.3f} s   {value / seconds['lth_det']:6.1f} x")
    print(
        f"{size:,} weights, same mask: {same}, peak memory {100 * peak / (4 * size):.1f} % of them"
    )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as handle:
            json.dump(result, handle, indent=2)


if __name__ == "__main__":
    main()
