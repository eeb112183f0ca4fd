"""How answers go out over a connection: in one piece where that is possible, and else as aiohttp sends them."""

import asyncio
import sys
from collections import Counter
from email.message import Message
from email.parser import BytesParser
from typing import Final

import pytest

from marketd.http.server import IN_ROW_MAX
from marketd.storage.cards import EncodedProduct
from marketd.trace import current
from tests.bus.post import wait_until
from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio

BODY: Final = b'{"id":"lamp"}'
MANY_IN_ROW: Final = 400
UNSENT_BYTES_MAX: Final = 1_000_000  # of what nobody takes: far less than all, and more than one answer


@pytest.fixture
def lamp(stage: Stage) -> Stage:
    stage.cards.cards["lamp"] = EncodedProduct("sam", True, BODY, BODY, "1-a")
    return stage


def parsed(answer: bytes) -> tuple[bytes, Message, bytes]:
    """Take an answer apart: status line without the version, headers, body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    return line.partition(b" ")[2], BytesParser().parsebytes(fields), body


async def first_of(stage: Stage, request: bytes, length: int) -> bytes:
    """Send a request, and read so much on a connection that stays open."""
    reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    try:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        return head + await asyncio.wait_for(reader.readexactly(length), 5)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "otherwise",
    [
        b"GET /products/lamp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /products/lamp HTTP/1.0\r\nHost: x\r\n\r\n",
    ],
    ids=["to be closed", "HTTP/1.0"],
)
async def test_the_short_way_says_what_the_long_one_says(lamp: Stage, otherwise: bytes) -> None:
    short = await first_of(lamp, b"GET /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n", len(BODY))
    (status, headers, body), (other_status, others, other_body) = parsed(short), parsed(await lamp.raw(otherwise))
    for own in ("Connection", "Date", "X-Request-Id"):
        del headers[own], others[own]

    assert b"\r\nETag: " in short and b"\r\nX-Request-Id: " in short
    assert (b"200 OK", BODY) == (status, body) == (other_status, other_body)
    assert sorted(others.items()) == sorted(headers.items())


async def test_the_short_way_says_when_it_was(lamp: Stage) -> None:
    answer = await first_of(lamp, b"GET /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n", len(BODY))
    _, headers, _ = parsed(answer)

    assert ("GMT", 1) == (headers["Date"][-3:], len(headers.get_all("Date", [])))


async def test_who_asks_for_the_head_gets_no_body(lamp: Stage) -> None:
    answer = await first_of(lamp, b"HEAD /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n", 0)
    closed = await lamp.raw(b"HEAD /products/lamp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert [(str(len(BODY)), b"")] * 2 == [(p[1]["Content-Length"], p[2]) for p in map(parsed, (answer, closed))]


async def test_answers_that_nobody_takes_do_not_pile_up(stage: Stage) -> None:
    large = b'"%s"' % (b"x" * 20_000)
    stage.cards.cards["lamp"] = EncodedProduct("sam", True, large, large, "1-a")
    _, writer = await asyncio.open_connection(stage.client.host, stage.client.port, limit=1)
    writer.write(b"GET /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000)
    await wait_until(lambda: any(line.unsent_bytes() for line in stage.lines))
    for _ in range(50):
        await asyncio.sleep(0.002)
    unsent = max(line.unsent_bytes() for line in stage.lines)
    writer.transport.abort()

    assert 0 < unsent < UNSENT_BYTES_MAX


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there aiohttp begins tasks that begin at once")
async def test_a_connection_does_its_requests_itself_one_after_the_other(stage: Stage) -> None:
    seen: list[tuple[asyncio.Task[object] | None, str]] = []

    class Cards:
        def kept(self, product_id: str) -> EncodedProduct:
            seen.append((asyncio.current_task(), current().request_id))
            return EncodedProduct("sam", True, BODY, BODY, "1-a")

    stage.cards.kept = Cards().kept  # type: ignore[method-assign]
    stage.client.is_strict = False
    for name in "ab":
        await stage.call("GET", "/products/lamp", headers={"X-Request-Id": name})

    assert (1, ["a", "b"]) == (len({task for task, _ in seen}), [name for _, name in seen])


async def test_who_sends_many_requests_in_a_row_lets_others_run(stage: Stage) -> None:
    rounds, seen = 0, list[int]()

    class Cards:
        def kept(self, product_id: str) -> EncodedProduct:
            seen.append(rounds)
            return EncodedProduct("sam", True, BODY, BODY, "1-a")

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    stage.cards.kept = Cards().kept  # type: ignore[method-assign]
    counting = asyncio.create_task(count())
    _, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    writer.write(b"GET /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n" * MANY_IN_ROW)
    await wait_until(lambda: len(seen) == MANY_IN_ROW)
    counting.cancel()
    writer.close()
    await writer.wait_closed()

    assert max(Counter(seen).values()) <= IN_ROW_MAX
