"""What the page of a shop gets: all that it shows of a product."""

from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import buyer
from marketd.bus.port import NoAnswer
from marketd.http.answers import written
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.finding import FindRelated, Related
from marketd.storage.pages import Page
from marketd.storage.people import FindSeller
from marketd.storage.reviews import ListReviews, Reviews
from tests.http.stage import Stage
from tests.http.things import AT_TEXT, CARD, REVIEW, SELLER

pytestmark = pytest.mark.asyncio

LAMP = "/web/products/lamp"
HISTOGRAM = {"1": 0, "2": 0, "3": 0, "4": 1, "5": 2}
LONG = "x" * 5_000
PARTS: dict[str, tuple[type[Struct], object]] = {
    "reviews": (ListReviews, []),
    "relatedProducts": (FindRelated, []),
    "seller": (FindSeller, None),
    "hasAccess": (buyer.CheckAccess, False),
}


def furnish(stage: Stage) -> None:
    card = written(replace(CARD, description=LONG))
    stage.bus.answers(ReadProduct, EncodedProduct("sam", True, card, b'{"card":"own"}'))
    stage.bus.answers(ListReviews, Reviews(3, 4.67, HISTOGRAM, [REVIEW.card]))
    stage.bus.answers(FindRelated, Related([written(replace(CARD, id="saw"))]))
    stage.bus.answers(FindSeller, SELLER)
    stage.bus.answers(buyer.CheckAccess, buyer.Access(True))


async def shown(stage: Stage, user: str = "") -> dict[str, Any]:
    furnish(stage)
    return dict((await stage.call("GET", LAMP, user=user)).json())


async def test_a_page_has_the_whole_description(stage: Stage) -> None:
    assert LONG == (await shown(stage))["description"]


async def test_a_page_has_the_ten_newest_reviews(stage: Stage) -> None:
    body = await shown(stage)

    assert ["r1"] == [review["id"] for review in body["reviews"]]
    assert ListReviews("lamp", Page(1, 10)) in [message for _, message in stage.bus.messages]


async def test_a_page_has_how_often_each_rating_was_given(stage: Stage) -> None:
    assert {"average": 4.67, "count": 3, "histogram": HISTOGRAM} == (await shown(stage))["rating"]


async def test_a_page_has_what_goes_with_it(stage: Stage) -> None:
    assert ["saw"] == [card["id"] for card in (await shown(stage))["relatedProducts"]]


async def test_a_page_has_the_sellers_card(stage: Stage) -> None:
    assert {
        "id": "sam",
        "name": "Sam",
        "products": 2,
        "rating": {"average": 4.5, "count": 2},
        "memberSince": AT_TEXT,
    } == (await shown(stage))["seller"]


@pytest.mark.parametrize(("user", "expected"), [("", False), ("ann", True)])
async def test_a_page_says_whether_one_owns_it(stage: Stage, user: str, expected: bool) -> None:
    body = await shown(stage, user)

    assert (expected, []) == (body["hasAccess"], body["degraded"])


async def test_a_seller_sees_the_page_that_everybody_sees(stage: Stage) -> None:
    furnish(stage)
    body = (await stage.call("GET", LAMP, user="sam", role="seller")).json()

    assert [{"name": "lamp.zip", "type": "application/zip", "size": 3}] == body["files"]


async def test_only_a_missing_product_is_an_error(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    assert (404, 1) == ((await stage.call("GET", LAMP)).status, len(stage.bus.asked))


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_that_fails_is_empty_and_named(stage: Stage, name: str) -> None:
    furnish(stage)
    query, empty = PARTS[name]
    stage.bus.answers(query, NoAnswer())
    answer = await stage.call("GET", LAMP, user="ann")

    assert (200, empty, [name]) == (answer.status, answer.json()[name], answer.json()["degraded"])


async def test_without_the_reviews_the_rating_is_what_the_product_knows(stage: Stage) -> None:
    furnish(stage)
    stage.bus.answers(ListReviews, NoAnswer())
    body = (await stage.call("GET", LAMP)).json()

    assert {"average": 4.5, "count": 2, "histogram": {}} == body["rating"]


@pytest.mark.parametrize(("user", "expected"), [("", "no-cache"), ("ann", "private, no-cache")])
async def test_a_page_is_asked_for_each_time(stage: Stage, user: str, expected: str) -> None:
    furnish(stage)
    headers = (await stage.call("GET", LAMP, user=user)).headers

    assert (expected, "Authorization, Accept-Encoding") == (headers["Cache-Control"], headers["Vary"])


async def test_a_page_that_is_the_same_is_not_sent_again(stage: Stage) -> None:
    furnish(stage)
    first = await stage.call("GET", LAMP)
    again = await stage.call("GET", LAMP, headers={"If-None-Match": first.headers["ETag"]})

    assert (304, b"") == (again.status, again.body)
