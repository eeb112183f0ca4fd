"""The figures that are kept: runs replace each other one by one, and are compared with their spread in view."""

import msgspec
import pytest

from bench.compare import mark, table
from bench.kept import PAGE, RESULTS, Row, merged, page, read

ROW = Row("reads", "2026-11-01", "a machine", "GET", 100.0, "requests/s", "95 to 105", "", "")
RUNS = ["reads", "asks", "binary"]


def row(value: float = 100.0, spread: str = "95 to 105", **facts: str) -> Row:
    return msgspec.structs.replace(ROW, value=value, spread=spread, **facts)


def test_the_page_is_made_from_the_results() -> None:
    assert page(read(RESULTS.read_text(encoding="utf-8"))) == PAGE.read_text(encoding="utf-8")


def test_a_run_takes_the_place_of_the_one_before() -> None:
    old, gone, fresh = row(run="asks"), row(name="no longer measured"), row(110)

    assert [fresh, old] == merged([old, ROW, gone], [fresh], RUNS)


def test_a_run_that_there_is_no_more_is_not_kept() -> None:
    assert [ROW] == merged([row(run="forgotten")], [ROW], RUNS)


def test_the_order_is_that_of_the_runs() -> None:
    binary, asks = row(run="binary"), row(run="asks")

    assert [ROW, asks, binary] == merged([binary, ROW], [asks], RUNS)


def test_another_machine_is_named_with_its_runs() -> None:
    assert "Other machine (asks): a better one." in page([ROW, row(run="asks", machine="a better one")])


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        (row(100), row(104, "99 to 109"), ""),
        (row(100), row(120, "115 to 125"), "better"),
        (row(100), row(80, "75 to 85"), "worse"),
        (row(100), row(120, "90 to 150"), ""),
        (row(100, unit="ms"), row(120, "115 to 125", unit="ms"), "worse"),
        (row(100, unit="ms"), row(80, "75 to 85", unit="ms"), "better"),
        (row(100, ""), row(120, ""), "?"),
        (row(100, ""), row(100, ""), ""),
        (row(1000, "900 to 1,100"), row(1500, "1,400 to 1,600"), "better"),
    ],
)
def test_a_change_is_marked_if_it_is_outside_of_the_spread(was: Row, now: Row, expected: str) -> None:
    assert expected == mark(was, now)


def test_the_change_is_in_percent() -> None:
    assert "| +20.0 % |" in table([ROW], [row(120)])[2]


def test_figures_of_one_name_are_told_apart_by_their_order() -> None:
    first, second = row(100, reference="nothing else"), row(200, reference="a load")

    assert ["+0.0 %", "+0.0 %"] == [line.split(" | ")[3] for line in table([first, second], [first, second])[2:]]


def test_what_only_one_of_them_has_is_named() -> None:
    assert ["gone: reads: GET", "new: asks: GET"] == [
        line for line in table([ROW], [row(run="asks")]) if line.startswith(("gone", "new"))
    ]


def test_results_from_before_runs_had_names_are_refused() -> None:
    with pytest.raises(ValueError) as raised:
        read('{"figures": [{"name": "GET"}]}')

    assert "run" in str(raised.value)
