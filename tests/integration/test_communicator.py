"""Masks that differ between processes are told, with the ranks."""

import pytest
from detectron2.utils import comm

from lth_det.d2.communicator import Processes
from lth_det.errors import RunError

pytestmark = pytest.mark.d2


@pytest.fixture
def three(monkeypatch):
    """Return this process as rank 1 of three, of which rank 0 holds "a"."""
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(comm, "all_gather", lambda same: [True, same, True])
    monkeypatch.setattr(Processes, "broadcast", lambda self, value: b"a")
    return Processes()


def test_equal_texts_agree(three):
    three.agree("a", "The mask of round_01")


@pytest.mark.parametrize("value", ["b", "ab", ""])
def test_texts_that_differ_are_told_with_their_ranks(three, value):
    words = r"The mask of round_01 differs between processes \(ranks 1 against rank 0\)"
    with pytest.raises(RunError, match=words):
        three.agree(value, "The mask of round_01")
