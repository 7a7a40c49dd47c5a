"""Files of other people that nest deeper than the interpreter recurses, or hold something else, are one sentence."""

import pytest

from lth_det.data.voc import write_voc
from lth_det.errors import LthDetError, TicketFormatError
from lth_det.tickets.table_record import table_from_text
from lth_det.transfer.inputs import REQUIRED_KEY, required_options_of

DEEP = "[" * 200_000 + "]" * 200_000


def test_the_table_of_a_ticket():
    with pytest.raises(TicketFormatError):
        table_from_text(DEEP)


@pytest.mark.parametrize("text", [DEEP, "{", "3", '["ab", 1]', '[["K", 1, 2]]', "[null]"])
def test_the_options_that_a_ticket_demands(text):
    with pytest.raises(TicketFormatError, match="required_options"):
        required_options_of({REQUIRED_KEY: text})


def test_options_that_are_pairs():
    assert required_options_of({REQUIRED_KEY: '[["INPUT.FORMAT", "RGB"]]'}) == [
        ("INPUT.FORMAT", "RGB")
    ]
    assert required_options_of({}) == []


def test_annotations_for_voc(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text(DEEP)
    with pytest.raises(LthDetError, match=r"deep\.json"):
        write_voc(path, tmp_path, tmp_path / "voc", split="train")
