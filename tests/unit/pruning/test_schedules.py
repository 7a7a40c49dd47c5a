import pytest

from lth_det.errors import ConfigError
from lth_det.pruning import CubicSchedule, GeometricSchedule, OneShotSchedule, TargetsSchedule


def rates(schedule):
    return [schedule.prune_rate(n) for n in range(schedule.rounds + 1)]


def test_twenty_percent_per_round():
    expected = [0, 0.2, 0.36, 0.488, 0.5904, 0.67232]
    assert rates(GeometricSchedule(0.2, rounds=5)) == pytest.approx(expected, abs=1e-12)


def test_geometric_to_a_target_ends_there():
    schedule = GeometricSchedule.to_target(0.8, rounds=4)
    assert schedule.prune_rate(4) == pytest.approx(0.8, abs=1e-12)
    assert schedule.prune_rate(2) == pytest.approx(1 - 0.2**0.5)
    assert GeometricSchedule.to_target(0.8, rounds=1).prune_rate(1) == pytest.approx(0.8)
    assert rates(GeometricSchedule.to_target(1.0, rounds=2)) == [0, 1, 1]


def test_one_shot_is_one_round():
    assert rates(OneShotSchedule(0.9)) == [0, 0.9]


def test_targets_are_taken_as_given():
    assert rates(TargetsSchedule([0.5, 0.5, 0.9])) == [0, 0.5, 0.5, 0.9]


def test_cubic_values():
    schedule = CubicSchedule(final=0.8, initial=0.2, begin=0.25, end=0.75)
    values = [schedule.prune_rate_at(p) for p in (0, 0.24, 0.25, 0.5, 0.75, 1)]
    assert values == pytest.approx([0, 0, 0.2, 0.8 - 0.6 * 0.125, 0.8, 0.8])


def test_cubic_never_falls():
    schedule = CubicSchedule(final=0.9, begin=0.1, end=0.6)
    values = [schedule.prune_rate_at(n / 1000) for n in range(1001)]
    assert values == sorted(values)
    assert values[-1] == 0.9


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GeometricSchedule(1.2), "per round must be in 0 to 1"),
        (lambda: GeometricSchedule(0.2, rounds=0), "at least one pruning round"),
        (lambda: GeometricSchedule.to_target(0.5, rounds=0), "at least one pruning round"),
        (lambda: GeometricSchedule.to_target(-0.5, rounds=1), "must be in 0 to 1"),
        (lambda: OneShotSchedule(float("nan")), "must be in 0 to 1"),
        (lambda: TargetsSchedule([]), "at least one pruning round"),
        (lambda: TargetsSchedule([0.5, 0.4]), r"must not fall .*\[0\.5, 0\.4\]"),
        (lambda: TargetsSchedule([1.5]), "must be in 0 to 1"),
        (lambda: CubicSchedule(final=1.5), "must be in 0 to 1"),
        (lambda: CubicSchedule(final=0.5, initial=0.6), "initial prune rate"),
        (lambda: CubicSchedule(final=0.5, begin=0.5, end=0.5), "begin and end"),
        (lambda: OneShotSchedule(0.5).prune_rate(2), "rounds 0 to 1, not 2"),
        (lambda: GeometricSchedule(0.5).prune_rate(-1), "rounds 0 to 1, not -1"),
        (lambda: TargetsSchedule([0.5]).prune_rate(2), "rounds 0 to 1, not 2"),
    ],
)
def test_bad_values_are_named(make, match):
    with pytest.raises(ConfigError, match=match):
        make()
