"""The keys of the methods as plans, and the configuration of an RST transformation."""

from pathlib import Path
from typing import Any

from lth_det.d2.config_methods import OF_PRESET
from lth_det.d2.plan import stretch_schedule
from lth_det.d2.setup_cfg import merge_options
from lth_det.errors import ConfigError
from lth_det.experiments.early_bird import EarlyBirdPlan
from lth_det.experiments.gradual_run import GradualPlan
from lth_det.experiments.rst_plan import RstPlan
from lth_det.experiments.snapshot import load_snapshot
from lth_det.pruning.rst import RstSchedule
from lth_det.tickets.serialization import load_ticket, ticket_sha256, weights_sha256

# The published code: 10,000 increments of 1e-4, one each 5 iterations (one each iteration in the iterative commands), then
# 40,000 (10,000) iterations at the ceiling; SGD at a constant 1e-3.
_PAPER_ITERATIONS = {True: 90_000, False: 20_000}  # by "is one-shot"
_PAPER_LEARNING_RATE = 1e-3
_RAMP, _HOLD = 5 / 9, 4 / 9


def transform_iterations(cfg: Any) -> int:
    """Return the iterations that one cycle's schedule is a share of."""
    rst = cfg.LTH.RST
    if rst.TRANSFORM_ITERS:
        return int(rst.TRANSFORM_ITERS)
    if rst.PRESET == "paper":
        return _PAPER_ITERATIONS[rst.CYCLES == 1]
    return max(1, int(cfg.SOLVER.MAX_ITER) // int(rst.CYCLES))


def rst_schedule(cfg: Any) -> RstSchedule:
    """Return the schedule of the penalty in one cycle.

    Raises:
        ConfigError: ramp, hold, ceiling, interval or power is out of range.
    """
    rst = cfg.LTH.RST
    paper, one_shot = rst.PRESET == "paper", rst.CYCLES == 1
    ramp, hold = (0.5, 0.5) if paper and not one_shot else (_RAMP, _HOLD)
    if rst.RAMP != OF_PRESET:
        ramp, hold = rst.RAMP, rst.HOLD
    ceiling = rst.CEILING
    if ceiling == OF_PRESET:
        ceiling = 0.1 if is_decoupled(rst) else 1.0
    if is_decoupled(rst) and ceiling > 1:
        raise ConfigError(
            f"LTH.RST.CEILING is {ceiling}, but a decoupled penalty takes at most the whole weight away; choose at most 1."
        )
    try:
        shares = RstSchedule.of_fraction(
            transform_iterations(cfg), ramp=ramp, hold=hold, ceiling=ceiling
        )
        return RstSchedule(
            ramp=shares.ramp,
            hold=shares.hold,
            ceiling=ceiling,
            interval=rst.INTERVAL or (min(5, shares.ramp) if paper and one_shot else 1),
            power=rst.POWER,
        )
    except ConfigError as error:
        raise ConfigError(f"LTH.RST: {error}") from error


def is_decoupled(rst: Any) -> bool:
    """Return the kind of penalty, by the key or by the preset."""
    return bool(rst.PENALTY == "decoupled" or (rst.PENALTY == "" and rst.PRESET == "budget"))


def rst_plan(cfg: Any) -> RstPlan:
    """Return the transformation that ``cfg.LTH.RST`` describes.

    Raises:
        ConfigError: a value is out of range.
        TicketFormatError: ``MASK_TICKET`` is no ticket.
    """
    rst = cfg.LTH.RST
    ratios = "published" if rst.MASK == "uniform" and rst.PRESET == "paper" else rst.MASK
    return RstPlan(
        ratios=ratios,
        ratio_mask=load_ticket(rst.MASK_TICKET).mask if ratios == "ticket" else None,
        start=Path(rst.START) if rst.START else None,
        cycles=rst.CYCLES,
        schedule=rst_schedule(cfg),
        decoupled=is_decoupled(rst),
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
    length = rst_schedule(cfg).iterations
    rate = rst.LEARNING_RATE
    if rate == OF_PRESET:
        rate = _PAPER_LEARNING_RATE if rst.PRESET == "paper" else 0.0
    solver = copy.SOLVER
    if rst.PRESET == "paper":
        copy.LTH.OPTIMIZER = "SGD"
        solver.MOMENTUM = 0.9
    if rate:
        solver.BASE_LR = rate
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
