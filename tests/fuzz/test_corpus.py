"""Inputs that fuzzing found, and valid files with changes of fixed seeds, through every reader: none may do harm.

The campaigns are ``fuzz_campaign.py``; what they found is in ``corpus`` under a name that begins with the target's.
"""

import json
from pathlib import Path

import fuzz_mutate
import fuzz_targets
import fuzz_watch
import pytest

from lth_det.errors import LthDetError

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("file", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_once_is_read_or_refused(file):
    target = fuzz_targets.TARGETS[file.stem.split("_")[0]]
    fuzz_watch.check(target.read, file.read_bytes())


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS) < 50_000


@pytest.mark.parametrize("name", ["ticket", "coco", "run"])
def test_valid_files_are_accepted_and_changed_ones_do_no_harm(name):
    target = fuzz_targets.TARGETS[name]
    seeds = target.seeds()
    assert all(fuzz_watch.check(target.read, data) for data in seeds)
    outcomes = [
        fuzz_watch.check(
            target.read, target.change(seeds[number % len(seeds)], fuzz_targets.dice_of(number))
        )
        for number in range(300)
    ]
    assert set(outcomes) == {True, False}


def raising(error):
    def read(data):
        raise error

    return read


def writing(path):
    return lambda data: path.write_bytes(data)


def unpickling(data):
    import pickle

    pickle.loads(b"cbuiltins\nlen\n.")


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (raising(KeyError("x")), "KeyError"),
        (raising(MemoryError()), "MemoryError"),
        (raising(RecursionError()), "RecursionError"),
        (raising(LthDetError("two\nlines")), "not one sentence"),
        (raising(LthDetError("x" * 6000)), "not one sentence"),
        (raising(LthDetError("\ud800")), "cannot be printed"),
        (unpickling, "pickle.find_class"),
    ],
)
def test_the_watch_sees_what_must_not_happen(read, words):
    with pytest.raises(fuzz_watch.FindingError, match=words):
        fuzz_watch.check(read, b"")


def test_the_watch_sees_a_file_that_is_written(tmp_path):
    with pytest.raises(fuzz_watch.FindingError, match="for writing"):
        fuzz_watch.check(writing(tmp_path / "x"), b"")
    with pytest.raises(fuzz_watch.FindingError, match=r"os\.remove"):
        fuzz_watch.check(lambda data: (tmp_path / "x").unlink(), b"")


def test_the_watch_sees_slowness(monkeypatch):
    monkeypatch.setattr(fuzz_watch, "MOST_SECONDS", -1.0)
    with pytest.raises(fuzz_watch.FindingError, match="it took"):
        fuzz_watch.check(lambda data: None, b"")


def test_changes_reach_behind_the_hash_of_a_manifest():
    """Most changed manifests are sealed again: else every one would end at the check of the hash."""
    target = fuzz_targets.TARGETS["ticket"]
    sentences = []
    for number in range(200):
        data = target.change(target.seeds()[0], fuzz_targets.dice_of(number))
        with fuzz_targets.as_file(data) as path:
            try:
                fuzz_targets.load_ticket(path)
            except LthDetError as error:
                sentences.append(str(error))
    assert sum("provenance" in text or "impossible" in text for text in sentences) > 20


def test_mutants_are_made_of_a_copy():
    value = json.loads(fuzz_targets.truth_seeds()[0])
    before = json.dumps(fuzz_mutate.HOSTILE)
    for number in range(200):
        value = fuzz_mutate.change_json(value, fuzz_targets.dice_of(number))
        if not isinstance(value, dict):
            value = json.loads(fuzz_targets.truth_seeds()[0])
    assert json.dumps(fuzz_mutate.HOSTILE) == before
