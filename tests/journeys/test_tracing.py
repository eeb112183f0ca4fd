"""A trace that a client begins is found again in all that its request leads to, and in what is logged of it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = f"00-{TRACE_ID}-b7ad6b7169203331-01"


def recorded(data: Path, *streams: str) -> list[tuple[str, str]]:
    """The stream and the trace id of each record that leads to events, in order."""
    query = "SELECT s.name, c.meta FROM commits c JOIN streams s ON s.id = c.stream ORDER BY c.position"
    with closing(sqlite3.connect(f"file:{data}/events.db?mode=ro", uri=True)) as log:
        rows = log.execute(query).fetchall()
    return [(stream, json.loads(meta).get("trace", "")[3:35]) for stream, meta in rows if stream in streams]


async def test_every_record_of_a_sale_has_the_trace_of_its_order(
    service: Service, visitor: Visitor, seller: Person, buyer: Person
) -> None:
    product = await seller.offers(stock=1)
    body = {"productId": product["id"], "paymentMethodId": "pm_card_visa"}
    order = (await buyer.post("/orders", body, traceparent=TRACE)).expect(202)
    await buyer.sees_end(order["orderId"])
    streams = f"order/{order['orderId']}", f"product/{product['id']}", f"buyer/{buyer.user_id}"
    listing, *sale = recorded(service.data, *streams)

    assert (streams[1], True) == (listing[0], listing[1] not in ("", TRACE_ID))
    assert (set(streams), {TRACE_ID}) == ({stream for stream, _ in sale}, {trace for _, trace in sale})


async def test_a_request_without_a_trace_begins_one(service: Service, seller: Person) -> None:
    product = await seller.offers()
    ((_, trace),) = recorded(service.data, f"product/{product['id']}")

    assert 32 == len(trace)


async def test_what_is_logged_of_a_sale_names_its_request_and_its_trace(tmp_path: Path, session: ClientSession) -> None:
    settings = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "600000", "MARKETD_SAGA__PROCESSOR_WAIT_S_MAX": "0.5"}
    async with running(tmp_path / "data", settings=settings) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        product = await seller.offers()
        body = {"productId": product["id"], "paymentMethodId": "pm_card_visa"}
        headers = {"traceparent": TRACE, "X-Request-Id": "find-me"}
        order = (await buyer.post("/orders", body, **headers)).expect(202)
        await service.wait_said("TimeoutError")
        lines = [line for line in service.log.splitlines() if f"order/{order['orderId']}" in line]
        service.kill()
        await service.wait_ended()

    assert [] == [line for line in lines if f" request=find-me trace={TRACE_ID} " not in line]
