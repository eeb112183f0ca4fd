"""Event streams: what has happened, then what does, until the right to it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import ClientResponse

from marketd.actors import order
from marketd.actors.account import SessionEnded
from marketd.actors.watch import AwaitChange
from marketd.bus.port import NoAnswer
from marketd.clock import instant
from marketd.http.events import HEARTBEAT, Event, written
from marketd.storage.history import Happening, History, ReadHistory
from marketd.storage.log import Commit, Done, Meta, Recorded
from tests.clock import settle
from tests.http.stage import Stage
from tests.http.things import AT, VIEW

pytestmark = pytest.mark.asyncio

READ_S_MAX = 5
LIVE = {"Accept": "text/event-stream"}
FIRST = Happening("order.placed", instant(AT), {"buyerId": "ann"}, 3)
SECOND = Happening("order.paid", instant(AT), {}, 5)
BOTH = [Happening("order.delivered", instant(AT), {}, 6), Happening("order.completed", instant(AT), {}, 6)]


class Unfolds:
    """An order of ann's, to which something happens when the test says so; a heartbeat is due when it says so."""

    def __init__(self, stage: Stage) -> None:
        self.happenings: list[Happening] = [FIRST]
        self._news = asyncio.Event()
        stage.bus.answers(order.Describe, VIEW)
        stage.bus.answers(ReadHistory, lambda _: History([*self.happenings]))
        stage.bus.answers(AwaitChange, self._wait)

    async def _wait(self, query: AwaitChange) -> order.View:
        if not any(happening.position > query.after for happening in self.happenings):
            await self._news.wait()
            self._news.clear()
        return VIEW

    def happens(self, *more: Happening) -> None:
        self.happenings += more
        self._news.set()

    def nothing_happens(self) -> None:
        self._news.set()


@pytest_asyncio.fixture
async def unfolds(stage: Stage) -> Unfolds:
    return Unfolds(stage)


class Reader:
    """Reads a stream, event by event."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, str]:
        """Give the next event's fields; none where the stream is over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(READ_S_MAX):
            while (line := (await self.answer.content.readline()).decode()) not in ("", "\n"):
                name, _, value = line.rstrip("\n").partition(":")
                fields[name] = value.removeprefix(" ")
        return fields

    async def rest(self) -> bytes:
        async with asyncio.timeout(READ_S_MAX):
            return await self.answer.content.read()


@asynccontextmanager
async def reading(stage: Stage, user: str = "ann", session_id: str = "s1", **headers: str) -> AsyncIterator[Reader]:
    """Open the stream of an order, and read how long to wait before coming back."""
    given = stage.bearer(user, session_id=session_id) | LIVE | headers
    async with stage.client.session.get(stage.client.make_url("/orders/o1/events"), headers=given) as answer:
        assert 200 == answer.status, await answer.text()
        reader = Reader(answer)
        assert {"retry": "2000"} == await reader.next()
        yield reader


def ended(session_id: str) -> Recorded:
    commit = Commit("c1", AT, (SessionEnded(session_id, "signed out"),), Done(), Meta())
    return Recorded(9, "account/a", 1, commit)


# What is in it.


