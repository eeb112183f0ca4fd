"""Sellers' analytics: what is asked of the read models, and what comes of their answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import account
from marketd.clock import instant
from marketd.http.periods import begins, span
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.earnings import Earnings, FindNewest, Newest, ReadEarnings, Taking, TopProduct
from marketd.storage.people import FindPerson, Person
from marketd.storage.regulars import Buyers, CountBuyers
from marketd.storage.tills import AwaitSale
from marketd.storage.views import CountViews, ViewsCounted, Visit
from tests.http.stage import Reply, Stage
from tests.http.test_events import Reader
from tests.http.things import AT, ENCODED, KEY, PROFILE

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def sam(stage: Stage) -> None:
    """Have a seller who has told no time zone."""
    stage.bus.answers(FindPerson, Person("sam", KEY, "Sam", "seller"))
    stage.bus.answers(account.Describe, replace(PROFILE, role="seller"))


NONE = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}
DAY_MS = 24 * 60 * 60 * 1000
CSV = {"Accept": "text/csv"}


def earned(query: ReadEarnings, **changes: Any) -> Earnings:
    """Something on the first day, something given back on the last."""
    takings = [Taking() for _ in query.bounds[1:]]
    takings[0] = Taking(3, 5996, 0)
    takings[-1] = Taking(takings[-1].orders, takings[-1].revenue, 1999)
    top = [TopProduct("lamp", "Lamp", 3, 5996)]
    found = Earnings(query.currency or "USD", ["USD", "JPY"], takings, 4, top, NONE | {"4": 1, "5": 2})
    return replace(found, **changes)


def sold(stage: Stage, views: int = 8, **changes: Any) -> None:
    stage.bus.answers(ReadEarnings, lambda query: earned(query, **changes))
    stage.bus.answers(CountViews, ViewsCounted(views))


async def ask(stage: Stage, query: str = "", **options: Any) -> Reply:
    return await stage.call("GET", f"/analytics/sales{query}", user="sam", role="seller", **options)


# What is asked.


async def test_a_sellers_own_sales_are_asked_for(stage: Stage) -> None:
    sold(stage)
    await ask(stage, "?from=2023-11-13&to=2023-11-14&currency=EUR")

    *_, (_, earnings), (_, views) = stage.bus.messages
    since, middle, until = 1_699_833_600_000, 1_699_920_000_000, 1_700_006_400_000
    assert ReadEarnings("sam", (since, middle, until), "EUR") == earnings
    assert CountViews("sam", since, until) == views


async def test_nothing_said_is_the_last_thirty_days_by_day(stage: Stage) -> None:
    sold(stage)
    report = (await ask(stage)).json()

    assert (30, "day", "UTC") == (len(report["series"]), report["interval"], report["timezone"])
    assert ("2023-10-16T00:00:00Z", "2023-11-15T00:00:00Z") == (report["from"], report["to"])


async def test_a_first_period_begins_before_what_is_counted_in_it(stage: Stage) -> None:
    sold(stage)
    report = (await ask(stage, "?from=2023-11-08&to=2023-11-14&interval=week")).json()

    assert ["2023-11-06T00:00:00Z", "2023-11-13T00:00:00Z"] == [period["start"] for period in report["series"]]
    *_, (_, asked), _ = stage.bus.messages
    assert isinstance(asked, ReadEarnings)
    assert instant(asked.bounds[0]).day == 8


async def test_days_are_those_of_the_zone(stage: Stage) -> None:
    sold(stage)
    report = (await ask(stage, "?from=2023-11-14&to=2023-11-14&timezone=Asia/Kathmandu")).json()

    assert (["2023-11-13T18:15:00Z"], "Asia/Kathmandu") == ([p["start"] for p in report["series"]], report["timezone"])


async def test_without_a_zone_days_are_those_of_the_account(stage: Stage) -> None:
    sold(stage)
    stage.bus.answers(account.Describe, replace(PROFILE, zone="Asia/Kathmandu"))
    report = (await ask(stage, "?from=2023-11-14&to=2023-11-14")).json()

    assert (["2023-11-13T18:15:00Z"], "Asia/Kathmandu") == ([p["start"] for p in report["series"]], report["timezone"])


async def test_who_names_a_zone_is_asked_for_no_other(stage: Stage) -> None:
    sold(stage)
    await ask(stage, "?timezone=UTC")

    assert [ReadEarnings, CountViews] == [type(asked) for _, asked in stage.bus.messages]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?from=x&to=y&interval=hour&timezone=z&currency=X", ["/currency", "/from", "/interval", "/timezone", "/to"]),
        ("?since=2023-11-14", ["/since"]),
        ("?from=2023-11-15&to=2023-11-14", ["/from"]),
        ("?from=2023-11-14T10:00:00Z&to=2023-11-14T10:00:00Z", ["/from"]),
        ("?from=2024-11-15", ["/from"]),
        ("?from=2000-01-01", ["/from"]),
        ("?from_=2023-11-14", ["/from_"]),
    ],
)
@pytest.mark.parametrize("path", ["sales", "live"])
async def test_what_can_not_be_asked_is_refused_field_by_field(
    stage: Stage, path: str, query: str, expected: list[str]
) -> None:
    answer = await stage.call("GET", f"/analytics/{path}{query}", user="sam", role="seller")

    assert expected == answer.faults
    assert [] == [asked for _, asked in stage.bus.messages if isinstance(asked, ReadEarnings | CountViews)]


@pytest.mark.parametrize("path", ["sales", "live", "buyers"])
async def test_it_is_for_sellers(stage: Stage, path: str) -> None:
    answers = [await stage.call("GET", f"/analytics/{path}", user="ann", role=role) for role in ("buyer", "admin")]
    answers.append(await stage.call("GET", f"/analytics/{path}"))

    assert [403, 403, 401] == [answer.status for answer in answers]


# What is answered.


async def test_the_totals_are_the_sum_of_the_periods(stage: Stage) -> None:
    sold(stage)
    report = (await ask(stage)).json()

    expected = {
        "orders": 3,
        "units": 3,
        "revenue": 59.96,
        "refunds": 19.99,
        "netRevenue": 39.97,
        "averageOrder": 19.99,
        "views": 8,
        "conversion": 0.5,
    }
    assert ("USD", expected) == (report["currency"], report["totals"])


async def test_a_period_without_sales_is_nought(stage: Stage) -> None:
    sold(stage)
    series = (await ask(stage)).json()["series"]

    assert {"start": "2023-10-17T00:00:00Z", "orders": 0, "revenue": 0, "refunds": 0} == series[1]


async def test_products_and_ratings_are_told(stage: Stage) -> None:
    sold(stage)
    report = (await ask(stage)).json()

    assert [{"productId": "lamp", "title": "Lamp", "orders": 3, "revenue": 59.96}] == report["topProducts"]
    assert {"average": 4.67, "count": 3, "histogram": NONE | {"4": 1, "5": 2}} == report["ratings"]
    assert ["USD", "JPY"] == report["currencies"]


@pytest.mark.parametrize(("currency", "revenue"), [("USD", b"59.96"), ("JPY", b"5996"), ("KWD", b"5.996")])
async def test_amounts_are_written_as_their_currency_is(stage: Stage, currency: str, revenue: bytes) -> None:
    sold(stage)
    answer = await ask(stage, f"?currency={currency}")

    assert b'"revenue":' + revenue + b"," in answer.body


@pytest.mark.parametrize(("revenue", "orders", "expected"), [(200, 3, 0.67), (5, 2, 0.03), (100, 3, 0.33), (0, 0, 0)])
async def test_an_average_is_rounded_to_what_can_be_paid(
    stage: Stage, revenue: int, orders: int, expected: float
) -> None:
    sold(stage, takings=[Taking(orders, revenue)])
    report = (await ask(stage, "?from=2023-11-14&to=2023-11-14")).json()

    assert expected == report["totals"]["averageOrder"]


@pytest.mark.parametrize(("views", "expected"), [(0, 0), (3, 1), (4, 1), (7, 0.5714)])
async def test_nobody_converts_more_than_there_are(stage: Stage, views: int, expected: float) -> None:
    sold(stage, views)

    assert expected == (await ask(stage)).json()["totals"]["conversion"]


async def test_it_is_kept_by_nobody_else(stage: Stage) -> None:
    sold(stage)

    assert "private, no-cache" == (await ask(stage)).headers["Cache-Control"]


# As a table.


async def test_the_series_is_to_be_had_as_a_table(stage: Stage) -> None:
    sold(stage)
    answer = await ask(stage, "?from=2023-11-13&to=2023-11-14", headers=CSV)

    expected = (
        b"start,orders,revenue,refunds\r\n2023-11-13T00:00:00Z,3,59.96,0.00\r\n2023-11-14T00:00:00Z,0,0.00,19.99\r\n"
    )
    assert (200, "text/csv", expected) == (answer.status, answer.media_type, answer.body)
    assert 'attachment; filename="sales-2023-11-13-2023-11-14-USD.csv"' == answer.headers["Content-Disposition"]


async def test_who_likes_json_better_than_a_table_gets_that(stage: Stage) -> None:
    sold(stage)

    assert "application/json" == (await ask(stage, headers={"Accept": "application/json, text/csv;q=0.5"})).media_type


async def test_a_table_varies_with_what_is_preferred(stage: Stage) -> None:
    sold(stage)

    assert "Accept" in (await ask(stage, headers=CSV)).headers["Vary"]


# Who came back.


@pytest.mark.parametrize(("found", "share"), [(Buyers(8, 2), 0.25), (Buyers(3, 1), 0.3333), (Buyers(0, 0), 0)])
async def test_a_seller_learns_who_came_back(stage: Stage, found: Buyers, share: float) -> None:
    stage.bus.answers(CountBuyers, found)
    answer = await stage.call("GET", "/analytics/buyers", user="sam", role="seller")

    assert {"buyers": found.buyers, "returning": found.returning, "share": share} == answer.json()
    assert [("market.query.buyers", CountBuyers("sam"))] == stage.bus.messages


# As it goes on.


class Till:
    """Sam's, which rings when the test says so."""

    def __init__(self, stage: Stage) -> None:
        self.position, self.orders, self._rung = 4, 1, asyncio.Event()
        self.asked: list[AwaitSale] = []
        stage.bus.answers(FindNewest, lambda _: Newest(self.position))
        stage.bus.answers(ReadEarnings, lambda query: earned(query, takings=[Taking(self.orders, 500)]))
        stage.bus.answers(CountViews, ViewsCounted(0))
        stage.bus.answers(AwaitSale, self._wait)

    async def _wait(self, query: AwaitSale) -> Newest:
        self.asked.append(query)
        await self._rung.wait()
        self._rung.clear()
        return Newest(self.position)

    def sells(self) -> None:
        self.position, self.orders = self.position + 1, self.orders + 1
        self._rung.set()

    def rings(self) -> None:
        self._rung.set()


