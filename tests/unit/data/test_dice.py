import numpy as np
import pytest

from lth_det.data.shapes.dice import Dice


def test_stream_is_the_upper_53_bits_of_raw_pcg64():
    dice = Dice(3, 1, 4)
    raw = np.random.PCG64(np.random.SeedSequence([3, 1, 4])).random_raw(256)
    expected = [int(word >> np.uint64(11)) / 2**53 for word in raw[::-1]]
    assert [dice.uniform() for _ in range(256)] == expected


def test_values_are_pinned_for_every_numpy():
    dice = Dice(1, 1, 0, 0)
    assert [dice.integer(0, 1000) for _ in range(6)] == [249, 604, 923, 815, 476, 732]
    assert Dice(1, 1, 0, 0).noise((2, 3)).tolist() == [[31, 76, 207], [132, 205, 150]]


def test_keys_give_different_streams():
    assert Dice(1, 2).uniform() != Dice(2, 1).uniform()
    assert Dice(1, 0).uniform() != Dice(1, 1).uniform()


def test_bounds():
    dice = Dice(5)
    draws = [dice.integer(-2, 3) for _ in range(500)]
    assert set(draws) == {-2, -1, 0, 1, 2}
    assert all(2.0 <= dice.uniform(2.0, 2.5) < 2.5 for _ in range(200))
    assert all(10.0 <= dice.log_uniform(10, 1000) < 1000 for _ in range(200))


def test_weighted_follows_the_weights_and_never_picks_zero():
    dice = Dice(7)
    counts = np.bincount(
        [dice.weighted([0.0, 3.0, 0.0, 1.0, 0.0]) for _ in range(4000)], minlength=5
    )
    assert counts[[0, 2, 4]].tolist() == [0, 0, 0]
    assert counts[1] / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9, 3)])
def test_noise_has_the_shape_and_is_bytes(shape):
    noise = Dice(1).noise(shape)
    assert noise.shape == shape
    assert noise.dtype == np.uint8


def test_noise_is_flat():
    assert Dice(2).noise((100, 100)).mean() == pytest.approx(127.5, abs=2.5)
