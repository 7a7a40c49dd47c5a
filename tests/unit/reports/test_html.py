import re

from page_check import EVIL, Tags

from lth_det.reports import html
from lth_det.reports.tables import Column, make_table


def test_text_from_files_never_becomes_markup():
    table = make_table([Column("x", EVIL), Column("y", "y", ".1f")], [(EVIL, 1.0)])
    body = html.join(
        [
            html.paragraph(EVIL, css=EVIL),
            html.note(EVIL),
            html.cards([(EVIL, EVIL, EVIL)]),
            html.definitions([(EVIL, EVIL)]),
            html.table(table, caption=EVIL),
            html.details(EVIL, html.escape(EVIL)),
        ]
    )
    page = html.page(EVIL, EVIL, [html.Section("a", EVIL, body)], footer=EVIL)
    assert "<script>alert" not in page
    assert Tags(page).names.count("script") == 1


def test_numbers_sort_by_their_unrounded_value_and_missing_ones_are_marked():
    table = make_table([Column("x", "x", "+.1f")], [(1.26,), (-0.04,), (None,)])
    cells = re.findall(r"<td[^>]*>[^<]*</td>", html.table(table, emphasised=[1]))
    assert cells == [
        '<td class="number up" data-sort="1.26">+1.3</td>',
        '<td class="number down" data-sort="-0.04">-0.0</td>',
        '<td class="number missing">n/a</td>',
    ]
    assert html.table(table, emphasised=[1]).count('<tr class="emphasised">') == 1


def test_long_tables_are_cut_with_a_note(monkeypatch):
    monkeypatch.setattr(html, "MOST_ROWS", 3)
    table = make_table([Column("x", "x", "d")], [(number,) for number in range(5)])
    assert html.table(table).count("<tr>") == 1 + 3
    assert "2 more rows are in the CSV file" in html.table(table)


def test_drawings_on_one_page_do_not_share_ids():
    svg = (
        '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns="http://www.w3.org/2000/svg"><metadata>m</metadata>'
        '<defs><clipPath id="p1"><rect/></clipPath></defs><g clip-path="url(#p1)"><use xlink:href="#p1"/></g></svg>\n'
    )
    page = html.join(html.figure(svg, name=name, caption="c") for name in ("a", "b"))
    ids = Tags(page).ids
    assert len(ids) == len(set(ids)) == 4
    assert "url(#a-p1)" in page
    assert 'xlink:href="#b-p1"' in page
    assert "<?xml" not in page
    assert "metadata" not in page
