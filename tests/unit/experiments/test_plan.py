import dataclasses

import pytest
from test_imp import PLAN

from lth_det.errors import ConfigError
from lth_det.experiments.plan import round_prune_rates


def test_rounds_keep_equal_shares_and_meet_the_final_rate_exactly():
    rates = round_prune_rates(rounds=3, prune_rate=0.8)
    assert rates == pytest.approx((1 - 0.2 ** (1 / 3), 1 - 0.2 ** (2 / 3), 0.8))
    assert rates[-1] == 0.8


def test_rate_per_round_is_of_the_survivors():
    assert round_prune_rates(rounds=3, prune_rate=0.9, per_round=0.2) == pytest.approx(
        (0.2, 0.36, 0.488)
    )


def test_targets_win():
    assert round_prune_rates(rounds=9, prune_rate=0.1, per_round=0.2, targets=(0.3, 0.6)) == (
        0.3,
        0.6,
    )


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_rates_outside_the_range_are_refused(rate):
    with pytest.raises(ConfigError, match="outside"):
        round_prune_rates(rounds=2, prune_rate=rate)


def test_a_group_with_its_own_rate_keeps_pace_with_the_others():
    plan = dataclasses.replace(PLAN, prune_rates=(0.5, 0.75), group_prune_rates={"fpn": 0.36})
    assert plan.group_rate("fpn", 1) == pytest.approx(0.2)
    assert plan.group_rate("fpn", 2) == pytest.approx(0.36)


def test_a_group_with_its_own_rate_follows_uneven_steps_of_the_others():
    plan = dataclasses.replace(PLAN, prune_rates=(0.1, 0.19, 0.9), group_prune_rates={"fpn": 0.5})
    # 0.9 = 0.1^e with e = 0.0458, so the group keeps 0.5^e; the second round keeps the square of that.
    assert plan.group_rate("fpn", 1) == pytest.approx(1 - 0.5**0.0457575, abs=1e-6)
    assert plan.group_rate("fpn", 2) == pytest.approx(1 - 0.5**0.0915150, abs=1e-6)
    assert plan.group_rate("fpn", 3) == pytest.approx(0.5)


def test_a_group_with_its_own_rate_in_an_otherwise_dense_network():
    plan = dataclasses.replace(PLAN, prune_rates=(0.0, 0.0), group_prune_rates={"fpn": 0.36})
    assert plan.group_rate("fpn", 1) == pytest.approx(0.2)
    assert plan.group_rate("fpn", 2) == pytest.approx(0.36)
