"""What apps get: a product or a whole screen in one answer, its texts cut and its images small."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import buyer, product
from marketd.actors.address import Address
from marketd.bus.port import BusError, NoAnswer
from marketd.bus.subjects import command_subject
from marketd.clock import instant
from marketd.http.answers import written
from marketd.http.keys import FrontLimits, PartLimits
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import BrowseProducts, ProductCard
from marketd.storage.finding import FindRelated, FoundPage, Related
from marketd.storage.library import Library, LibraryEntry, ReadLibrary
from marketd.storage.pages import Page
from marketd.storage.questions import FoundProduct
from marketd.storage.reviews import ListReviews, Reviews
from tests.http.stage import Reply, Stage, staged
from tests.http.things import AT, AT_TEXT, CARD, REVIEW

pytestmark = pytest.mark.asyncio

LAMP = "/mobile/products/lamp"
HOME = "/mobile/home"
DIGEST = "ab" * 32
OTHER = replace(CARD, id="saw", description="x" * 201)
HISTOGRAM = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1}
PARTS: dict[str, tuple[type[Struct], object]] = {
    "reviews": (ListReviews, []),
    "relatedProducts": (FindRelated, []),
    "hasAccess": (buyer.CheckAccess, False),
}


def encode(card: ProductCard) -> EncodedProduct:
    return EncodedProduct(card.seller_id, True, written(card), b'{"card":"own"}')


def furnish(stage: Stage, card: ProductCard = CARD) -> None:
    """A product with one review, that somebody owns, and another that goes with it."""
    stage.bus.answers(ReadProduct, encode(card))
    stage.bus.answers(ListReviews, Reviews(1, 5.0, HISTOGRAM, [REVIEW.card]))
    stage.bus.answers(FindRelated, Related([written(OTHER)]))
    stage.bus.answers(buyer.CheckAccess, buyer.Access(True))


async def shown(stage: Stage, card: ProductCard = CARD, user: str = "") -> dict[str, Any]:
    furnish(stage, card)
    answer = await stage.call("GET", LAMP, user=user)
    assert 200 == answer.status, answer
    return dict(answer.json())


def previewed(*previews: tuple[str, str]) -> ProductCard:
    return replace(CARD, previews=[product.Preview("a", media_type, url) for media_type, url in previews])


# A product.


async def test_a_product_is_shown_with_what_is_around_it(stage: Stage) -> None:
    body = await shown(stage, user="ann")

    assert {
        "id": "lamp",
        "sellerId": "sam",
        "sellerName": "Sam",
        "title": "Lamp",
        "description": "It shines.",
        "price": 19.9,
        "currency": "USD",
        "category": "light",
        "files": [{"name": "lamp.zip", "type": "application/zip", "size": 3}],
        "previews": [],
        "status": "active",
        "stock": None,
        "rating": {"average": 4.5, "count": 2},
        "createdAt": AT_TEXT,
        "updatedAt": AT_TEXT,
        "hasAccess": True,
        "degraded": [],
    } == {name: value for name, value in body.items() if name not in ("reviews", "relatedProducts")}


async def test_a_price_goes_out_with_all_its_decimals(stage: Stage) -> None:
    furnish(stage)

    assert b'"price":19.90,' in (await stage.call("GET", LAMP)).body


async def test_the_three_newest_reviews_are_asked_for(stage: Stage) -> None:
    body = await shown(stage)

    assert ["r1"] == [review["id"] for review in body["reviews"]]
    assert ListReviews("lamp", Page(1, 3)) in [message for _, message in stage.bus.messages]


async def test_what_goes_with_it_is_cut_like_itself(stage: Stage) -> None:
    (other,) = (await shown(stage))["relatedProducts"]

    assert ("saw", "x" * 200 + "...", False) == (other["id"], other["shortDescription"], "description" in other)


async def test_a_product_in_memory_is_not_asked_for(stage: Stage) -> None:
    furnish(stage)
    stage.cards.cards["lamp"] = encode(CARD)
    await stage.call("GET", LAMP)

    assert ReadProduct not in {type(message) for _, message in stage.bus.messages}


async def test_who_owns_it_is_asked_of_the_buyer(stage: Stage) -> None:
    await shown(stage, user="ann")

    expected = (command_subject(Address("buyer", "ann")), buyer.CheckAccess("lamp"))
    assert expected in stage.bus.messages


async def test_a_stranger_owns_nothing_and_nobody_is_asked(stage: Stage) -> None:
    body = await shown(stage)

    assert (False, []) == (body["hasAccess"], body["degraded"])
    assert buyer.CheckAccess not in {type(message) for _, message in stage.bus.messages}


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


async def test_all_parts_may_fail(stage: Stage) -> None:
    furnish(stage)
    for query, _ in PARTS.values():
        stage.bus.answers(query, BusError())
    answer = await stage.call("GET", LAMP, user="ann")

    assert (200, sorted(PARTS)) == (answer.status, answer.json()["degraded"])


async def test_each_part_has_its_own_deadline(tmp_path: Path) -> None:
    limits = PartLimits(reviews_wait_s_max=2, related_wait_s_max=3, access_wait_s_max=4)
    async with staged(tmp_path, FrontLimits(parts=limits)) as stage:
        await shown(stage, user="ann")

        waits = {type(envelope.message): envelope.deadline - AT for _, envelope in stage.bus.asked}
        assert [2_000, 3_000, 4_000] == [waits[query] for query, _ in PARTS.values()]


# Its texts and images.


async def test_a_description_that_fits_stays(stage: Stage) -> None:
    body = await shown(stage, replace(CARD, description="é" * 200))

    assert ("é" * 200, False) == (body["description"], "shortDescription" in body)


async def test_a_longer_one_is_cut(stage: Stage) -> None:
    body = await shown(stage, replace(CARD, description="é" * 201))

    assert ("é" * 200 + "...", False) == (body["shortDescription"], "description" in body)


@pytest.mark.parametrize(
    ("media_type", "url", "expected"),
    [
        ("image/png", f"/previews/{DIGEST}", f"/previews/{DIGEST}/mobile"),
        ("image/svg+xml", f"/previews/{DIGEST}", f"/previews/{DIGEST}"),
        ("image/png", "https://cdn.example/original/a.png", "https://cdn.example/mobile/a.png"),
        ("image/svg+xml", "https://cdn.example/x/original/a.svg", "https://cdn.example/x/mobile/a.svg"),
        ("image/png", "https://cdn.example/original/original/a.png", "https://cdn.example/mobile/original/a.png"),
        ("image/png", "https://original/a.png", "https://original/a.png"),
        ("image/png", "https://cdn.example/originals/a.png", "https://cdn.example/originals/a.png"),
        ("image/png", "https://cdn.example", "https://cdn.example"),
    ],
)
async def test_an_image_has_the_address_of_its_smaller_variant(
    stage: Stage, media_type: str, url: str, expected: str
) -> None:
    (preview,) = (await shown(stage, previewed((media_type, url))))["previews"]

    assert {"name": "a", "type": media_type, "url": url, "mobileUrl": expected} == preview


async def test_what_is_no_image_has_none(stage: Stage) -> None:
    (preview,) = (await shown(stage, previewed(("application/pdf", "https://cdn.example/original/a.pdf"))))["previews"]

    assert "mobileUrl" not in preview


# How long it may be kept.


@pytest.mark.parametrize(("user", "expected"), [("", "max-age=300"), ("ann", "private, max-age=300")])
async def test_a_product_may_be_kept_for_five_minutes(stage: Stage, user: str, expected: str) -> None:
    furnish(stage)
    headers = (await stage.call("GET", LAMP, user=user)).headers

    assert (expected, "Authorization, Accept-Encoding") == (headers["Cache-Control"], headers["Vary"])


async def test_an_answer_with_parts_missing_is_not_kept(stage: Stage) -> None:
    furnish(stage)
    stage.bus.answers(FindRelated, NoAnswer())

    assert "no-cache" == (await stage.call("GET", LAMP)).headers["Cache-Control"]


async def test_what_an_app_has_already_is_not_sent_again(stage: Stage) -> None:
    furnish(stage)
    first = await stage.call("GET", LAMP)
    again = await stage.call("GET", LAMP, headers={"If-None-Match": first.headers["ETag"]})

    assert (304, b"", first.headers["ETag"]) == (again.status, again.body, again.headers["ETag"])


async def test_what_has_changed_is_sent_again(stage: Stage) -> None:
    furnish(stage)
    first = await stage.call("GET", LAMP)
    stage.bus.answers(ReadProduct, encode(replace(CARD, title="Lantern")))
    again = await stage.call("GET", LAMP, headers={"If-None-Match": first.headers["ETag"]})

    assert (200, "Lantern") == (again.status, again.json()["title"])


# Home.

BOUGHT = LibraryEntry("lamp", "o1", "Lamp", "sam", "Sam", instant(AT))


def found(query: BrowseProducts) -> FoundPage:
    """One product, named after what was asked for, of nine categories."""
    name = query.category or query.sort
    card = written(replace(CARD, id=name, description="x" * 201))
    categories = {f"c{n}": 10 - n // 2 for n in range(9)}
    return FoundPage(45, [FoundProduct(name, card, 1.0)], categories, "index", 1)


async def home(stage: Stage, user: str = "") -> Reply:
    stage.bus.script.setdefault(BrowseProducts, found)
    stage.bus.script.setdefault(ReadLibrary, Library(1, [BOUGHT]))
    return await stage.call("GET", HOME, user=user)


def ids(products: list[dict[str, Any]]) -> list[str]:
    return [card["id"] for card in products]


async def test_home_has_what_is_new_and_what_sells(stage: Stage) -> None:
    body = (await home(stage)).json()

    assert (["newest"], ["bestselling"], []) == (ids(body["newest"]), ids(body["bestselling"]), body["degraded"])


async def test_home_has_a_few_of_each_of_the_largest_categories(stage: Stage) -> None:
    shelves = (await home(stage)).json()["categories"]

    assert [(f"c{n}", 10 - n // 2, [f"c{n}"]) for n in range(6)] == [
        (shelf["category"], shelf["total"], ids(shelf["products"])) for shelf in shelves
    ]


async def test_the_products_of_home_are_cut_too(stage: Stage) -> None:
    (card,) = (await home(stage)).json()["newest"]

    assert ("x" * 200 + "...", False) == (card["shortDescription"], "description" in card)


async def test_home_has_ones_own_newest_purchases(stage: Stage) -> None:
    body = (await home(stage, "ann")).json()

    assert ["o1"] == [entry["orderId"] for entry in body["purchases"]]
    assert ReadLibrary("ann", Page(1, 10)) in [message for _, message in stage.bus.messages]


async def test_the_home_of_a_stranger_has_none(stage: Stage) -> None:
    body = (await home(stage)).json()

    assert ([], []) == (body["purchases"], body["degraded"])


async def test_home_goes_without_the_purchases_if_they_can_not_be_had(stage: Stage) -> None:
    stage.bus.answers(ReadLibrary, NoAnswer())
    body = (await home(stage, "ann")).json()

    assert (["newest"], [], ["purchases"]) == (ids(body["newest"]), body["purchases"], body["degraded"])


async def test_home_goes_without_products_if_they_can_not_be_had(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, NoAnswer())
    answer = await home(stage, "ann")

    assert (200, ["bestselling", "categories", "newest"]) == (answer.status, answer.json()["degraded"])


async def test_one_category_that_fails_costs_the_categories_alone(stage: Stage) -> None:
    def failing(query: BrowseProducts) -> FoundPage:
        if query.category == "c3":
            raise NoAnswer
        return found(query)

    stage.bus.answers(BrowseProducts, failing)
    body = (await home(stage)).json()

    assert ([], ["newest"], ["categories"]) == (body["categories"], ids(body["newest"]), body["degraded"])


@pytest.mark.parametrize(("user", "expected"), [("", "max-age=60"), ("ann", "private, no-cache")])
async def test_ones_own_home_is_asked_for_each_time(stage: Stage, user: str, expected: str) -> None:
    headers = (await home(stage, user)).headers

    assert (expected, True, True) == (headers["Cache-Control"], "Authorization" in headers["Vary"], "ETag" in headers)


async def test_no_field_goes_out_twice(stage: Stage) -> None:
    furnish(stage)
    body = (await stage.call("GET", LAMP)).body

    def once(pairs: list[tuple[str, Any]]) -> list[str]:
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), names
        return names

    json.loads(body, object_pairs_hook=once)
