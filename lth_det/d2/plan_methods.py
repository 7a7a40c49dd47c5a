"""The keys of the methods as plans, and the configuration of an RST transformation."""

from pathlib import Path
from typing import Any

from lth_det.d2.plan import stretch_schedule
from lth_det.d2.setup_cfg import merge_options
from lth_det.errors import ConfigError
from lth_det.experiments.early_bird import EarlyBirdPlan
from lth_det.experiments.gradual_run import GradualPlan
from lth_det.experiments.rst_plan import RstPlan
from lth_det.experiments.rst_presets import PAPER_MOMENTUM, RstOptions
from lth_det.experiments.snapshot import load_snapshot
from lth_det.tickets.serialization import load_ticket, ticket_sha256, weights_sha256


def rst_options(cfg: Any) -> RstOptions:
    """Return ``cfg.LTH.RST`` as the presets take it."""
    rst = cfg.LTH.RST
    return RstOptions(
        preset=rst.PRESET,
        mask=rst.MASK,
        cycles=int(rst.CYCLES),
        transform_iterations=int(rst.TRANSFORM_ITERS),
        ramp=rst.RAMP,
        hold=rst.HOLD,
        penalty=rst.PENALTY,
        ceiling=rst.CEILING,
        power=rst.POWER,
        interval=int(rst.INTERVAL),
        learning_rate=rst.LEARNING_RATE,
    )


def rst_plan(cfg: Any) -> RstPlan:
    """Return the transformation that ``cfg.LTH.RST`` describes.

    Raises:
        ConfigError: a value is out of range.
        TicketFormatError: ``MASK_TICKET`` is no ticket.
    """
    rst = cfg.LTH.RST
    options = rst_options(cfg)
    return RstPlan(
        ratios=options.ratios,
        ratio_mask=load_ticket(rst.MASK_TICKET).mask if options.ratios == "ticket" else None,
        start=Path(rst.START) if rst.START else None,
        cycles=rst.CYCLES,
        schedule=options.schedule(int(cfg.SOLVER.MAX_ITER)),
        decoupled=options.decoupled,
        stop_residual=rst.STOP_RESIDUAL,
        check_period=rst.CHECK_PERIOD,
        preset=rst.PRESET,
    )


def gradual_plan(cfg: Any) -> GradualPlan:
    """Return the curve that ``cfg.LTH.GRADUAL`` describes."""
    gradual = cfg.LTH.GRADUAL
    return GradualPlan(
        begin=gradual.BEGIN, end=gradual.END, period=gradual.PERIOD, initial=gradual.INITIAL
    )


def early_bird_plan(cfg: Any) -> EarlyBirdPlan:
    """Return what ``cfg.LTH.EARLY_BIRD`` asks to record."""
    early = cfg.LTH.EARLY_BIRD
    return EarlyBirdPlan(
        period=early.PERIOD,
        prune_rate=early.PRUNE_RATE or None,
        patience=early.PATIENCE,
        threshold=early.THRESHOLD,
        stop=early.STOP,
    )


def check_methods(cfg: Any) -> None:
    """Look at what the method of a run needs before anything is written.

    Raises:
        ConfigError: a schedule or an option of the transformation is wrong.
        RunError: ``LTH.RST.START`` is no rewind snapshot.
        TicketFormatError: ``LTH.RST.MASK_TICKET`` is no ticket.
    """
    if cfg.LTH.ENABLED and cfg.LTH.METHOD == "rst":
        plan = rst_plan(cfg)
        transform_cfg(cfg)
        if plan.start is not None:
            load_snapshot(plan.start)


def method_contents(cfg: Any) -> dict[str, str]:
    """Return the settings of a run that name files, by the content of these files."""
    if cfg.LTH.METHOD != "rst":
        return {}
    rst, contents = cfg.LTH.RST, {}
    if rst.MASK_TICKET:
        contents["LTH.RST.MASK_TICKET"] = ticket_sha256(load_ticket(rst.MASK_TICKET))
    if rst.START:
        contents["LTH.RST.START"] = weights_sha256(load_snapshot(Path(rst.START)))
    return contents


def transform_cfg(cfg: Any) -> Any:
    """Return a copy of the configuration for one cycle's transformation, not frozen.

    Length and learning rates follow ``LTH.RST``; then ``TRANSFORM_OPTS`` are merged in, except that the length is that of
    the penalty's schedule.

    Raises:
        ConfigError: an option of ``TRANSFORM_OPTS`` is unknown, has the wrong type, or would change the length.
    """
    rst = cfg.LTH.RST
    copy = cfg.clone()
    copy.defrost()
    options = rst_options(cfg)
    length = options.schedule(int(cfg.SOLVER.MAX_ITER)).iterations
    solver = copy.SOLVER
    if options.is_paper:
        copy.LTH.OPTIMIZER = "SGD"
        solver.MOMENTUM = PAPER_MOMENTUM
    if options.constant_rate:
        solver.BASE_LR = options.constant_rate
        solver.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
        solver.STEPS, solver.WARMUP_FACTOR = (), 1.0
    stretch_schedule(copy, length)
    try:
        merge_options(copy, list(rst.TRANSFORM_OPTS))
    except ConfigError as error:
        raise ConfigError(f"LTH.RST.TRANSFORM_OPTS: {error}") from error
    if length != copy.SOLVER.MAX_ITER:
        raise ConfigError(
            "LTH.RST.TRANSFORM_OPTS sets SOLVER.MAX_ITER; the length is that of LTH.RST.TRANSFORM_ITERS."
        )
    return copy
