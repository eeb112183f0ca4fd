"""Finding products: every condition is handed on, and what is found is shown."""

from decimal import Decimal

import pytest

from marketd.storage.catalog import BrowseProducts, Hit, ProductPage
from marketd.storage.pages import Page
from tests.http.stage import Stage
from tests.http.things import AT_TEXT, CARD

pytestmark = pytest.mark.asyncio


async def test_every_condition_is_handed_on(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, ProductPage(0, [], {}))
    query = "q=a+b&category=light&minPrice=1.50&maxPrice=20&seller=sam&minRating=4.5&sort=-price&page=2&size=5"

    await stage.call("GET", f"/products?{query}")

    expected = BrowseProducts("a b", "light", Decimal("1.50"), Decimal(20), "sam", 4.5, "-price", Page(2, 5))
    assert [("market.query.products", expected)] == stage.bus.messages


async def test_no_condition_is_a_condition_too(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, ProductPage(0, [], {}))

    await stage.call("GET", "/products")

    assert BrowseProducts(page=Page(1, 20)) == stage.bus.last.message


async def test_what_is_found_is_shown_with_its_score(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, ProductPage(1, [Hit(CARD, 1.5)], {"light": 1}))

    body = (await stage.call("GET", "/products")).json()

    assert (1, 1, 20, {"category": {"light": 1}}) == (body["total"], body["page"], body["size"], body["facets"])
    (shown,) = body["products"]
    assert ("lamp", "sam", AT_TEXT, 1.5) == (shown["id"], shown["sellerId"], shown["createdAt"], shown["score"])


async def test_a_price_goes_out_as_the_number_that_it_is(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, ProductPage(1, [Hit(CARD, 1.5)], {}))

    assert b'"price":19.90,' in (await stage.call("GET", "/products")).body


async def test_a_search_may_be_kept_for_a_minute(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, ProductPage(0, [], {}))

    headers = (await stage.call("GET", "/products")).headers

    assert ("max-age=60", "fallback") == (headers["Cache-Control"], headers["X-Data-Source"])
