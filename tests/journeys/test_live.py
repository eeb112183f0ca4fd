"""An order is followed live: from where one is to its end, until one signs out, and not in the way of a stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

READ_S_MAX = 10
SLOW_CHARGES = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "300"}
OVER_THE_WIRE = {"MARKETD_NATS__IN_PROCESS": "false"}


class Stream:
    """The events of an order as they come; `ids` are those that they had."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self.ids: list[str] = []

    async def until(self, last: str) -> list[str]:
        """Read on to an event of this type; give the types of all."""
        types: list[str] = []
        async with asyncio.timeout(READ_S_MAX):
            async for line in self._lines:
                name, _, value = line.decode().strip().partition(": ")
                if name == "id":
                    self.ids.append(value)
                if name == "event":
                    types.append(value)
                if not name and last in types:
                    break
        return types

    async def rest(self) -> list[bytes]:
        async with asyncio.timeout(READ_S_MAX):
            return [line async for line in self._lines]


@asynccontextmanager
async def following(person: Person, session: ClientSession, order_id: str, **headers: str) -> AsyncIterator[Stream]:
    given = {"Authorization": f"Bearer {person.token}", "Accept": "text/event-stream", **headers}
    url = f"{person.service.url}/orders/{order_id}/events"
    async with session.get(url, headers=given) as answer:
        assert (200, "text/event-stream") == (answer.status, answer.content_type)
        yield Stream(aiter(answer.content))


async def placed(visitor: Visitor) -> tuple[Person, Person, str]:
    seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
    return seller, buyer, (await buyer.orders(await seller.offers())).expect(202)["orderId"]


@pytest.mark.parametrize("way", [{}, OVER_THE_WIRE], ids=["in the process", "over the wire"])
async def test_an_order_is_followed_to_its_end_and_beyond(
    tmp_path: Path, session: ClientSession, way: dict[str, str]
) -> None:
    async with running(tmp_path / "data", settings=SLOW_CHARGES | way) as service:
        seller, buyer, order_id = await placed(Visitor(service, session))
        async with following(buyer, session, order_id) as stream:
            bought = await stream.until("order.completed")
            await seller.refunds(await buyer.sees_end(order_id))
            returned = await stream.until("order.refunded")
        whole = (await buyer.get(f"/orders/{order_id}/events")).expect(200)["events"]

    assert [event["type"] for event in whole] == bought + returned


async def test_who_comes_back_goes_on_where_they_were(service: Service, session: ClientSession) -> None:
    _, buyer, order_id = await placed(Visitor(service, session))
    async with following(buyer, session, order_id) as stream:
        seen = await stream.until("order.placed")
    async with following(buyer, session, order_id, **{"Last-Event-ID": stream.ids[-1]}) as stream:
        seen += await stream.until("order.completed")
    whole = (await buyer.get(f"/orders/{order_id}/events")).expect(200)["events"]

    assert [event["type"] for event in whole] == seen


async def test_a_stream_ends_with_its_session(service: Service, session: ClientSession) -> None:
    _, buyer, order_id = await placed(Visitor(service, session))
    async with following(buyer, session, order_id) as stream:
        await stream.until("order.completed")
        (await buyer.post("/auth/logout", {"refreshToken": buyer.refresh_token})).expect(204)

        assert not [line for line in await stream.rest() if line.strip()]
    assert 401 == (await buyer.get(f"/orders/{order_id}/events")).status


async def test_open_streams_are_not_in_the_way_of_a_stop(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_HTTP__SHUTDOWN_S_MAX": "60"}) as service:
        _, buyer, order_id = await placed(Visitor(service, session))
        async with following(buyer, session, order_id) as stream:
            await stream.until("order.completed")
            service.terminate()
            await stream.rest()

            assert 0 == await service.wait_ended()


async def test_a_stream_that_says_nothing_beats(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_HTTP__STREAM_SILENCE_S_MAX": "0.1"}) as service:
        _, buyer, order_id = await placed(Visitor(service, session))
        async with following(buyer, session, order_id) as stream:
            await stream.until("order.completed")
            async with asyncio.timeout(READ_S_MAX):
                while b":\n" != await anext(stream._lines):
                    pass