async def test_a_stream_begins_with_what_has_happened(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        event = await reader.next()

    body = {"type": "order.placed", "at": "2023-11-14T22:13:20Z", "data": {"buyerId": "ann"}, "position": 3}
    assert ("3", "order.placed", body) == (event["id"], event["event"], json.loads(event["data"]))


async def test_what_happens_is_told_when_it_does(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        unfolds.happens(SECOND)
        event = await reader.next()

    assert ("5", "order.paid") == (event["id"], event["event"])


async def test_who_comes_back_goes_on_where_they_were(stage: Stage, unfolds: Unfolds) -> None:
    unfolds.happens(SECOND, *BOTH)
    async with reading(stage, **{"Last-Event-ID": "5"}) as reader:
        event = await reader.next()

    assert "order.delivered" == event["event"]


@pytest.mark.parametrize("given", ["", "x", "-1", "5.0", "٣", "9" * 40])
async def test_an_id_that_is_none_begins_at_the_beginning(stage: Stage, unfolds: Unfolds, given: str) -> None:
    async with reading(stage, **{"Last-Event-ID": given}) as reader:
        assert "order.placed" == (await reader.next())["event"]


async def test_of_events_in_one_record_the_last_alone_has_its_id(stage: Stage, unfolds: Unfolds) -> None:
    """Who has seen one of two and comes back must see the other."""
    unfolds.happens(*BOTH)
    async with reading(stage, **{"Last-Event-ID": "5"}) as reader:
        events = [await reader.next() for _ in BOTH]

    assert [None, "6"] == [event.get("id") for event in events]


async def test_when_nothing_happens_there_is_a_heartbeat(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        unfolds.nothing_happens()
        beat = await reader.next()

    assert {"": ""} == beat
    assert b":\n\n" == HEARTBEAT


async def test_an_event_is_written_as_its_reader_expects() -> None:
    assert b"id: 7\nevent: sale\ndata: {}\n\n" == written(Event(b"{}", "sale", "7"))


async def test_the_head_is_that_of_every_answer(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage, **{"X-Request-Id": "r1", "Accept-Encoding": "gzip"}) as reader:
        headers = reader.answer.headers

    assert ("text/event-stream", "no-store", "r1") == tuple(
        headers[name] for name in ("Content-Type", "Cache-Control", "X-Request-Id")
    )
    assert ("nosniff", None) == (headers["X-Content-Type-Options"], headers.get("Content-Encoding"))


@pytest.mark.parametrize(
    "accepted", ["application/json", "text/event-streamx", "text/event-stream;q=0, application/json", "*/*"]
)
async def test_who_wants_no_events_gets_the_whole(stage: Stage, unfolds: Unfolds, accepted: str) -> None:
    answer = await stage.call("GET", "/orders/o1/events", user="ann", headers={"Accept": accepted})

    assert ["order.placed"] == [event["type"] for event in answer.json()["events"]]


async def test_a_stream_has_a_head_alone_for_who_asks_for_one(stage: Stage, unfolds: Unfolds) -> None:
    answer = await stage.call("HEAD", "/orders/o1/events", user="ann", headers=LIVE)

    assert (200, b"", {"open": 0}) == (answer.status, answer.body, stage.streams.statistics())


async def test_a_stranger_is_told_nothing(stage: Stage, unfolds: Unfolds) -> None:
    assert 404 == (await stage.call("GET", "/orders/o1/events", user="eve", headers=LIVE)).status


# When it ends.


async def test_a_stream_ends_with_its_session(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader, reading(stage, session_id="s2") as other:
        for each in (reader, other):
            await each.next()
        stage.ended.on_applied([ended("s1")])
        rest = await reader.rest()
        unfolds.happens(SECOND)
        still = await other.next()

    assert (b"", "order.paid") == (rest, still["event"])


async def test_a_session_that_ends_while_a_stream_begins_ends_it(stage: Stage, unfolds: Unfolds) -> None:
    def ends(query: order.Describe) -> order.View:
        stage.ended.on_applied([ended("s1")])
        return VIEW

    stage.bus.answers(order.Describe, ends)
    async with reading(stage) as reader:
        assert b"" == await reader.rest()


async def test_a_stream_does_not_outlive_what_a_token_lives(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        await stage.clock.advance(stage.tokens.seconds)
        unfolds.happens(SECOND)
        last = await reader.next()

        assert ("order.paid", b"") == (last["event"], await reader.rest())


async def test_a_stream_ends_when_the_service_stops(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        stage.streams.release()

        assert b"" == await reader.rest()


async def test_a_stream_whose_source_is_silent_is_broken_off(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        stage.bus.answers(AwaitChange, NoAnswer("nobody there"))
        unfolds.happens(SECOND)
        await reader.next()

        assert b"" == await reader.rest()


async def test_whose_reader_has_left_gives_its_place_back(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
    for _ in range(3):  # the first is written into a line that is just being closed
        unfolds.nothing_happens()
        await settle()
        await asyncio.sleep(0.01)

    assert {"open": 0} == stage.streams.statistics()


# How many there may be.


async def test_one_user_may_have_so_many(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage), reading(stage):
        answer = await stage.call("GET", "/orders/o1/events", user="ann", headers=LIVE)

    assert (429, True) == (answer.status, "Retry-After" in answer.headers)


async def test_all_together_may_have_so_many(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage), reading(stage), reading(stage, user="sam"):
        answer = await stage.call("GET", "/orders/o1/events", user="sam", headers=LIVE)

    assert (503, True) == (answer.status, "Retry-After" in answer.headers)


async def test_a_stream_is_timed_until_its_head(stage: Stage, unfolds: Unfolds) -> None:
    async with reading(stage) as reader:
        await reader.next()
        counts, _ = stage.traffic.measures()

    assert [("GET", "/orders/{id}/events", "200")] == [sample.labels for sample in counts.samples]
