import numpy as np
import pytest

from lth_det.errors import ScopeError
from lth_det.pruning import threshold as module
from lth_det.pruning.threshold import kth_largest


class Stream:
    def __init__(self, values, sample=None, piece=1000):
        self.values = np.asarray(values, np.int32)
        self.passes = 0
        self._sample = self.values[::7] if sample is None else np.asarray(sample, np.int32)
        self._piece = piece

    @property
    def count(self):
        return self.values.size

    def read(self):
        self.passes += 1
        for start in range(0, self.values.size, self._piece):
            yield self.values[start : start + self._piece]

    def sample(self):
        return self._sample


@pytest.fixture
def small_limits(monkeypatch):
    """Make the paths of large inputs run on small ones."""
    monkeypatch.setattr(module, "_SAMPLE_FROM", 10)
    monkeypatch.setattr(module, "_GATHER_LIMIT", 16)


def check(stream, k):
    found = kth_largest(stream, k)
    ordered = np.sort(stream.values)[::-1]
    assert found.key == ordered[k - 1]
    assert found.ties_kept == k - np.count_nonzero(stream.values > ordered[k - 1])
    assert 1 <= found.ties_kept <= np.count_nonzero(stream.values == ordered[k - 1])


def values(kind):
    generator = np.random.default_rng(1)
    return {
        "wide": generator.integers(-(2**31), 2**31, 5000),
        "ends": generator.choice([-(2**31), -1, 0, 2**31 - 1], 5000),
        "narrow": generator.integers(2**20, 2**20 + 300, 5000),
        "equal": np.full(5000, 123),
        "largest": np.full(5000, 2**31 - 1),
        "smallest": np.full(5000, -(2**31)),
    }[kind]


@pytest.mark.parametrize("kind", ["wide", "ends", "narrow", "equal", "largest", "smallest"])
@pytest.mark.parametrize("k", [1, 2, 1000, 2500, 4999, 5000])
@pytest.mark.parametrize("sample", [None, [-(2**31)], [2**31 - 1], [], [5, -(2**30)] * 50])
def test_any_sample_gives_the_exact_threshold(small_limits, kind, k, sample):
    check(Stream(values(kind), sample), k)


@pytest.mark.parametrize("value", [2498, 2499, 2500, 2501, 2502])
def test_a_bracket_that_misses_by_one(small_limits, value):
    check(Stream(np.arange(5000), [value] * 100), 2500)


@pytest.mark.parametrize("k", [1, 17, 5000])
def test_small_streams_need_one_pass(k):
    stream = Stream(values("wide"))
    check(stream, k)
    assert stream.passes == 1


def test_a_good_sample_ends_the_search_in_one_pass():
    stream = Stream(np.random.default_rng(2).integers(0, 2**31, 1_200_000), piece=65536)
    check(stream, 240_000)
    assert stream.passes == 1


def test_without_a_sample_three_passes_are_enough(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE_FROM", 10**9)
    stream = Stream(np.random.default_rng(2).integers(0, 2**31, 400_000), piece=65536)
    check(stream, 80_000)
    assert stream.passes <= 3


def test_a_stream_that_is_never_the_same_ends_in_an_error(small_limits):
    class Fickle(Stream):
        def read(self):
            self.passes += 1
            # Above every range, then below it, and so on.
            yield np.full(100, 2**30 if self.passes % 2 else -(2**30), np.int32)

    with pytest.raises(ScopeError, match="change from one reading to the next"):
        kth_largest(Fickle(np.zeros(100), [0] * 100), 50)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_k_must_be_a_rank(k):
    with pytest.raises(ValueError, match="k must be in 1 to 5"):
        kth_largest(Stream([1, 2, 3, 4, 5]), k)
