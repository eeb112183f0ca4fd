"""How the service stops: what is in hand is finished, and nothing is left behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Visitor
from tests.journeys.process import Service, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

REFUSAL_S_MAX: Final = 10.0


async def test_who_waits_for_an_order_is_answered_before_the_end(tmp_path: Path, session: ClientSession) -> None:
    settings = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "60000"}
    async with running(tmp_path / "data", settings=settings) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        waiting = asyncio.create_task(buyer.get(f"/orders/{order_id}", Prefer="wait=30"))
        await in_hand(visitor)
        service.terminate()
        assert "pending" == (await waiting).expect(200)["status"]


@pytest.mark.xfail(reason="aiohttp drops what comes of a body after the stop has begun; see the issue's note")
async def test_an_upload_in_hand_is_finished(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_HTTP__SHUTDOWN_S_MAX": "2"}) as service:
        seller = await Visitor(service, session).joins("seller")

        async def content() -> AsyncIterator[bytes]:
            yield b"the first half, "
            service.terminate()
            await wait_refused(service)
            yield b"and the second"

        uploaded = await seller.ask("POST", "/uploads?name=a.txt", data=content(), expect100=True)
        assert len("the first half, and the second") == uploaded.expect(201)["size"]


async def test_neither_a_process_nor_a_port_is_left(service: Service) -> None:
    port = int(service.url.rpartition(":")[2])
    assert 0 == await service.stop()
    with socket.create_server(("127.0.0.1", port)):
        assert [] == service.nats_servers()


async def wait_refused(service: Service) -> None:
    """Wait until no new connection is taken."""
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(REFUSAL_S_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                return
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def in_hand(visitor: Visitor) -> None:
    """See that what was sent before has been taken in hand: the service reads in the order in which it comes."""
    for _ in range(3):
        (await visitor.get("/healthz")).expect(200)
