#!/usr/bin/env python
"""Time and memory of one global pruning decision against the alternatives, and of what a round does between trainings.

    python benchmarks/pruning_decision.py                    # a minute, 3 GB of memory

Shapes are like those of a Mask R-CNN R-50 FPN (or of a part of it), values normal with He's scale. ``kthvalue`` and
``np.partition`` get the joined absolute values for nothing and give a threshold only; ours reads the tensors as they
are and gives the masks. CPU time, so that other processes matter less; the least of the repeats.

A round: the trained weights of a Mask R-CNN R-50 FPN are hashed, pruned globally, and with the rewind weights written as
a ticket (flushed to disk), which is read back and set in the model; wall time of one thread, the least of the repeats.
"""

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import finish, least, parser, table
from benchmarks.detectors import detector, magnitude_mask
from lth_det.d2.checkpoint import load_ticket_into
from lth_det.pruning import GlobalAllocation, MagnitudeCriterion, prune
from lth_det.tickets import Mask, Provenance, Ticket, capture_weights, load_ticket, save_ticket
from lth_det.tickets.serialization import weights_sha256

TARGETS = {"torch.kthvalue": 3.0, "torch global_unstructured": 20.0}
ROUND_TARGET = 5.0  # seconds

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


def compare(millions: float, density: float, repeats: int) -> dict[str, Any]:
    """Return CPU seconds of each method, whether the masks agree, and our peak of extra memory."""
    weights = make_weights(millions)
    size = sum(weight.numel() for weight in weights.values())
    mask = decide(weights, density)
    joined = torch.cat([weight.reshape(-1) for weight in weights.values()]).abs()
    rank = size - mask.kept
    threshold = joined.kthvalue(rank).values
    same = torch.equal(torch.cat([mask[n].reshape(-1) for n in weights]), joined > threshold)
    seconds = {
        "lth_det": cpu_seconds(lambda: decide(weights, density), repeats),
        "torch.kthvalue": cpu_seconds(lambda: joined.kthvalue(rank), repeats),
        "numpy.partition": cpu_seconds(lambda: np.partition(joined.numpy(), rank), repeats),
        "torch global_unstructured": cpu_seconds(lambda: global_unstructured(weights, rank), 1),
    }
    tracemalloc.start()
    decide(weights, density)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "weights": size,
        "density": density,
        "equal_to_kthvalue": same,
        "cpu_seconds": seconds,
        "peak_memory_share_of_weights": peak / (4 * size),
    }


def imp_round(name: str, density: float, repeats: int) -> dict[str, Any]:
    """Return seconds of the parts of a round of iterative pruning between two trainings."""
    cfg, model = detector(name)
    start = capture_weights(model.state_dict())
    parts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ticket.safetensors"
        for _ in range(repeats):
            clock = _Clock(parts)
            trained = capture_weights(model.state_dict())
            digest = weights_sha256(trained)
            clock("copy and hash the trained weights")
            mask = magnitude_mask(cfg, model, density)
            clock("prune (exact global threshold)")
            made = Provenance(
                "magnitude", "global", mask.prune_rate, {}, 0.5, 1, None, "t", digest, 1, "init"
            )
            save_ticket(path, Ticket(mask, start, made))
            clock("write the ticket")
            ticket = load_ticket(path)
            clock("read and check the ticket")
            load_ticket_into(model, ticket)
            clock("rewind the model and mask it")
    return {key: least(values) for key, values in parts.items()}


class _Clock:
    """Adds the time since the last call to a part."""

    def __init__(self, parts: dict[str, list[float]]) -> None:
        self._parts, self._last = parts, time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self._parts.setdefault(part, []).append(now - self._last)
        self._last = now


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    decision, rounds = figures["decision"], figures["round"]
    ours = decision["cpu_seconds"]["lth_det"]
    rows = []
    for name, value in decision["cpu_seconds"].items():
        target = TARGETS.get(name)
        verdict = "" if target is None else f"{target:.0f}, {_verdict(value / ours >= target)}"
        rows.append((name, f"{value:.3f}", f"{value / ours:.1f}", verdict))
    peak, total = decision["peak_memory_share_of_weights"], sum(rounds.values())
    return "\n\n".join(
        [
            f"The mask of {decision['weights']:,} weights, {100 * (1 - decision['density']):.0f} % pruned:",
            table(("method", "CPU s", "times ours", "target, at least"), rows),
            f"Masks equal to those of `kthvalue`: {decision['equal_to_kthvalue']}. Peak of extra memory "
            f"{100 * peak:.1f} % of the weights (target at most 10 %, {_verdict(peak <= 0.1)}).",
            "A round between two trainings:",
            table(
                ("part", "s"),
                [(k, f"{v:.2f}") for k, v in rounds.items()] + [("all", f"{total:.2f}")],
            ),
            f"Target under {ROUND_TARGET:.0f} s, {_verdict(total < ROUND_TARGET)}.",
        ]
    )


def _verdict(reached: object) -> str:
    return "met" if reached else "missed"


def main() -> None:
    """Run the comparison."""
    made = parser(__doc__ or "")
    made.add_argument(
        "--weights", type=float, default=44.0, help="at most so many million weights (default 44)"
    )
    made.add_argument("--density", type=float, default=0.2, help="kept share (default 0.2)")
    made.add_argument("--repeats", type=int, default=3, help="of the fast ones (default 3)")
    arguments = made.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    repeats = 1 if quick else arguments.repeats
    figures = {
        "decision": compare(1.0 if quick else arguments.weights, arguments.density, repeats),
        "round": imp_round("small" if quick else "R-50", arguments.density, repeats),
    }
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
