"""Sellers see what they sell: in figures, as a table, while it happens, and after a rebuild."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Json, Person, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

READ_S_MAX = 10
SECOND_S = 1.0
OVER_THE_WIRE = {"MARKETD_NATS__IN_PROCESS": "false"}


async def report(seller: Person, query: str = "") -> Json:
    return (await seller.get(f"/analytics/sales{query}")).expect(200)


@asynccontextmanager
async def watching(seller: Person, session: ClientSession) -> AsyncIterator["Totals"]:
    headers = {"Authorization": f"Bearer {seller.token}"}
    async with session.get(f"{seller.service.url}/analytics/live", headers=headers) as answer:
        assert (200, "text/event-stream") == (answer.status, answer.content_type)
        yield Totals(aiter(answer.content))


class Totals:
    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def next(self) -> Any:
        async with asyncio.timeout(READ_S_MAX):
            async for line in self._lines:
                if line.startswith(b"data: "):
                    return json.loads(line[6:])["totals"]
        raise AssertionError("the stream is over")


@pytest.mark.parametrize("way", [{}, OVER_THE_WIRE], ids=["in the process", "over the wire"])
async def test_a_seller_sees_what_was_sold_and_given_back(
    tmp_path: Path, session: ClientSession, way: dict[str, str]
) -> None:
    async with running(tmp_path / "data", settings=way) as service:
        visitor = Visitor(service, session)
        seller = await visitor.joins("seller")
        lamp, rug = await seller.offers(title="Lamp"), await seller.offers(title="Rug", price=5)
        buyers = [await visitor.joins("buyer") for _ in range(4)]
        for buyer in buyers:
            await buyer.get(f"/products/{lamp['id']}")
            await buyer.get(f"/web/products/{lamp['id']}")
        await seller.get(f"/products/{lamp['id']}")
        order = await buyers[0].buys(lamp)
        await buyers[0].buys(rug)
        await buyers[1].buys(lamp, "pm_card_chargeDeclined")
        await buyers[1].buys(lamp)
        (await buyers[1].post(f"/products/{lamp['id']}/reviews", {"rating": 4, "body": "Bright."})).expect(201)
        await seller.refunds(order)
        await buyers[0].sees_until(order["id"], lambda seen: seen["status"] == "refunded")
        found, came_back = await report(seller), (await seller.get("/analytics/buyers")).expect(200)

    totals = {
        "orders": 3,
        "units": 3,
        "revenue": 44.98,
        "refunds": 19.99,
        "netRevenue": 24.99,
        "averageOrder": 14.99,
        "views": 4,
        "conversion": 0.75,
    }
    assert ("USD", totals, 30) == (found["currency"], found["totals"], len(found["series"]))
    assert {"orders": 3, "revenue": 44.98, "refunds": 19.99}.items() <= found["series"][-1].items()
    assert [("Lamp", 2), ("Rug", 1)] == [(top["title"], top["orders"]) for top in found["topProducts"]]
    assert (4, 1, 1) == (found["ratings"]["average"], found["ratings"]["count"], found["ratings"]["histogram"]["4"])
    assert {"buyers": 2, "returning": 1, "share": 0.5} == came_back


async def test_a_sale_is_seen_live_within_a_second(service: Service, session: ClientSession) -> None:
    visitor = Visitor(service, session)
    seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
    lamp = await seller.offers()
    async with watching(seller, session) as totals:
        before = await totals.next()
        order = await buyer.buys(lamp)
        async with asyncio.timeout(SECOND_S):
            sold = await totals.next()
        await seller.refunds(order)
        returned = await totals.next()

    assert [(0, 0), (1, 0), (1, 19.99)] == [(t["orders"], t["refunds"]) for t in (before, sold, returned)]


async def test_figures_are_the_same_after_a_rebuild_and_views_are_not_lost(
    tmp_path: Path, session: ClientSession
) -> None:
    data = tmp_path / "data"
    async with running(data) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        lamp = await seller.offers()
        await buyer.get(f"/products/{lamp['id']}")
        await buyer.buys(lamp)
        before = await report(seller), (await seller.get("/analytics/buyers")).expect(200)
    assert 0 == (await marketd("rebuild", "--data", str(data))).code

    async with running(data) as service:
        again = seller.at(service)
        assert before == (await report(again), (await again.get("/analytics/buyers")).expect(200))
    assert 1 == before[0]["totals"]["views"]
