"""What the presets of RST fill in; the numbers are those of the paper's code."""

import dataclasses

import pytest

from lth_det.errors import ConfigError
from lth_det.experiments.rst_presets import OF_PRESET, RstOptions

OPEN = RstOptions(
    preset="paper",
    mask="uniform",
    cycles=1,
    transform_iterations=0,
    ramp=OF_PRESET,
    hold=OF_PRESET,
    penalty="",
    ceiling=OF_PRESET,
    power=1.0,
    interval=0,
    learning_rate=OF_PRESET,
)


def with_(**changes):
    return dataclasses.replace(OPEN, **changes)


def test_the_paper():
    one = OPEN.schedule(7)
    assert (one.ramp, one.hold, one.interval, one.ceiling) == (50_000, 40_000, 5, 1.0)
    assert one.strength(0) == pytest.approx(1e-4)
    assert one.strength(5) == pytest.approx(2e-4)
    five = with_(cycles=5).schedule(7)
    assert (five.ramp, five.hold, five.interval) == (10_000, 10_000, 1)
    assert (OPEN.decoupled, OPEN.ratios, OPEN.constant_rate) == (False, "published", 1e-3)


def test_the_budget_is_that_of_a_dense_training():
    budget = with_(preset="budget", cycles=2)
    assert budget.schedule(90).iterations == 45
    assert budget.schedule(90).ceiling == 0.1
    assert (budget.decoupled, budget.ratios, budget.constant_rate) == (True, "uniform", 0.0)


def test_a_given_value_wins_over_the_preset():
    own = with_(
        transform_iterations=12, ramp=0.5, hold=0.25, ceiling=2.0, interval=3, learning_rate=0.0
    )
    schedule = own.schedule(7)
    assert (schedule.ramp, schedule.hold, schedule.interval) == (6, 3, 3)
    assert (schedule.ceiling, own.constant_rate) == (2.0, 0.0)
    assert with_(penalty="decoupled").schedule(7).ceiling == 0.1
    with pytest.raises(ConfigError, match="whole weight"):
        with_(penalty="decoupled", ceiling=1.5).schedule(7)
