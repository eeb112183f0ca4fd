"""Finding products: every condition is handed on, and what is found is shown."""

import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from marketd.http.answers import written
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FindRelated, FoundPage, Related, Suggest, Suggestions
from marketd.storage.pages import Page
from marketd.storage.questions import FoundProduct
from tests.http.stage import Stage
from tests.http.things import CARD, ENCODED, FOUND, SHOWN

pytestmark = pytest.mark.asyncio

NOTHING = replace(FOUND, total=0, products=[], categories={})
FALLBACK = replace(FOUND, source="fallback", generation=0)


async def test_every_condition_is_handed_on(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, NOTHING)
    query = "q=a+b&category=light&minPrice=1.50&maxPrice=20&seller=sam&minRating=4.5&sort=-price&page=2&size=5"

    await stage.call("GET", f"/products?{query}")

    bounds = Decimal("1.50"), Decimal(20)
    expected = BrowseProducts("a b", "light", *bounds, "sam", Decimal("4.5"), "-price", Page(2, 5))
    assert [("market.query.products", expected)] == stage.bus.messages


async def test_no_condition_is_a_condition_too(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, NOTHING)

    await stage.call("GET", "/products")

    assert BrowseProducts(page=Page(1, 20)) == stage.bus.last.message


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("sort=cheapest", "/sort"),
        ("minRating=5.5", "/minRating"),
        ("minRating=4.125", "/minRating"),
        ("minPrice=-1", "/minPrice"),
        ("maxPrice=NaN", "/maxPrice"),
        ("page=0", "/page"),
        ("size=101", "/size"),
        (f"q={'x' * 501}", "/q"),
        ("colour=red", "/colour"),
    ],
)
async def test_a_condition_that_can_not_be_is_named_and_nobody_asked(stage: Stage, query: str, pointer: str) -> None:
    answer = await stage.call("GET", f"/products?{query}")

    assert ([pointer], []) == (answer.faults, stage.bus.asked)


async def test_what_is_found_is_shown_with_its_score(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FOUND)

    body = (await stage.call("GET", "/products")).json()

    assert (1, 1, 20, {"category": {"light": 1}}) == (body["total"], body["page"], body["size"], body["facets"])
    assert [json.loads(SHOWN.card) | {"score": 1.5}] == body["products"]


@pytest.mark.parametrize("score", [0.0, 0.0001, 1.0, 12.3456, 98765.4321, 1e-7])
async def test_every_score_is_a_number_of_json(stage: Stage, score: float) -> None:
    stage.bus.answers(BrowseProducts, replace(FOUND, products=[replace(SHOWN, score=score)]))

    (shown,) = (await stage.call("GET", "/products")).json()["products"]

    assert score == pytest.approx(shown["score"], rel=1e-5)


async def test_a_price_goes_out_as_the_number_that_it_is(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FOUND)

    assert b'"price":19.90,' in (await stage.call("GET", "/products")).body


@pytest.mark.parametrize(("found", "source"), [(FOUND, "index"), (FALLBACK, "fallback")])
async def test_a_search_says_where_it_comes_from_and_may_be_kept_for_a_minute(
    stage: Stage, found: FoundPage, source: str
) -> None:
    stage.bus.answers(BrowseProducts, found)

    headers = (await stage.call("GET", "/products")).headers

    assert ("max-age=60", source) == (headers["Cache-Control"], headers["X-Data-Source"])


# Suggestions.


async def test_what_somebody_types_is_completed(stage: Stage) -> None:
    stage.bus.answers(Suggest, Suggestions(["Lamp", "Lampshade"], None))

    answer = await stage.call("GET", "/products/suggest?q=lam")

    assert (200, {"suggestions": ["Lamp", "Lampshade"], "didYouMean": None}) == (answer.status, answer.json())
    assert [("market.query.suggest", Suggest("lam"))] == stage.bus.messages


async def test_what_was_probably_meant_is_told(stage: Stage) -> None:
    stage.bus.answers(Suggest, Suggestions([], "lamp"))

    answer = await stage.call("GET", "/products/suggest?q=lmap")

    assert {"suggestions": [], "didYouMean": "lamp"} == answer.json()


@pytest.mark.parametrize("query", ["", "q=", f"q={'x' * 101}"])
async def test_there_is_no_completing_nothing_nor_a_novel(stage: Stage, query: str) -> None:
    answer = await stage.call("GET", f"/products/suggest?{query}")

    assert (["/q"], []) == (answer.faults, stage.bus.asked)


# What is related.


async def test_what_goes_with_a_product_is_shown(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(FindRelated, Related([written(replace(CARD, id=name)) for name in ("bulb", "saw")]))

    answer = await stage.call("GET", "/products/lamp/related")

    assert (200, ["bulb", "saw"]) == (answer.status, [shown["id"] for shown in answer.json()["products"]])
    assert FindRelated("lamp") == stage.bus.last.message


async def test_nothing_goes_with_a_product_that_is_not_there(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    answer = await stage.call("GET", "/products/lamp/related")

    assert (404, "application/problem+json") == (answer.status, answer.media_type)


# Pages that are kept.


async def test_a_page_of_the_index_is_asked_for_once(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FOUND)

    first, second = [await stage.call("GET", "/products?q=lamp") for _ in range(2)]

    assert (1, first.body) == (len(stage.bus.asked), second.body)


@pytest.mark.parametrize("header", ["Cache-Control", "X-Data-Source", "Content-Type", "Link"])
async def test_a_kept_page_has_the_headers_of_the_first(stage: Stage, header: str) -> None:
    stage.bus.answers(BrowseProducts, replace(FOUND, total=30))

    first, second = [await stage.call("GET", "/products?q=lamp") for _ in range(2)]

    assert first.headers.getall(header) == second.headers.getall(header)


async def test_a_page_of_the_fallback_is_not_kept(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FALLBACK)

    for _ in range(2):
        await stage.call("GET", "/products?q=lamp")

    assert 2 == len(stage.bus.asked)


async def test_a_page_is_asked_for_again_when_the_index_was_renewed(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FOUND)
    await stage.call("GET", "/products?q=lamp")
    stage.pages.on_renewed()
    stage.bus.answers(
        BrowseProducts, replace(FOUND, products=[FoundProduct("saw", written(replace(CARD, id="saw")), 2.0)])
    )

    answer = await stage.call("GET", "/products?q=lamp")

    assert ["saw"] == [shown["id"] for shown in answer.json()["products"]]


async def test_a_page_that_became_old_while_it_was_made_is_not_kept(stage: Stage) -> None:
    def renewed(message: BrowseProducts) -> FoundPage:
        stage.pages.on_renewed()
        return FOUND

    stage.bus.answers(BrowseProducts, renewed)
    await stage.call("GET", "/products?q=lamp")

    assert {"pages": 0} == stage.pages.statistics()


async def test_a_bad_request_is_refused_however_often_it_comes(stage: Stage) -> None:
    statuses = [(await stage.call("GET", "/products?page=0")).status for _ in range(2)]

    assert ([400, 400], {"pages": 0}) == (statuses, stage.pages.statistics())


async def test_queries_that_differ_in_how_they_are_escaped_have_pages_of_their_own(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, FOUND)

    for query in ("q=a%26b", "q=a%2526b", "q=a%2Bb", "q=a+b"):
        await stage.call("GET", f"/products?{query}")

    asked = [message.q for _, message in stage.bus.messages if isinstance(message, BrowseProducts)]
    assert ["a&b", "a%26b", "a+b", "a b"] == asked