@asynccontextmanager
async def watching(stage: Stage, **headers: str) -> AsyncIterator[Reader]:
    given = stage.bearer("sam", "seller") | headers
    async with stage.client.session.get(stage.client.make_url("/analytics/live"), headers=given) as answer:
        assert (200, "text/event-stream") == (answer.status, answer.content_type)
        reader = Reader(answer)
        await reader.next()
        yield reader


async def test_live_totals_begin_with_what_there_is(stage: Stage) -> None:
    Till(stage)
    async with watching(stage) as reader:
        event = await reader.next()

    told = json.loads(event["data"])
    assert ("4", "totals") == (event["id"], event["event"])
    assert ("USD", 1, 5) == (told["currency"], told["totals"]["orders"], told["totals"]["revenue"])


@pytest.mark.parametrize("last", ["4", "99", "x", ""])
async def test_who_comes_back_is_told_the_whole(stage: Stage, last: str) -> None:
    Till(stage)
    async with watching(stage, **{"Last-Event-ID": last}) as reader:
        assert "4" == (await reader.next())["id"]


async def test_live_totals_are_told_anew_with_each_sale(stage: Stage) -> None:
    till = Till(stage)
    async with watching(stage) as reader:
        await reader.next()
        till.sells()
        event = await reader.next()

    assert ("5", 2) == (event["id"], json.loads(event["data"])["totals"]["orders"])
    assert [4, 5] == [query.after for query in till.asked][:2]


