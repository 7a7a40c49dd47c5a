"""A network as an ONNX file with its zeros kept, checked in onnxruntime.

onnxruntime has no sparse convolution: zeros make the file no smaller (it holds every value) and inference no faster. What
the file is good for: engines that do use zeros, compression (zeros compress well), and a network without Python.
"""

import dataclasses
import importlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lth_det.errors import ConfigError, RunError
from lth_det.io import atomic_path

TOLERANCE = 1e-4
"""Largest difference of an output in onnxruntime, relative to the largest value of that output."""


@dataclasses.dataclass(frozen=True)
class OnnxReport:
    """What was written and checked.

    Attributes:
        weights: values in tensors of two and more dimensions.
        zeros: how many of them are zero; the same number as in the network.
        bytes: of the file.
        largest_difference: of an output in onnxruntime from the network's, relative to that output's largest value.
    """

    weights: int
    zeros: int
    bytes: int
    largest_difference: float


def export_onnx(
    network: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    *,
    outputs: Sequence[str],
) -> OnnxReport:
    """Write a network to an ONNX file and check it: every weight is there bit for bit, and the outputs agree.

    Batch norms stay nodes of their own, so that no weight is changed. The file is renamed into place after the checks.

    Args:
        network: in evaluation mode; its forward takes one image batch (N, 3, H, W), returns a tuple of tensors.
        example: a batch to trace and to compare with; other N, H and W are allowed in the file.
        path: the file.
        outputs: names of the outputs.

    Raises:
        ConfigError: onnx or onnxruntime is not installed.
        RunError: the file cannot be written, or the check fails.
    """
    onnx, runtime = _module("onnx"), _module("onnxruntime")
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    with atomic_path(path) as temporary:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter by tracing: the newer one needs a further package and renames the weights.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (example,),
                str(temporary),
                input_names=["image"],
                output_names=list(outputs),
                dynamic_axes=axes,
                do_constant_folding=False,
                dynamo=False,
            )
            expected = network(example)
        weights, zeros = _check_weights(network, onnx.load(str(temporary)), path)
        session = runtime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = session.run(list(outputs), {"image": example.numpy()})
        difference = _largest_difference(expected, found)
        if not difference <= TOLERANCE:
            raise RunError(
                f"{path}: onnxruntime computes other outputs (difference {difference:.2g}); please report this."
            )
        size = Path(temporary).stat().st_size
    return OnnxReport(weights, zeros, size, difference)


def _check_weights(
    network: nn.Module, content: Any, path: str | os.PathLike[str]
) -> tuple[int, int]:
    """Return (weights, zeros) after comparing every weight of two and more dimensions bit for bit."""
    stored = _initializers(content)
    weights = zeros = 0
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2:
            continue
        value = parameter.detach().numpy()
        if name not in stored or not np.array_equal(stored[name], value, equal_nan=True):
            raise RunError(f"{path}: the exporter changed {name}; please report this.")
        weights += value.size
        zeros += value.size - int(np.count_nonzero(value))
    return weights, zeros


def _initializers(content: Any) -> Mapping[str, Any]:
    to_array = _module("onnx.numpy_helper").to_array
    return {tensor.name: to_array(tensor) for tensor in content.graph.initializer}


def _largest_difference(expected: Sequence[Tensor], found: Sequence[Any]) -> float:
    largest = 0.0
    for tensor, array in zip(expected, found, strict=True):
        value = tensor.numpy()
        scale = float(np.abs(value).max()) or 1.0
        largest = max(largest, float(np.abs(value - array).max()) / scale)
    return largest


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"ONNX export needs {name}; install it with pip install 'lth_det[export]'."
        ) from error
