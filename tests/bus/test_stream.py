"""Every stream keeps the port's promises: the one in memory, and the one in JetStream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from marketd.bus.jetstream import JetStream
from marketd.bus.server import NatsServer
from marketd.bus.stream import (
    Behind,
    EventStream,
    Last,
    MemoryStream,
    Message,
    StreamLimits,
    StreamMoved,
    StreamRepeated,
)
from marketd.bus.subjects import EVENTS, EVENTS_STREAM
from tests.bus.post import server_at

pytestmark = pytest.mark.asyncio

Maker = Callable[[], AbstractAsyncContextManager[EventStream]]
LIMITS: Final = StreamLimits(keep_bytes_max=1024 * 1024)
SOON_S: Final = 5


def message(number: int) -> Message:
    return Message(f"{EVENTS}.order.paid.o{number}", f"{number}.0.cafe", b"{}")


def messages(*numbers: int) -> list[Message]:
    return [message(number) for number in numbers]


def jetstream_at(server: NatsServer, limits: StreamLimits = LIMITS) -> JetStream:
    return JetStream(server.url, EVENTS_STREAM, EVENTS, limits, user=server.user, password=server.password)


@asynccontextmanager
async def in_jetstream(folder: Path) -> AsyncIterator[EventStream]:
    async with server_at(folder) as server, jetstream_at(server) as stream:
        await stream.prepare({})
        yield stream


@asynccontextmanager
async def in_memory() -> AsyncIterator[EventStream]:
    yield MemoryStream()


@pytest.fixture(params=["memory", pytest.param("jetstream", marks=pytest.mark.slow)])
def make_stream(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    return in_memory if request.param == "memory" else lambda: in_jetstream(tmp_path)


async def test_a_new_one_has_no_last_message(make_stream: Maker) -> None:
    async with make_stream() as stream:
        assert Last(0, None) == await stream.last()


async def test_messages_follow_one_another(make_stream: Maker) -> None:
    async with make_stream() as stream:
        await stream.publish(messages(1, 2, 3), 0)
        await stream.publish(messages(4), 3)

        assert Last(4, "4.0.cafe") == await stream.last()


async def test_many_go_out_at_once(make_stream: Maker) -> None:
    async with make_stream() as stream:
        await stream.publish(messages(*range(1, 1001)), 0)

        assert Last(1000, "1000.0.cafe") == await stream.last()


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_who_is_wrong_about_the_last_one_publishes_nothing(make_stream: Maker, after: int) -> None:
    async with make_stream() as stream:
        await stream.publish(messages(1, 2), 0)
        with pytest.raises(StreamMoved):
            await stream.publish(messages(3, 4), after)

        assert Last(2, "2.0.cafe") == await stream.last()


async def test_after_a_refusal_it_can_be_published_to(make_stream: Maker) -> None:
    async with make_stream() as stream:
        with pytest.raises(StreamMoved):
            await stream.publish(messages(1, 2, 3), 5)
        await stream.publish(messages(1, 2, 3), 0)

        assert Last(3, "3.0.cafe") == await stream.last()


async def test_preparing_it_again_keeps_what_is_in_it(make_stream: Maker) -> None:
    async with make_stream() as stream:
        await stream.publish(messages(1, 2), 0)
        await stream.prepare({"acme": [f"{EVENTS}.order.>"]})

        assert Last(2, "2.0.cafe") == await stream.last()


async def test_a_consumer_that_reads_nothing_is_behind_by_what_is_for_it(make_stream: Maker) -> None:
    wanted = {"acme": [f"{EVENTS}.order.>"], "books": [f"{EVENTS}.order.paid.*", f"{EVENTS}.seller.>"]}
    async with make_stream() as stream:
        await stream.prepare(wanted)
        other = Message(f"{EVENTS}.order.placed.o9", "9.0.cafe", b"{}")
        await stream.publish([*messages(1, 2), other], 0)

        expected = {"acme": Behind(3, 0), "books": Behind(2, 0)}
        with suppress(TimeoutError):
            async with asyncio.timeout(SOON_S):
                while expected != await stream.behind():  # the server counts a moment after it has answered
                    await asyncio.sleep(0.01)

        assert expected == await stream.behind()


async def test_what_was_taken_before_is_not_taken_again_and_nothing_after_it(make_stream: Maker) -> None:
    async with make_stream() as stream:
        await stream.publish(messages(1, 2), 0)
        with pytest.raises(StreamRepeated) as caught:
            await stream.publish(messages(3, 1, 4), 2)

        assert (1, Last(3, "3.0.cafe")) == (caught.value.taken, await stream.last())
