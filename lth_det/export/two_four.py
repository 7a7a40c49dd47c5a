"""2:4 sparsity: of every four weights in a row two are zero, the pattern that GPUs since Ampere multiply faster.

PyTorch's kernels for it exist for matrices only (linear layers; in a Mask R-CNN the two of the box head, a third of its
parameters), in half precision, on CUDA devices of compute capability 8.0 and later. Convolutions gain nothing.
Mishra et al., "Accelerating sparse deep neural networks", 2021 (arXiv 2104.08378).
"""

import torch
from torch import Tensor, nn

from lth_det.errors import ConfigError, ScopeError

GROUP, KEPT = 4, 2


def two_four_mask(weight: Tensor) -> Tensor:
    """Return the mask that keeps the two largest magnitudes of every four neighbours along the inputs.

    Args:
        weight: (outputs, inputs), floating point, without NaN.

    Returns:
        A bool tensor of the same shape with exactly half of the elements true. Ties: the earlier element is kept.

    Raises:
        ScopeError: the number of inputs is no multiple of 4, the weight is no matrix, or it holds NaN.

    >>> two_four_mask(torch.tensor([[1.0, -3.0, 2.0, 0.0, 5.0, 5.0, 5.0, 5.0]])).int().tolist()
    [[0, 1, 1, 0, 1, 1, 0, 0]]
    """
    if weight.ndim != 2 or weight.shape[1] % GROUP:
        raise ScopeError(
            f"2:4 sparsity needs a matrix whose inputs are a multiple of 4, not shape {tuple(weight.shape)}."
        )
    if bool(weight.isnan().any()):
        raise ScopeError("2:4 sparsity of a weight that holds NaN is not defined.")
    groups = weight.detach().abs().reshape(-1, GROUP)
    order = groups.sort(dim=1, descending=True, stable=True).indices[:, :KEPT]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order, True)
    return mask.reshape(weight.shape)


@torch.no_grad()
def project_two_four_(layer: nn.Linear) -> float:
    """Set the weights of a linear layer that a 2:4 mask prunes to zero; return the share of its squared norm that goes.

    Raises:
        ScopeError: see :func:`two_four_mask`.
    """
    pruned = two_four_mask(layer.weight).logical_not_()
    before = float(layer.weight.double().square().sum())
    lost = float(layer.weight[pruned].double().square().sum())
    layer.weight.masked_fill_(pruned, 0.0)
    return lost / before if before else 0.0


def semi_structured_problem(layer: nn.Linear) -> str:
    """Return why PyTorch's 2:4 kernels cannot run this layer here, "" if they can.

    cuSPARSELt takes half-precision matrices whose sides are multiples of 16 and 16, CUTLASS 32 and 64; we ask for the
    wider.
    """
    weight = layer.weight
    if not weight.is_cuda:
        return "the weights are not on a CUDA device"
    if torch.cuda.get_device_capability(weight.device) < (8, 0):
        return "the GPU is older than compute capability 8.0"
    if weight.dtype not in (torch.float16, torch.bfloat16):
        return f"the kernels need float16 or bfloat16, not {weight.dtype}"
    if weight.shape[0] % 32 or weight.shape[1] % 64:
        return f"the sides {tuple(weight.shape)} are no multiples of 32 and 64"
    return ""


def to_semi_structured_(layer: nn.Linear) -> None:
    """Store the weight of a projected layer so that PyTorch multiplies it with 2:4 kernels (inference only).

    Raises:
        ConfigError: the kernels cannot run this layer here; the sentence says why.
        ScopeError: the weight is not 2:4 sparse.
    """
    problem = semi_structured_problem(layer)
    if problem:
        raise ConfigError(f"2:4 kernels cannot be used: {problem}.")
    groups = layer.weight.detach().reshape(-1, GROUP)
    if int((groups != 0).sum(dim=1).max()) > KEPT:
        raise ScopeError("The weight is not 2:4 sparse; project it first.")
    dense = layer.weight.detach()
    layer.weight = nn.Parameter(torch.sparse.to_sparse_semi_structured(dense), requires_grad=False)
