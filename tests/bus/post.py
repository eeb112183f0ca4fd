"""What the bus tests send: envelopes around the system's own messages, and the carriers that take them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from marketd.actors import product
from marketd.actors.money import Money
from marketd.bus.memory import MemoryBus
from marketd.bus.nats import NatsBus
from marketd.bus.port import Answer, Bus, Envelope, NobodyServes
from marketd.bus.server import Limits, NatsServer
from marketd.clock import SystemClock
from marketd.config.codecs import message_codec

SUBJECT: Final = "market.cmd.7.product.lamp"
WAIT_MS: Final = 5_000  # nobody waits so long: an answer that is to come is there in one
SHORT_MS: Final = 50  # what who waits in vain waits
QUOTED: Final = product.Quoted("seller", "Lampe für Grübler", Money(1999, "EUR"))

Carrier = Callable[[], AbstractAsyncContextManager[Bus]]


def envelope(message: Struct | None = None, *, wait_ms: int = WAIT_MS, id: str = "command-1", **facts: Any) -> Envelope:
    """A message that has so many milliseconds to be answered."""
    deadline = SystemClock().now_ms() + wait_ms
    return Envelope(id, message or product.Describe(), facts.pop("correlation", "request-1"), deadline, **facts)


async def quote(subject: str, envelope: Envelope) -> Answer:
    return Answer(QUOTED, 42)


async def never(subject: str, envelope: Envelope) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


def raising(error: Exception) -> Callable[[str, Envelope], Awaitable[Answer]]:
    """Make a handler that ends in this error."""

    async def fail(subject: str, envelope: Envelope) -> Answer:
        raise error

    return fail


class Ears:
    """A handler that answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[Envelope] = []
        self.subjects: list[str] = []

    async def __call__(self, subject: str, envelope: Envelope) -> Answer:
        self.heard.append(envelope)
        self.subjects.append(subject)
        return Answer(None, len(self.heard))

    @property
    def ids(self) -> list[str]:
        return [envelope.id for envelope in self.heard]


class Gate:
    """A handler that answers when it is let: `reached` says that it was asked."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, subject: str, envelope: Envelope) -> Answer:
        self.reached.set()
        await self.opened.wait()
        return Answer(QUOTED, 42)


def server_at(folder: Path) -> NatsServer:
    """A nats-server that is back at once when it was killed."""
    return NatsServer(store=folder / "nats", clock=SystemClock(), limits=Limits(pause_s=0.01))


def bus_at(server: NatsServer, *, in_process: bool = False, connect_s_max: float = 10) -> NatsBus:
    return NatsBus(
        server.url,
        message_codec(),
        SystemClock(),
        user=server.user,
        password=server.password,
        in_process=in_process,
        connect_s_max=connect_s_max,
    )


def carriers(folder: Path) -> dict[str, Carrier]:
    """All carriers there are."""

    @asynccontextmanager
    async def memory() -> AsyncIterator[Bus]:
        yield MemoryBus(SystemClock())

    @asynccontextmanager
    async def memory_with_codec() -> AsyncIterator[Bus]:
        yield MemoryBus(SystemClock(), message_codec())

    @asynccontextmanager
    async def nats_in_process() -> AsyncIterator[Bus]:
        async with server_at(folder) as server, bus_at(server, in_process=True) as bus:
            yield bus

    @asynccontextmanager
    async def nats_over_the_wire() -> AsyncIterator[Bus]:
        async with server_at(folder) as server, bus_at(server) as bus:
            yield bus

    return {
        "memory": memory,
        "memory-with-codec": memory_with_codec,
        "nats-in-process": nats_in_process,
        "nats-over-the-wire": nats_over_the_wire,
    }


async def round_trip(bus: Bus) -> None:
    """Wait until the server has taken all that came before over the line of this bus."""
    with suppress(NobodyServes):
        await bus.ask("market.query.nobody-serves-this", envelope())


async def outcome(asked: Awaitable[Answer]) -> Answer | Exception:
    """Give what an ask ended in, be it an error."""
    try:
        return await asked
    except Exception as error:
        return error


async def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until it is so; who looks in vain fails."""
    async with asyncio.timeout(10):
        while not condition():  # what is waited for has no event of its own
            await asyncio.sleep(0.002)


def kill(server: NatsServer) -> None:
    """`kill -9` the server's process."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
