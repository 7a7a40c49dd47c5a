#!/usr/bin/env python
"""What zeros buy at inference: the same network dense, with unstructured zeros, and without its dead channels.

    python benchmarks/what_it_buys.py                        # a minute

Backbone and feature pyramid of a Mask R-CNN R-18 with random weights, one image, PyTorch and onnxruntime, one thread; and
the first linear layer of a box head (12,544 x 1,024, 100 regions) with PyTorch's dense and CSR kernels. ``80 % zeros`` is
a global magnitude mask; ``half the inner channels`` has zeros in every second channel between the layers of each
residual block, and the same with these channels removed by the export. Variants take turns; medians.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import GPU_NOT_MEASURED, finish, interleaved, median, parser, table
from benchmarks.detectors import detector, magnitude_mask
from lth_det.d2.channel_chains import channel_chains
from lth_det.d2.export import export_features
from lth_det.export.channels import remove_channels_
from lth_det.export.two_four import semi_structured_problem
from lth_det.tickets import apply_mask_

PRUNE_RATES = (0.8, 0.9, 0.95, 0.98)


@torch.no_grad()
def variants(name: str) -> dict[str, tuple[Any, nn.Module]]:
    """Return (configuration, model) of each variant."""
    made = {
        key: detector(name)
        for key in ("dense", "80 % zeros", "half the inner channels zero", "removed")
    }
    for _, model in made.values():
        model.eval()
    cfg, model = made["80 % zeros"]
    apply_mask_(dict(model.named_parameters()), magnitude_mask(cfg, model, 0.2))
    for key in ("half the inner channels zero", "removed"):
        model = made[key][1]
        chains = [
            chain for chain in channel_chains(model) if chain.producer.startswith("backbone.")
        ]
        for chain in chains:
            model.get_submodule(chain.producer).weight[::2] = 0
            model.get_submodule(chain.norm).bias[::2] = 0
        if key == "removed":
            remove_channels_(model, chains)
    made["half the inner channels removed"] = made.pop("removed")
    return made


def features(name: str, side: int, repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return milliseconds of backbone and pyramid of each variant, in PyTorch and in onnxruntime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    jobs: dict[str, Callable[[], Any]] = {}
    for key, (cfg, model) in variants(name).items():
        jobs[f"{key}|PyTorch"] = lambda model=model: model.backbone(image)  # type: ignore[misc]
        path = folder / "features.onnx"
        export_features(cfg, model.state_dict(), path)
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        jobs[f"{key}|onnxruntime"] = lambda session=session: session.run(  # type: ignore[misc]
            None, {"image": image.numpy()}
        )
    with torch.no_grad():
        interleaved(jobs, 1)
        seconds = interleaved(jobs, repeats)
    found: dict[str, dict[str, float]] = {}
    for key, values in seconds.items():
        variant, _, engine = key.partition("|")
        found.setdefault(variant, {})[engine] = 1000 * median(values)
    return found


def linear(inputs: int, outputs: int, repeats: int) -> dict[str, float]:
    """Return milliseconds of a linear layer with dense and CSR kernels by prune rate."""
    dice = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=dice)
    regions = torch.randn(100, inputs, generator=dice)
    columns = regions.t().contiguous()
    jobs: dict[str, Callable[[], Any]] = {"dense": lambda: regions @ weight.t()}
    for rate in PRUNE_RATES:
        threshold = weight.abs().flatten().kthvalue(int(rate * weight.numel())).values
        sparse = torch.where(weight.abs() > threshold, weight, 0.0).to_sparse_csr()
        jobs[f"CSR, {100 * rate:.0f} % zeros"] = lambda sparse=sparse: sparse @ columns  # type: ignore[misc]
    interleaved(jobs, 1)
    return {key: 1000 * median(values) for key, values in interleaved(jobs, repeats).items()}


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    dense, fully = figures["features"]["dense"], figures["linear"]["dense"]
    rows = [
        (
            name,
            *(f"{row[engine]:.1f}" for engine in ("PyTorch", "onnxruntime")),
            *(f"{dense[engine] / row[engine]:.2f}" for engine in ("PyTorch", "onnxruntime")),
        )
        for name, row in figures["features"].items()
    ]
    header = (
        "weights",
        "PyTorch, ms",
        "onnxruntime, ms",
        "PyTorch, times as fast",
        "onnxruntime, times as fast",
    )
    return "\n\n".join(
        [
            table(header, rows),
            table(
                ("linear layer", "ms", "times as fast"),
                [
                    (name, f"{value:.2f}", f"{fully / value:.2f}")
                    for name, value in figures["linear"].items()
                ],
            ),
            f"2:4 kernels: {figures['two_four']}; {GPU_NOT_MEASURED}.",
        ]
    )


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "features": features(
                "small" if quick else "R-18", 64 if quick else 320, 1 if quick else 7, Path(folder)
            ),
            "linear": linear(640 if quick else 12544, 128 if quick else 1024, 2 if quick else 9),
            "two_four": semi_structured_problem(nn.Linear(64, 64)),
        }
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
