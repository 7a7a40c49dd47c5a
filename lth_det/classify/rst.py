"""Random sparse network transformation of a classifier: its section of the configuration as a plan."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lth_det.classify.config import ClassifyConfig, SolverConfig
from lth_det.experiments.plan import ImpPlan
from lth_det.experiments.rst_plan import RstPlan
from lth_det.experiments.rst_presets import PAPER_MOMENTUM, RstOptions
from lth_det.tickets.serialization import load_ticket, ticket_sha256

_PAPER_BATCH_SIZE = 64


def rst_options(config: ClassifyConfig) -> RstOptions:
    """Return the section ``rst`` as the presets take it."""
    rst = config.rst
    return RstOptions(
        preset=rst.preset,
        mask=rst.mask,
        cycles=rst.cycles,
        transform_iterations=rst.transform_iter,
        ramp=rst.ramp,
        hold=rst.hold,
        penalty=rst.penalty,
        ceiling=rst.ceiling,
        power=rst.power,
        interval=rst.interval,
        learning_rate=rst.learning_rate,
    )


def rst_plan(config: ClassifyConfig, *, total: int) -> RstPlan:
    """Return the transformation that the section ``rst`` describes.

    Args:
        config: the configuration.
        total: steps of an ordinary training.

    Raises:
        ConfigError: ramp, hold, ceiling, interval or power is out of range.
        TicketFormatError: ``rst.mask_ticket`` is no ticket.
    """
    rst, options = config.rst, rst_options(config)
    return RstPlan(
        ratios=options.ratios,
        ratio_mask=load_ticket(rst.mask_ticket).mask if options.ratios == "ticket" else None,
        start=None,  # the initialisation, with model.weights
        cycles=rst.cycles,
        schedule=options.schedule(total),
        decoupled=options.decoupled,
        stop_residual=rst.stop_residual,
        check_period=rst.check_period,
        preset=rst.preset,
    )


def without_rewinding(plan: ImpPlan) -> ImpPlan:
    """Return the plan of a run whose ticket has the weights that the transformation ended with."""
    return dataclasses.replace(plan, rewind_to="final", rewind_iteration=0)


def transform_solver(config: ClassifyConfig) -> SolverConfig:
    """Return how a transformation is trained; its length is that of the penalty's schedule.

    With ``paper`` SGD with momentum 0.9, a constant 1e-3 and batches of 64, as the code of Bai et al. (2022); weight decay
    is that of the fine-tuning there too.
    """
    options, solver = rst_options(config), config.solver
    size = config.rst.batch_size
    if options.is_paper:
        solver = dataclasses.replace(solver, optimizer="sgd", momentum=PAPER_MOMENTUM)
        size = size or _PAPER_BATCH_SIZE
    if options.constant_rate:
        solver = dataclasses.replace(
            solver, lr=options.constant_rate, schedule="step", steps=(), warmup=0.0
        )
    return dataclasses.replace(solver, batch_size=size or solver.batch_size)


def method_identity(config: ClassifyConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's flat settings without those of a method that it does not use, and files by their content.

    So a run from before there was the section ``rst`` goes on.
    """
    if config.method == "imp":
        return {
            key: value
            for key, value in settings.items()
            if key != "method" and not key.startswith("rst.")
        }
    found = dict(settings)
    if config.rst.mask_ticket:
        found["rst.mask_ticket"] = ticket_sha256(load_ticket(config.rst.mask_ticket))
    return found
