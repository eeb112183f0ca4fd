"""A hub that our server is a leaf node of: events reach it while the line is up, and wait while it is down."""

import asyncio
import json
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.client import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from marketd.bus.integrators import DOMAIN, Integrator, filters, hashed
from marketd.bus.jetstream import JetStream
from marketd.bus.leaf import Hub, leafnodes
from marketd.bus.server import NatsServer, find_executable, reserve_port
from marketd.bus.stream import Message, StreamLimits
from marketd.bus.subjects import EVENTS, EVENTS_STREAM
from marketd.clock import SystemClock

HOST: Final = "127.0.0.1"
GUEST: Final = Integrator("acme", ("order.*",), hashed("secret"), 1)
PASSWORD: Final = "p@ss/w:rd"  # with all that means something in an address
WAIT_S: Final = 20.0


class Line:
    """The line between the two: a port that leads to another, until it is cut."""

    def __init__(self, port: int, to: int) -> None:
        self._port, self._to = port, to
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, HOST, self._port)

    async def cut(self) -> None:
        """End what goes over it, and let nothing begin."""
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, ours: asyncio.StreamReader, to_us: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection(HOST, self._to)
        self._ends |= {to_us, to_them}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(ours, to_them))
            tasks.create_task(_copy(theirs, to_us))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


class Town(NamedTuple):
    """The shop's stream, the line, and somebody at the hub."""

    stream: JetStream
    line: Line
    head: Client

    @property
    def from_shop(self) -> JetStreamContext:
        return self.head.jetstream(domain=DOMAIN)

    async def publishes(self, *numbers: int) -> None:
        for number in numbers:
            message = Message(f"{EVENTS}.order.placed.{number}", f"id-{number}", b"%d" % number)
            await self.stream.publish([message], number - 1)

    async def takes(self, count: int) -> list[int]:
        """Take so many events at the hub, each acknowledged in a way that is answered."""
        events = await self.from_shop.pull_subscribe_bind(GUEST.name, stream=EVENTS_STREAM)
        taken: list[int] = []
        async with asyncio.timeout(WAIT_S):
            while len(taken) < count:
                try:
                    messages = await events.fetch(count - len(taken), timeout=1)
                except (nats.errors.TimeoutError, ServiceUnavailableError):  # the line is not up yet
                    continue
                for message in messages:
                    await message.ack_sync()
                    taken.append(int(message.data))
        return taken


@asynccontextmanager
async def hub_at(folder: Path, port: int, leaf_port: int) -> AsyncIterator[None]:
    """Run the hub: a nats-server with an account for this shop."""
    users = [{"user": "head", "password": PASSWORD}]
    conf = {
        "listen": f"{HOST}:{port}",
        "jetstream": {"store_dir": str(folder / "jetstream"), "domain": "hub"},
        "leafnodes": {
            "listen": f"{HOST}:{leaf_port}",
            "authorization": {"user": "shop", "password": PASSWORD, "account": "SHOP"},
        },
        "accounts": {"SHOP": {"jetstream": "enabled", "users": users}},
    }
    (folder / "hub.conf").write_text(json.dumps(conf))
    command = (str(find_executable()), "-c", str(folder / "hub.conf"))
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    port, leaf_port, line_port = (reserve_port(tmp_path / name) for name in ("hub", "leaf", "line"))
    line = Line(line_port, leaf_port)
    hub = Hub(f"nats-leaf://{HOST}:{line_port}", "shop", PASSWORD)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hub_at(tmp_path, port, leaf_port))
        await line.mend()
        stack.push_async_callback(line.cut)
        shop = NatsServer(store=tmp_path / "shop", clock=SystemClock(), guests=[GUEST], hub=hub)
        await stack.enter_async_context(shop)
        stream = JetStream(shop.url, EVENTS_STREAM, EVENTS, StreamLimits(), user=shop.user, password=shop.password)
        await stack.enter_async_context(stream)
        await stream.prepare({GUEST.name: filters(GUEST)[EVENTS_STREAM]})
        head = await nats.connect(f"nats://{HOST}:{port}", user="head", password=PASSWORD, max_reconnect_attempts=-1)
        stack.push_async_callback(head.close)
        yield Town(stream, line, head)


def test_what_means_something_in_an_address_is_escaped() -> None:
    (remote,) = leafnodes(Hub("tls://hub.example:7422", "shop", PASSWORD))["remotes"]

    assert "tls://shop:p%40ss%2Fw%3Ard@hub.example:7422" == remote["url"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_events_reach_the_hub(town: Town) -> None:
    await town.publishes(1, 2)

    assert [1, 2] == await town.takes(2)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_happens_while_the_line_is_cut_comes_when_it_is_mended(town: Town) -> None:
    await town.publishes(1)
    before = await town.takes(1)
    await town.line.cut()
    await town.publishes(2, 3)
    await town.line.mend()

    assert ([1], [2, 3]) == (before, await town.takes(2))


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "subject",
    [
        f"$JS.{DOMAIN}.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.{DOMAIN}.API.STREAM.INFO.{EVENTS_STREAM}",
        f"$JS.{DOMAIN}.API.CONSUMER.DELETE.{EVENTS_STREAM}.{GUEST.name}",
        "market.cmd.1.order.x",
        "market.query.search",
        "$SRV.PING",
    ],
)
async def test_nothing_else_is_in_reach_of_the_hub(town: Town, subject: str) -> None:
    await town.publishes(1)
    await town.takes(1)  # the line is up

    with pytest.raises(NoRespondersError):
        await town.head.request(subject, b"", timeout=2)
