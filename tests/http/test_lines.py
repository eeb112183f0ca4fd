"""The open connections: no more than there is room for, and none that keeps us waiting for long."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from marketd.http.lines import CROWDED_IDLE_S_MAX, TURNED_AWAY_S_MAX, LineLimits, Lines
from tests.clock import TestClock
from tests.http.stage import Stage, staged

pytestmark = pytest.mark.asyncio

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
FEW = LineLimits(connections_max=10, address_connections_max=3)


class FakeLine:
    """A line whose state the test sets."""

    def __init__(self, address: str = "203.0.113.1") -> None:
        self.address = address
        self.head_since_s: float | None = None
        self.idle_s: float | None = None
        self.unsent = 0
        self.is_closed = False
        self.ends: list[str] = []

    def idle_since_s(self) -> float | None:
        return self.idle_s

    def unsent_bytes(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.is_closed

    def end_slow(self) -> None:
        self.ends.append("slow")

    def hang_up(self) -> None:
        self.ends.append("hung up")


def lines(limits: LineLimits = FEW) -> Lines:
    return Lines(TestClock(), limits)


def opened(made: Lines, *addresses: str) -> list[bool]:
    return [made.opened(FakeLine(address)) for address in addresses]


# How many.


async def test_there_are_so_many_lines_and_no_more() -> None:
    made = lines(LineLimits(connections_max=2, address_connections_max=None))

    assert [True, True, False] == opened(made, "a", "b", "c")


async def test_one_address_has_some_of_them() -> None:
    assert [True, True, True, False, True] == opened(lines(), *["203.0.113.1"] * 4, "203.0.113.2")


async def test_one_network_of_ipv6_is_one_client() -> None:
    addresses = [f"2001:db8:1:2::{number}" for number in range(1, 5)]

    assert [True, True, True, False, True] == opened(lines(), *addresses, "2001:db8:1:3::1")


async def test_lifted_limits_leave_the_bound_on_all() -> None:
    made = lines(LineLimits(connections_max=5, address_connections_max=None))

    assert [True] * 5 + [False] == opened(made, *["203.0.113.1"] * 6)


async def test_a_proxy_of_ours_may_have_them_all() -> None:
    made = Lines(TestClock(), FEW, lambda address: address == "10.0.0.1")

    assert [True] * 10 + [False] == opened(made, *["10.0.0.1"] * 11)


async def test_a_closed_line_makes_room() -> None:
    made, line = lines(), FakeLine()
    made.opened(line)
    opened(made, *[line.address] * 2)
    made.closed(line)

    assert ([True], 3) == (opened(made, line.address), len(made))


async def test_a_line_that_was_not_taken_gives_nothing_back() -> None:
    made, line = lines(), FakeLine()
    opened(made, *[line.address] * 3)
    made.opened(line)
    made.closed(line)

    assert ([False], 3) == (opened(made, line.address), len(made))


# How long.


@pytest.mark.parametrize(("now_s", "ends"), [(10, []), (10.5, ["slow"])])
async def test_a_head_has_so_long_to_arrive(now_s: float, ends: list[str]) -> None:
    made, line = lines(), FakeLine()
    made.opened(line)
    line.head_since_s = 0
    made.sweep(now_s)

    assert ends == line.ends


@pytest.mark.parametrize(("now_s", "ends"), [(75, []), (75.5, ["hung up"])])
async def test_an_idle_line_stays_for_so_long(now_s: float, ends: list[str]) -> None:
    made, line = lines(), FakeLine()
    made.opened(line)
    line.idle_s = 0
    made.sweep(now_s)

    assert ends == line.ends


async def test_where_lines_are_scarce_idle_ones_go_early() -> None:
    made = lines()
    crowd = [FakeLine(f"203.0.113.{number}") for number in range(9)]
    for line in crowd:
        made.opened(line)
    crowd[0].idle_s, crowd[1].idle_s = 0, CROWDED_IDLE_S_MAX
    made.sweep(CROWDED_IDLE_S_MAX + 1)

    assert (["hung up"], []) == (crowd[0].ends, crowd[1].ends)


async def test_who_takes_nothing_of_an_answer_is_hung_up_on() -> None:
    made, line = lines(), FakeLine()
    made.opened(line)
    line.unsent = 1_000
    for now_s in range(62):
        made.sweep(now_s)

    assert ["hung up"] == line.ends


@pytest.mark.parametrize(("now_s", "ends"), [(60, []), (60.5, ["hung up"])])
async def test_a_closed_line_is_there_for_so_long(now_s: float, ends: list[str]) -> None:
    """Though nobody counts what is unsent, as below TLS."""
    made, line = lines(), FakeLine()
    made.opened(line)
    line.is_closed = True
    made.sweep(0)
    made.sweep(now_s)

    assert ends == line.ends


async def test_a_line_that_was_turned_away_is_looked_after_until_it_is_lost() -> None:
    """It is in nobody's count, so it has not as long as others."""
    made, lasting, lost = lines(LineLimits(connections_max=0)), FakeLine(), FakeLine()
    for line in (lasting, lost):
        made.opened(line)
        line.unsent = 1_000
    made.sweep(0)
    made.closed(lost)
    made.sweep(TURNED_AWAY_S_MAX)
    assert [] == lasting.ends
    made.sweep(TURNED_AWAY_S_MAX + 1)

    assert (["hung up"], [], 0) == (lasting.ends, lost.ends, len(made))