async def test_totals_that_are_the_same_are_not_told_again(stage: Stage) -> None:
    till = Till(stage)
    async with watching(stage) as reader:
        await reader.next()
        till.rings()
        beat = await reader.next()
        till.sells()

        assert ({"": ""}, "5") == (beat, (await reader.next())["id"])


async def test_a_new_day_is_told_without_a_sale(stage: Stage) -> None:
    till = Till(stage)
    async with watching(stage) as reader:
        before = json.loads((await reader.next())["data"])
        await stage.clock.advance(2 * 60 * 60)
        till.rings()
        after = json.loads((await reader.next())["data"])

    assert ("2023-11-15T00:00:00Z", "2023-11-16T00:00:00Z") == (before["to"], after["to"])


# Who looked.


async def seen(stage: Stage, path: str = "/products/lamp", method: str = "GET", **options: Any) -> list[Visit]:
    stage.cards.cards["lamp"] = ENCODED
    await stage.call(method, path, **options)
    return stage.views.visits


async def test_who_is_signed_in_is_told_by_who_they_are(stage: Stage) -> None:
    assert [Visit("sam", "lamp", "ann")] == await seen(stage, user="ann")


async def test_who_is_not_is_told_by_address_and_browser(stage: Stage) -> None:
    visits = await seen(stage, headers={"User-Agent": "Mosaic/0.9"})

    assert [Visit("sam", "lamp", "127.0.0.1", "Mosaic/0.9")] == visits


async def test_a_seller_who_looks_at_what_is_theirs_is_not(stage: Stage) -> None:
    assert [] == await seen(stage, user="sam", role="seller")


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/products/lamp"), ("GET", "/products/none"), ("GET", "/products")]
)
async def test_who_sees_no_product_is_not(stage: Stage, method: str, path: str) -> None:
    stage.bus.script.update(dict.fromkeys([ReadProduct, BrowseProducts]))

    assert [] == await seen(stage, path, method)


async def test_spans_are_those_of_periods(stage: Stage) -> None:
    """What the route asks for is what the calendar says."""
    sold(stage)
    await ask(stage, "?from=2023-03-01&to=2023-04-30&interval=month&timezone=Europe/Berlin")

    stretch = span("2023-03-01", "2023-04-30", "Europe/Berlin", now_ms=AT, days=30)
    *_, (_, asked), _ = stage.bus.messages
    assert isinstance(asked, ReadEarnings)
    assert (*begins(stretch, "month"), stretch.until) == asked.bounds
