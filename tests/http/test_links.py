"""Lists link to their other pages (RFC 8288)."""

import pytest

from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FoundPage
from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio


async def links(stage: Stage, total: int, query: str) -> dict[str, str]:
    stage.bus.answers(BrowseProducts, FoundPage(total, [], {}, "fallback", 0))
    answer = await stage.call("GET", f"/products?{query}")
    found = (link.split("; ") for link in answer.headers.getall("Link"))
    return {relation.removeprefix('rel="').removesuffix('"'): target[1:-1] for target, relation in found}


@pytest.mark.parametrize(
    ("total", "page", "expected"),
    [
        (0, 1, {"first": 1, "last": 1}),
        (20, 1, {"first": 1, "last": 1}),
        (21, 1, {"first": 1, "last": 2, "next": 2}),
        (100, 3, {"first": 1, "last": 5, "prev": 2, "next": 4}),
        (100, 5, {"first": 1, "last": 5, "prev": 4}),
        (40, 9, {"first": 1, "last": 2, "prev": 2}),
    ],
)
async def test_a_page_links_to_those_that_there_are(
    stage: Stage, total: int, page: int, expected: dict[str, int]
) -> None:
    found = await links(stage, total, f"page={page}")

    assert {relation: f"/products?page={number}&size=20" for relation, number in expected.items()} == found


async def test_a_link_keeps_the_other_parameters(stage: Stage) -> None:
    found = await links(stage, 30, "q=red+lamp&sort=newest&size=10")

    assert "/products?q=red+lamp&sort=newest&size=10&page=2" == found["next"]


async def test_what_is_searched_for_can_not_break_out_of_a_link(stage: Stage) -> None:
    found = await links(stage, 30, "q=%3E%3B%20rel%3D%22next%22%2C%20%3Chttps%3A%2F%2Fevil.example&size=10")

    assert ["first", "last", "next"] == sorted(found)
    assert not set('<>" ') & set(found["next"])
