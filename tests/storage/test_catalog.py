"""The catalogue: what is found, in which order, and what nobody should see."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketd.actors import product
from marketd.actors.money import Money
from marketd.clock import instant
from marketd.storage.catalog import CardFile, Hit, ProductCard, ProductPage, Rating, Sort
from marketd.storage.pages import Page
from tests.storage.history import FILE, START_MS, STEP_MS, Market, market

pytestmark = pytest.mark.asyncio


async def found(m: Market, **query: Any) -> list[str]:
    return [hit.card.id for hit in (await m.browse(**query)).hits]


async def stock(m: Market) -> int | None:
    (hit,) = (await m.browse()).hits
    return hit.card.stock


async def furnish(m: Market) -> None:
    """Four products that differ in everything."""
    await m.list_product("lamp", title="Lamp", price=Money(1000, "USD"), category="light", seller="sam")
    await m.list_product("bulb", title="Bulb", price=Money(500, "USD"), category="light", seller="sue")
    await m.list_product("saw", title="Saw", price=Money(3000, "USD"), category="tools", seller="sam")
    await m.list_product("lathe", title="Lathe", price=Money(90000, "USD"), category="tools", seller="sue")
    await m.sell_and_review("lamp", 5, buyer="ann")
    await m.sell_and_review("lamp", 4, buyer="bob")
    await m.sell_and_review("saw", 2, buyer="ann")
    await m.sell("saw", buyer="bob")
    await m.sell("saw", buyer="cid")


async def test_a_product_is_shown_as_its_seller_said(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("sam", name="Sam & Sons")
        await m.list_product(
            "lamp", title="Lamp", description="It shines.", category="light", seller="sam", stock=3, files=(FILE,)
        )
        at = instant(START_MS + STEP_MS)
        card = ProductCard(
            id="lamp",
            seller_id="sam",
            seller_name="Sam & Sons",
            title="Lamp",
            description="It shines.",
            price=Decimal("19.99"),
            currency="USD",
            category="light",
            files=[CardFile("lamp.zip", "application/zip", 1024)],
            previews=[],
            status="active",
            stock=3,
            rating=Rating(0.0, 0),
            created_at=at,
            updated_at=at,
        )

        assert ProductPage(1, [Hit(card, 0.0)], {"light": 1}) == await m.browse()


async def test_the_address_of_an_uploaded_preview_is_one_of_ours(tmp_path: Path) -> None:
    uploaded = product.Preview("a.png", "image/png", "upload://" + "cd" * 32)
    elsewhere = product.Preview("b.png", "image/png", "https://example.org/b.png")
    async with market(tmp_path) as m:
        await m.list_product("lamp", previews=(uploaded, elsewhere))
        (hit,) = (await m.browse()).hits

        assert ["/previews/" + "cd" * 32, "https://example.org/b.png"] == [preview.url for preview in hit.card.previews]


async def test_no_address_of_a_file_is_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", files=(FILE, product.File("b", "text/plain", 1, "https://example.org/secret")))
        shown = msgspec.json.encode(await m.browse())

        assert b"upload:" not in shown and b"secret" not in shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"category": "light"}, ["bulb", "lamp"]),
        ({"seller": "sam"}, ["saw", "lamp"]),
        ({"min_price": Decimal("10")}, ["lathe", "saw", "lamp"]),
        ({"max_price": Decimal("10.00")}, ["bulb", "lamp"]),
        ({"min_price": Decimal("10.001")}, ["lathe", "saw"]),
        ({"min_rating": Decimal("4.5")}, ["lamp"]),
        ({"min_rating": Decimal(0)}, ["saw", "lamp"]),
        ({"category": "light", "seller": "sam"}, ["lamp"]),
        (
            {"category": "tools", "seller": "sam", "max_price": Decimal(100), "min_rating": Decimal("1.0"), "q": "saw"},
            ["saw"],
        ),
        ({"category": "tools", "seller": "sam", "max_price": Decimal(10)}, []),
        ({"category": "Light"}, []),
        ({"category": "' OR 1=1 --"}, []),
    ],
    ids=str,
)
async def test_conditions_hold_together(tmp_path: Path, query: dict[str, Any], expected: list[str]) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert expected == await found(m, **query)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("relevance", ["lathe", "saw", "bulb", "lamp"]),
        ("newest", ["lathe", "saw", "bulb", "lamp"]),
        ("price", ["bulb", "lamp", "saw", "lathe"]),
        ("-price", ["lathe", "saw", "lamp", "bulb"]),
        ("rating", ["lamp", "saw", "lathe", "bulb"]),
        ("bestselling", ["saw", "lamp", "lathe", "bulb"]),
    ],
)
async def test_each_order(tmp_path: Path, sort: Sort, expected: list[str]) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert expected == await found(m, sort=sort)


async def test_the_categories_are_those_of_what_was_found(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        page = await m.browse(min_price=Decimal(10))

        assert (3, {"tools": 2, "light": 1}) == (page.total, page.categories)


async def test_pages_have_no_gap_and_no_repeat(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for n in range(23):
            await m.list_product(f"p{n}", category="ab"[n % 2])
        pages = [await found(m, sort="price", page=Page(number, 5)) for number in range(1, 7)]

        assert [5, 5, 5, 5, 3, 0] == [len(page) for page in pages]
        assert {f"p{n}" for n in range(23)} == {id for page in pages for id in page}


async def test_every_page_tells_the_whole_count(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        page = await m.browse(page=Page(9, 2))

        assert (4, [], {"light": 2, "tools": 2}) == (page.total, page.hits, page.categories)


async def test_prices_of_all_currencies_are_compared_by_what_is_written(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("yen", price=Money(20, "JPY"))
        await m.list_product("dollar", price=Money(1999, "USD"))
        await m.list_product("dinar", price=Money(19_991, "KWD"))

        assert ["dollar", "dinar", "yen"] == await found(m, sort="price")


@pytest.mark.parametrize(
    ("currency", "minor", "price"), [("JPY", 1999, "1999"), ("USD", 1999, "19.99"), ("KWD", 1999, "1.999")]
)
async def test_a_price_is_shown_exactly(tmp_path: Path, currency: str, minor: int, price: str) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", price=Money(minor, currency))
        (hit,) = (await m.browse(min_price=Decimal(price), max_price=Decimal(price))).hits

        assert Decimal(price) == hit.card.price


@pytest.mark.parametrize(
    "bound",
    [
        Decimal("1e30"),
        Decimal("-1e30"),
        Decimal("1e999999"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("1e-9"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["min_price", "max_price"])
async def test_no_price_is_too_strange_to_ask_for(tmp_path: Path, name: str, bound: Decimal) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")

        assert await found(m, **{name: bound}) in ([], ["lamp"])


async def test_a_withdrawn_product_is_not_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.withdraw("lamp")

        assert ProductPage(0, [], {}) == await m.browse()


async def test_a_withdrawn_product_is_not_found_by_its_words(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.withdraw("lamp")

        assert [] == await found(m, q="lamp")


async def test_a_reserved_unit_is_not_in_stock(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=3)
        await m.reserve("lamp")

        assert 2 == await stock(m)


async def test_a_released_unit_is_in_stock_again(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=3)
        await m.reserve("lamp")
        await m.release("lamp")

        assert 3 == await stock(m)


async def test_a_unit_that_does_not_come_back_is_not_in_stock(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=3)
        await m.reserve("lamp")
        await m.revise("lamp", stock=1, licence_keys=("k1",))
        await m.release("lamp")

        assert 1 == await stock(m)


async def test_unlimited_stock_stays_unlimited(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=None)
        await m.reserve("lamp")

        assert await stock(m) is None


async def test_licence_keys_are_counted_and_not_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", keys=("KEY-1", "KEY-2"))
        page = await m.browse()

        assert 2 == page.hits[0].card.stock
        assert b"KEY-" not in msgspec.json.encode(page)


async def test_what_was_revised_is_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=3)
        await m.revise("lamp", title="Lantern", price=Money(5, "JPY"), category="light", stock=9)
        (hit,) = (await m.browse()).hits
        card = hit.card

        assert ("Lantern", Decimal(5), "JPY", "light", 9) == (
            card.title,
            card.price,
            card.currency,
            card.category,
            card.stock,
        )


async def test_a_revised_product_is_as_old_as_before(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.list_product("saw")
        await m.revise("lamp", title="Lantern")

        assert ["saw", "lamp"] == await found(m, sort="newest")


async def test_the_rating_is_the_mean_of_the_reviews(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for rating, buyer in ((5, "ann"), (4, "bob"), (4, "cid")):
            await m.sell_and_review("lamp", rating, buyer=buyer)
        (hit,) = (await m.browse()).hits

        assert Rating(4.33, 3) == hit.card.rating


async def test_a_seller_is_shown_under_the_present_name(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("sam")
        await m.list_product("lamp", seller="sam")
        await m.rename("sam", "Samantha")
        (hit,) = (await m.browse()).hits

        assert "Samantha" == hit.card.seller_name
