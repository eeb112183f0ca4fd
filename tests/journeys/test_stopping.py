"""How the service stops: what is in hand is finished, and nothing is left behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Visitor
from tests.journeys.process import Service, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

REFUSAL_S_MAX: Final = 10.0
CUT_OFF_S_MAX: Final = 5.0  # the rest of the service needs a moment as well
PIECES, PIECE_BYTES = 64, 512 * 1024  # more than the buffers of a connection hold
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


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


async def test_who_never_finishes_is_cut_off_in_time(tmp_path: Path, session: ClientSession) -> None:
    """Neither half a body nor an answer that nobody reads holds up the end, however little time there is."""
    async with running(tmp_path / "data", settings={"MARKETD_HTTP__SHUTDOWN_S_MAX": "0"}) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")

        async def content() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                yield bytes(PIECE_BYTES)

        file = (await seller.ask("POST", "/uploads?name=a.bin", data=content())).expect(201)
        link = await buyer.link(await buyer.buys(await seller.offers(files=[file])))
        sending = (
            b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        async with connected(service, sending), connected(service, f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode()):
            await in_hand(visitor)
            async with asyncio.timeout(CUT_OFF_S_MAX):
                assert 0 == await service.stop()


async def test_who_comes_while_others_are_finished_is_sent_away(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        kept_alive: list[bytes] = []

        async def content() -> AsyncIterator[bytes]:
            yield b"the first half, "
            service.terminate()
            await wait_refused(service)
            writer.write(HEALTH)
            kept_alive.append(await reader.read())
            yield b"and the second"

        async with connected(service, HEALTH) as (reader, writer):
            await reader.readuntil(b'"ok"}')
            await seller.ask("POST", "/uploads?name=a.txt", data=content(), expect100=True)
        head = kept_alive[0].lower()
        assert (True, True, True) == (b" 503 " in head, b"connection: close" in head, b"retry-after: 1" in head)


async def test_neither_a_process_nor_a_port_is_left(service: Service) -> None:
    port = int(service.url.rpartition(":")[2])
    assert 0 == await service.stop()
    with socket.create_server(("127.0.0.1", port)):
        assert [] == service.nats_servers()


@asynccontextmanager
async def connected(service: Service, sent: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send bytes as they are over a connection of their own, and read nothing but what the test reads."""
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


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