async def test_where_too_much_waits_those_are_hung_up_on_for_whom_most_does() -> None:
    made, crowd = lines(LineLimits(unsent_bytes_max=250)), [FakeLine(f"203.0.113.{n}") for n in range(4)]
    for line, unsent in zip(crowd, (100, 200, 0, 140), strict=True):
        made.opened(line)
        line.unsent = unsent
    made.sweep(0)
    once = [line.ends for line in crowd]
    crowd[1].unsent = 0
    made.sweep(1)

    assert ([[], ["hung up"], [], []], 1) == (once, sum(len(line.ends) for line in crowd))


async def test_who_takes_some_of_it_may_take_their_time() -> None:
    made, line = lines(), FakeLine()
    made.opened(line)
    for now_s in range(1_000):
        line.unsent = 100_000 - now_s // 30
        made.sweep(now_s)

    assert [] == line.ends


# On real sockets.


@asynccontextmanager
async def line_to(stage: Stage) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask, and read the head of the answer and its body."""
    writer.write(HEALTH)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    await reader.readexactly(len(b'{"status":"ok"}'))
    return head


async def wait_taken(stage: Stage, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send bytes, and wait until the server has seen them."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.05)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_a_slow_head_is_told_so_and_cut_off(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        for part in (b"GET / HT", b"TP/1.1\r\nHo", b"st: x\r\n"):
            await wait_taken(stage, writer, part)
        stage.lines.sweep(now_s() + 10.1)
        answer = await asyncio.wait_for(reader.read(), 5)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert (True, "/problems/too-slow") == (head.startswith(b"HTTP/1.1 408 "), json.loads(body)["type"])


async def test_a_slow_head_after_an_answer_is_cut_off_too(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await health(reader, writer)
        await wait_taken(stage, writer, b"GET / HT")
        stage.lines.sweep(now_s() + 10.1)

        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 408 ")


async def test_a_head_in_time_is_answered(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await wait_taken(stage, writer, HEALTH[:10])
        stage.lines.sweep(now_s() + 9)
        writer.write(HEALTH[10:])

        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).startswith(b"HTTP/1.1 200 ")


async def test_the_head_s_time_begins_anew_with_each_request(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await wait_taken(stage, writer, HEALTH[:10])
        writer.write(HEALTH[10:])
        await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}'), 5)
        stage.lines.sweep(now_s() + 70)

        assert (await health(reader, writer)).startswith(b"HTTP/1.1 200 ")


async def test_a_silent_line_is_closed_without_a_word(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await health(reader, writer)
        stage.lines.sweep(now_s() + 75.1)

        assert b"" == await asyncio.wait_for(reader.read(), 5)


async def test_a_line_on_which_nothing_ever_came_is_closed_too(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await wait_taken(stage, writer, b"")
        stage.lines.sweep(now_s() + 75.1)

        assert b"" == await asyncio.wait_for(reader.read(), 5)


async def test_a_line_too_many_is_told_so(tmp_path: Path) -> None:
    async with staged(tmp_path, line_limits=FEW) as stage:
        held = [await asyncio.open_connection(stage.client.host, stage.client.port) for _ in range(3)]
        for _, writer in held:
            await wait_taken(stage, writer, b"")
        async with line_to(stage) as (reader, _):
            answer = await asyncio.wait_for(reader.read(), 5)
        for _, writer in held:
            writer.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert (True, True, "/problems/overloaded") == (
        head.startswith(b"HTTP/1.1 503 "),
        b"Retry-After: 1" in head,
        json.loads(body)["type"],
    )


async def test_a_line_too_many_is_forgotten_once_it_is_lost(tmp_path: Path) -> None:
    async with staged(tmp_path, line_limits=LineLimits(connections_max=0)) as stage:
        async with line_to(stage) as (reader, _):
            await asyncio.wait_for(reader.read(), 5)
        async with asyncio.timeout(5):
            while list(stage.lines):
                await asyncio.sleep(0.01)


async def test_closed_lines_are_forgotten(stage: Stage) -> None:
    async with line_to(stage) as (reader, writer):
        await health(reader, writer)
        during = len(stage.lines)
    async with asyncio.timeout(5):
        while len(stage.lines):
            await asyncio.sleep(0.01)

    assert 1 == during


async def test_who_does_not_read_is_hung_up_on(stage: Stage) -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((stage.client.host, stage.client.port))
        deaf.setblocking(False)
        async with asyncio.timeout(10):
            while not any(line.unsent_bytes() for line in stage.lines):
                with suppress(BlockingIOError):
                    deaf.send(b"GET /problems/gone HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        for seconds in range(62):
            stage.lines.sweep(now_s() + seconds)
        async with asyncio.timeout(5):
            while len(stage.lines):
                await asyncio.sleep(0.01)
