"""A line to NATS that is up by its own account, though nothing can be written to it, under uvloop as in the service."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import uvloop

from marketd.bus.jetstream import JetStream
from marketd.bus.nats import CLOSE_WAIT_S_MAX, NatsBus
from marketd.bus.port import NoAnswer
from marketd.bus.server import Limits, NatsServer
from marketd.bus.stream import Last, StreamAway
from marketd.clock import SystemClock
from tests.bus.post import SUBJECT, bus_at, envelope, kill, outcome, server_at, wait_until
from tests.bus.test_stream import LIMITS, jetstream_at

T = TypeVar("T")


async def break_line(bus: NatsBus | JetStream) -> None:
    """Leave the line as it is from the death of the flusher to the moment at which the reader sees the end."""
    connection: Any = bus._connection
    connection._flusher_task.cancel()
    await asyncio.wait([connection._flusher_task])
    connection._transport._io_writer.transport.close()


def on_uvloop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def asked(folder: Path) -> object:
    async with server_at(folder) as server, bus_at(server) as bus:
        await break_line(bus)
        return await outcome(bus.ask(SUBJECT, envelope()))


async def closed(folder: Path) -> bool:
    async with server_at(folder) as server:
        async with bus_at(server) as bus:
            await break_line(bus)
            bus._connection._pending = [b"PING\r\n"]
            bus._connection._pending_data_size = 6
        return bus._connection.is_closed


async def looked(folder: Path) -> Last:
    async with server_at(folder) as server, jetstream_at(server) as stream:
        await stream.prepare({})
        await break_line(stream)
        await asyncio.sleep(0)  # uvloop has closed it by now, and the reader has not seen it yet
        return await stream.last()


async def left_while_away(folder: Path) -> float:
    """Ask the stream of a server that is dead and stays so, and say how many seconds it takes to leave it then."""
    limits, loop = Limits(pause_s=60, pause_s_max=60), asyncio.get_running_loop()
    async with NatsServer(store=folder, clock=SystemClock(), limits=limits) as server:
        async with jetstream_at(server, msgspec.structs.replace(LIMITS, answer_wait_s_max=0.5)) as stream:
            await stream.prepare({})
            kill(server)
            await wait_until(lambda: not stream._connection.is_connected)
            with pytest.raises(StreamAway):
                await stream.last()
            assert stream._connection.pending_data_size > 0
            began_s = loop.time()
        return loop.time() - began_s


def test_who_asks_by_way_of_it_gets_no_answer(tmp_path: Path) -> None:
    assert isinstance(on_uvloop(asked(tmp_path)), NoAnswer)


def test_a_bus_on_it_can_be_closed(tmp_path: Path) -> None:
    assert on_uvloop(closed(tmp_path))


def test_a_stream_on_it_is_away(tmp_path: Path) -> None:
    with pytest.raises(StreamAway, match="RuntimeError"):
        on_uvloop(looked(tmp_path))


def test_a_stream_that_is_away_can_be_left(tmp_path: Path) -> None:
    assert on_uvloop(left_while_away(tmp_path)) < CLOSE_WAIT_S_MAX
