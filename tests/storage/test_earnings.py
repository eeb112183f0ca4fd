"""Earnings: what the sums come to, held against a look at every single event."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.actors.money import Money
from marketd.actors.steps import Denied, Step, Succeeded
from marketd.clock import DAY_MS
from marketd.storage.earnings import (
    LEVELS,
    TOP_PRODUCTS,
    Earnings,
    FindNewest,
    Newest,
    ReadEarnings,
    Taking,
    TopProduct,
    blocks,
)
from tests.storage.history import START_MS, Market, market

pytestmark = pytest.mark.asyncio

EVER = (0, START_MS * 2)
NONE = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}
HOUR_MS = 60 * 60 * 1000


async def earned(m: Market, *bounds: int, seller: str = "seller", currency: str | None = None) -> Earnings:
    found = await m.ask(ReadEarnings(seller, bounds or EVER, currency))
    assert isinstance(found, Earnings)
    return found


# One thing at a time.


async def test_who_sold_nothing_earned_nothing(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        expected = Earnings("USD", [], [Taking(), Taking()], 0, [], NONE)
        assert expected == await earned(m, 0, 1, 2)


async def test_who_sold_nothing_yet_has_the_currency_of_what_they_list(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", price=Money(500, "JPY"))

        assert "JPY" == (await earned(m)).currency


async def test_a_sale_counts_when_it_is_complete(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell("lamp")
        await m.place("o2", buyer="bob")
        await m.advance("o2", (Step.PROCESS_PAYMENT, Succeeded()))

        assert [Taking(1, 1999, 0)] == (await earned(m)).takings


async def test_a_sale_that_failed_is_none(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.advance("o1", (Step.PROCESS_PAYMENT, Denied("no funds")))

        assert [Taking()] == (await earned(m)).takings


async def test_a_refund_counts_when_it_happens(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        order_id = await m.sell("lamp")
        m.now_ms = middle = m.now_ms + 40 * DAY_MS
        await m.refund(order_id)

        found = await earned(m, 0, middle, EVER[1])
        assert [Taking(1, 1999, 0), Taking(0, 0, 1999)] == found.takings
        assert [TopProduct("lamp", "Lamp", 1, 1999)] == found.top


async def test_a_refund_that_failed_gave_nothing_back(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp"), is_owing=True)

        assert [Taking(1, 1999, 0)] == (await earned(m)).takings


async def test_currencies_are_never_added_up(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for who, price in (("ann", Money(1, "USD")), ("bob", Money(2, "USD")), ("cid", Money(9_999, "JPY"))):
            await m.sell("lamp", buyer=who, price=price)

        found, other = await earned(m), await earned(m, currency="JPY")
        assert ("USD", [Taking(2, 3, 0)], ["USD", "JPY"], 3) == (
            found.currency,
            found.takings,
            found.currencies,
            found.all_orders,
        )
        assert ("JPY", [Taking(1, 9_999, 0)], 3) == (other.currency, other.takings, other.all_orders)


async def test_what_others_sold_is_not_told(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", seller="sam")
        await m.sell("lamp", seller="sam")

        assert ([Taking()], []) == ((found := await earned(m, seller="sue")).takings, found.top)


async def test_a_product_goes_by_its_present_title(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell("lamp")
        await m.revise("lamp", title="A brighter lamp")

        assert ["A brighter lamp"] == [top.title for top in (await earned(m)).top]


async def test_of_many_products_those_with_the_most_revenue_are_told(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for number in range(TOP_PRODUCTS + 2):
            await m.list_product(f"p{number:02}")
            await m.sell(f"p{number:02}", price=Money(100 + number, "USD"))

        expected = [f"p{number:02}" for number in reversed(range(2, TOP_PRODUCTS + 2))]
        assert expected == [top.product_id for top in (await earned(m)).top]


async def test_reviews_count_by_when_they_were_written(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 5)
        m.now_ms = middle = m.now_ms + DAY_MS
        await m.sell_and_review("lamp", 2, buyer="bob")
        await m.sell_and_review("lamp", 4, buyer="cid")
        await m.hide_review("lamp", by="cid")

        found = await earned(m, middle, EVER[1])
        assert (NONE | {"2": 1}, 1, 2.0) == (found.histogram, found.reviews, found.average)


async def test_a_till_is_where_the_newest_sale_is(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        assert Newest(0) == await m.ask(FindNewest("seller"))
        order_id = await m.sell("lamp")
        sold_at = m.log.head
        await m.review("lamp", 5)
        assert Newest(sold_at) == await m.ask(FindNewest("seller"))
        await m.refund(order_id)

        assert Newest(m.log.head) == await m.ask(FindNewest("seller"))


async def test_a_store_from_before_the_sums_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell("lamp")
        log, expected = m.log, await earned(m)
    with closing(sqlite3.connect(tmp_path / "read.db")) as db, db:
        db.execute("UPDATE models SET version = 2 WHERE name = 'sales'")
        for table in ("takings", "product_takings", "tills"):
            db.execute(f"DROP TABLE {table}")

    async with market(tmp_path, log) as m:
        assert expected == await earned(m)


# Blocks of days.


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        (5, 5, []),
        (5, 4, []),
        (5, 7, [(1, 5, 7)]),
        (5, 12, [(1, 5, 12)]),
        (5, 17, [(1, 5, 8), (1, 16, 17), (8, 1, 2)]),
        (64, 128, [(64, 1, 2)]),
    ],
)
async def test_days_are_covered_by_blocks(first: int, end: int, expected: list[tuple[int, int, int]]) -> None:
    assert expected == [*blocks(first, end)]


@given(st.integers(-100, 2_000), st.integers(0, 5_000))
async def test_each_day_is_in_one_block(first: int, length: int) -> None:
    found = [*blocks(first, first + length)]
    days = [
        day
        for size, begin, end in found
        for block in range(begin, end)
        for day in range(block * size, (block + 1) * size)
    ]

    assert sorted(days) == [*range(first, first + length)]
    assert all(end - begin < 2 * 8 for size, begin, end in found if size < LEVELS[-1])
