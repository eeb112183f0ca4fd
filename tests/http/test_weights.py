"""What a client prefers is read as it was meant: by whole names and by weight."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from marketd.http.weights import prefers


def prefers_csv(*lines: str) -> bool:
    headers = CIMultiDict([("Accept", line) for line in lines])
    return prefers(make_mocked_request("GET", "/", headers=headers), "text/csv")


@pytest.mark.parametrize(
    "line",
    [
        "text/csv",
        "Text/CSV",
        "text/csv;q=0.1",
        "text/csv; charset=utf-8 ; q=0.9, application/json;q=0.8",
        'text/csv;header="present"',
        "text/csv, */*",
        "text/csv, application/json",
        "application/json, text/csv",
        "text/*, application/json;q=0.5",
        "text/csv;q=0.5, */*;q=0.1",
        "text/csv, application/json;q=0",
        "nonsense;, text/csv",
    ],
)
def test_what_is_liked_as_well_as_json_and_named_is_preferred(line: str) -> None:
    assert prefers_csv(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "*/*",
        "application/json",
        "text/csvx",
        "xtext/csv",
        "text/csv;q=0",
        "text/csv;q=0.000, application/json",
        "application/json, text/csv;q=0.5",
        "text/csv;q=0.5, */*",
        "text/csv;q=0, */*;q=0.1",
        "text/html, application/xml;q=0.9, */*;q=0.8",
        "text/csv;q=2",
        "text/csv;q",
        "text/ csv",
        "text/csv" + " " * 1_000,
    ],
)
def test_what_is_not_liked_or_less_than_json_is_not_preferred(line: str) -> None:
    assert not prefers_csv(line)


def test_who_says_nothing_prefers_json() -> None:
    assert not prefers_csv()


def test_several_lines_are_one() -> None:
    assert prefers_csv("application/json;q=0.5", "text/csv")


def test_a_long_line_is_read_through_once() -> None:
    assert not prefers_csv("text/csv" + ";a=b" * 240 + ";")
