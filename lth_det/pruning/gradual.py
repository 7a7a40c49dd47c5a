"""Prune in many small steps without training in between, scoring anew each time."""

from collections.abc import Mapping

import torch
from torch import nn

from lth_det.errors import ConfigError, ScopeError
from lth_det.pruning.allocation import Allocation
from lth_det.pruning.criteria import Criterion
from lth_det.pruning.prune import prune
from lth_det.tickets.apply import apply_mask_
from lth_det.tickets.differences import list_names
from lth_det.tickets.mask import Mask


def prune_gradually(
    model: nn.Module,
    *,
    table_groups: Mapping[str, str],
    criterion: Criterion,
    allocation: Allocation,
    density: float,
    steps: int = 100,
) -> Mask:
    """Return the mask after ``steps`` prunings whose densities fall to ``density`` in equal ratios.

    Step k keeps density^(k / steps), scored on the model with the mask of the step before (SynFlow, Tanaka et al.
    2020, arXiv 2006.05467, algorithm 1, 100 steps; for SNIP de Jorge et al. 2021, arXiv 2006.09081). The model's
    weights are as before when this returns.

    Args:
        model: The model.
        table_groups: Prunable parameter of the model -> module group; exactly these are pruned, in this order.
        criterion: Scores the model's parameters, such as ``SynFlowCriterion(model, loss_fn)``.
        allocation: How each step's density is shared over scopes.
        density: Kept / prunable weights at the end, in 0-1.
        steps: Number of prunings.

    Raises:
        ConfigError: ``steps`` is less than 1.
        ScopeError: a name is not a parameter of the model; or as :func:`lth_det.pruning.prune.prune`.
    """
    if steps < 1:
        raise ConfigError(f"Pruning gradually needs at least one step, not {steps}.")
    parameters = dict(model.named_parameters())
    unknown = [name for name in table_groups if name not in parameters]
    if unknown:
        raise ScopeError(f"The model has no parameter {list_names(unknown)}.")
    weights = {name: parameters[name] for name in table_groups}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    mask = Mask.ones_like(weights)
    try:
        for step in range(1, steps + 1):
            mask = prune(
                weights,
                table_groups=table_groups,
                criterion=criterion,
                allocation=allocation,
                density=density ** (step / steps) if step < steps else density,
                previous=mask,
            )
            apply_mask_(weights, mask)
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])
    return mask
