"""Optimizer and learning-rate schedule of a stage."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from lth_det.classify.config import SolverConfig


def build_optimizer(
    solver: SolverConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the configured optimizer over ``parameters``."""
    if solver.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=solver.lr, weight_decay=solver.weight_decay)
    return torch.optim.SGD(
        parameters, lr=solver.lr, momentum=solver.momentum, weight_decay=solver.weight_decay
    )


def learning_rate(solver: SolverConfig, iteration: int, total: int) -> float:
    """Return the learning rate of step ``iteration`` (from 0) of ``total``.

    Example:
        >>> solver = SolverConfig(lr=0.1, schedule="step", steps=(0.5,), gamma=0.1)
        >>> [round(learning_rate(solver, step, 4), 6) for step in range(4)]
        [0.1, 0.1, 0.01, 0.01]
    """
    progress = iteration / total
    if solver.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        # Counted in steps: 1 / 3 of 90 passes must not be missed by a rounding of the division.
        passed = sum(iteration >= round(step * total) for step in solver.steps)
        factor = solver.gamma**passed
    if progress < solver.warmup:
        share = progress / solver.warmup
        factor *= solver.warmup_factor * (1 - share) + share
    return solver.lr * factor


def total_iterations(solver: SolverConfig, images: int) -> int:
    """Return the steps of a whole schedule over ``images`` training images (at least 1)."""
    if solver.max_iter:
        return solver.max_iter
    return max(1, math.ceil(solver.epochs * images / solver.batch_size))
