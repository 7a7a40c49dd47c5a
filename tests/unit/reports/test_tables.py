import csv
import io
import math

import pytest

from lth_det.reports.tables import (
    Column,
    format_cell,
    is_number,
    make_table,
    to_csv,
    to_latex,
    to_markdown,
)

COLUMNS = (Column("model", "model"), Column("AP", "AP", ".1f"), Column("change", "d|elta", "+.2f"))
TABLE = make_table(COLUMNS, [("dense", 55.04, None), ("a|b_c & <i>", 54.0, -1.044)])


@pytest.mark.parametrize(
    ("value", "spec", "printed"),
    [
        (1234567, ",d", "1,234,567"),
        (0.7843, ".1%", "78.4%"),
        (1.0, "+.1f", "+1.0"),
        (None, ".1f", "n/a"),
        (math.nan, ".1f", "n/a"),
        (True, "", "yes"),
        ("dense", ".1f", "dense"),
        (0, "d", "0"),
    ],
)
def test_cells_are_printed_by_the_format_of_their_column(value, spec, printed):
    assert format_cell(value, Column("x", "x", spec)) == printed


def test_truth_values_are_no_numbers():
    assert [is_number(value) for value in (True, 1, 0.5, math.inf, "1")] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_csv_keeps_every_digit_and_leaves_missing_numbers_empty():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows == [
        ["model", "AP", "change"],
        ["dense", "55.04", ""],
        ["a|b_c & <i>", "54.0", "-1.044"],
    ]


def test_markdown_aligns_numbers_and_escapes_separators():
    assert to_markdown(TABLE).splitlines() == [
        "| model | AP | d\\|elta |",
        "| --- | ---: | ---: |",
        "| dense | 55.0 | n/a |",
        "| a\\|b_c & &lt;i> | 54.0 | -1.04 |",
    ]


def test_latex_has_booktabs_rules_and_escapes_special_characters():
    text = to_latex(TABLE, caption="50 % of it", label="tab:x")
    assert r"\begin{tabular}{lrr}" in text
    assert [rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [True] * 3
    assert r"\caption{50 \% of it}" in text
    assert r"a|b\_c \& <i> & 54.0 & -1.04 \\" in text


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        make_table(COLUMNS, [("dense", 1.0)])
