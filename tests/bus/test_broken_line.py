"""A line to NATS that is up by its own account, though nothing can be written to it, under uvloop as in the service."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from marketd.bus.nats import NatsBus
from marketd.bus.port import NoAnswer
from tests.bus.post import SUBJECT, bus_at, envelope, outcome, server_at

T = TypeVar("T")


async def break_line(bus: NatsBus) -> None:
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


def test_who_asks_by_way_of_it_gets_no_answer(tmp_path: Path) -> None:
    assert isinstance(on_uvloop(asked(tmp_path)), NoAnswer)


def test_a_bus_on_it_can_be_closed(tmp_path: Path) -> None:
    assert on_uvloop(closed(tmp_path))
