import json

import pytest

from lth_det.errors import TicketFormatError
from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.table_record import table_from_text, table_to_text

TABLE = ParameterTable(
    [
        ParameterEntry("stem.weight", (4, 3, 2, 2), 48, "stem", False, True, "frozen"),
        ParameterEntry("fc.weight", (2, 4), 8, "box_head", True, False),
        ParameterEntry("scale", (), 1, "other", False, False, "not the weight of a layer"),
    ]
)


def test_a_table_comes_back_as_it_was():
    assert list(table_from_text(table_to_text(TABLE))) == list(TABLE)


def test_text_is_one_short_line():
    text = table_to_text(TABLE)
    assert "\n" not in text
    assert len(text) < 80 * len(TABLE)


GOOD = ["fc.weight", [2, 4], "box_head", True, False, ""]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "3",
        "[3]",
        json.dumps([GOOD[:5]]),
        json.dumps([[*GOOD, 1]]),
        json.dumps([[1, *GOOD[1:]]]),
        json.dumps([["fc.weight", [2, -4], *GOOD[2:]]]),
        json.dumps([["fc.weight", [2, 4.0], *GOOD[2:]]]),
        json.dumps([["fc.weight", [2, True], *GOOD[2:]]]),
        json.dumps([[*GOOD[:3], 1, *GOOD[4:]]]),
        json.dumps([GOOD, GOOD]),
    ],
)
def test_damaged_text_is_refused(text):
    with pytest.raises(TicketFormatError, match="parameter table of the ticket"):
        table_from_text(text)
