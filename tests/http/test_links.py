"""Lists link to their other pages (RFC 8288)."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors.account import Role
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FoundPage
from marketd.storage.library import Library, ReadLibrary
from marketd.storage.orders import ListAlerts, ListOrders, OrderPage
from marketd.storage.reviews import ListReviews, Reviews
from tests.http.stage import LIMITS_HERE, Stage, staged
from tests.http.things import ENCODED

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


LISTS: dict[str, tuple[Role, dict[type, Any]]] = {
    "/products?q=lamp&sort=newest": ("buyer", {BrowseProducts: FoundPage(70, [], {}, "index", 0)}),
    "/products/lamp/reviews?sort=oldest": ("buyer", {ReadProduct: ENCODED, ListReviews: Reviews(70, 4.0, {}, [])}),
    "/orders?as=seller": ("seller", {ListOrders: OrderPage(70, [])}),
    "/library": ("buyer", {ReadLibrary: Library(70, [])}),
    "/admin/alerts": ("admin", {ListAlerts: OrderPage(70, [])}),
}


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_has_links(stage: Stage, path: str) -> None:
    role, answers = LISTS[path]
    stage.bus.script.update(answers)
    joint = "&" if "?" in path else "?"
    answer = await stage.call("GET", f"{path}{joint}page=2", user="ann", role=role)

    expected = {
        f'<{path}{joint}page={number}&size=20>; rel="{relation}"'
        for relation, number in {"first": 1, "prev": 1, "next": 3, "last": 4}.items()
    }
    assert expected == set(answer.headers.getall("Link"))


async def test_where_the_service_has_a_public_address_links_are_whole(tmp_path: Path) -> None:
    async with staged(tmp_path, replace(LIMITS_HERE, public_url="https://market.example/eu")) as stage:
        assert {
            "first": "https://market.example/eu/products?page=1&size=20",
            "last": "https://market.example/eu/products?page=1&size=20",
        } == await links(stage, 5, "")
