"""Tables: RFC 4180, and nothing in them that a spreadsheet would run."""

from decimal import Decimal

import pytest

from marketd.clock import instant
from marketd.http.tables import tabled, written


def test_a_table_has_a_head_and_ends_its_lines_as_the_rfc_wants() -> None:
    answer = tabled("sales", ["what", "orders"], [["Lamp", 3]], {})

    assert "what,orders\r\nLamp,3\r\n" == answer.text
    assert ("text/csv", "utf-8") == (answer.content_type, answer.charset)


def test_what_would_end_a_cell_is_quoted() -> None:
    answer = tabled("sales", ["title"], [['Rain, "tin"\r\nroof']], {})

    assert 'title\r\n"Rain, ""tin""\r\nroof"\r\n' == answer.text


def test_a_table_is_saved_under_its_name() -> None:
    headers = tabled("sales-2026", ["x"], [], {"Cache-Control": "private"}).headers

    assert 'attachment; filename="sales-2026.csv"' == headers["Content-Disposition"]
    assert "private" == headers["Cache-Control"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_formula_is_only_a_text(text: str) -> None:
    assert f"'{text}" == written(text)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Lamp", "Lamp"),
        (-3, "-3"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.50"), "-0.50"),
        (instant(1_700_000_000_000), "2023-11-14T22:13:20Z"),
    ],
)
def test_a_number_and_a_time_are_plain(cell: object, expected: str) -> None:
    assert expected == written(cell)  # type: ignore[arg-type]
