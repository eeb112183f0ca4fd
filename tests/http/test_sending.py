"""Answers go out at once, or in a row at the end of a round of the loop where many are answered."""

import asyncio
import socket
from typing import Any

import pytest
import uvloop

from marketd.http.sending import AT_ONCE_BYTES, MANY, BatchingTransport, Round


class Line(asyncio.Transport):
    """Notes what is sent over it, and hung up."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_closed = self.is_broken = False

    def write(self, data: Any) -> None:
        if self.is_broken:
            raise ZeroDivisionError("a defect")
        self.sent.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 7

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close


def lines(count: int) -> tuple[list[Line], list[BatchingTransport]]:
    round_ = Round(asyncio.get_running_loop())
    within = [Line() for _ in range(count)]
    return within, [BatchingTransport(line, round_) for line in within]


async def busy(transports: list[BatchingTransport], within: list[Line]) -> None:
    """Let a round pass in which many are answered."""
    for transport in transports:
        transport.write(b"before")
    await asyncio.sleep(0)
    for line in within:
        line.sent.clear()


@pytest.mark.asyncio
async def test_where_few_are_answered_each_is_at_once() -> None:
    within, transports = lines(MANY - 1)
    await busy(transports, within)
    transports[0].write(b"a")

    assert [b"a"] == within[0].sent


@pytest.mark.asyncio
async def test_where_many_were_answered_the_next_go_out_at_the_end_of_the_round() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    for transport in transports:
        transport.write(b"a")
        transport.writelines([b"b", b"c"])
    before = [line.sent for line in within if line.sent]
    await asyncio.sleep(0)

    assert ([], [[b"abc"]] * MANY) == (before, [line.sent for line in within])


@pytest.mark.asyncio
async def test_after_a_quiet_round_answers_go_out_at_once_again() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"a")
    await asyncio.sleep(0)
    transports[0].write(b"b")

    assert [b"a", b"b"] == within[0].sent


@pytest.mark.asyncio
async def test_what_is_large_does_not_wait() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"a")
    transports[0].write(bytes(AT_ONCE_BYTES))

    assert [b"a" + bytes(AT_ONCE_BYTES)] == within[0].sent


@pytest.mark.asyncio
async def test_what_waits_is_not_yet_sent() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"abc")

    assert 3 + 7 == transports[0].get_write_buffer_size()


@pytest.mark.asyncio
async def test_what_waits_goes_out_before_the_line_is_closed() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"a")
    transports[0].close()

    assert ([b"a"], True) == (within[0].sent, within[0].is_closed)


@pytest.mark.parametrize("end", ["abort", "lost"])
@pytest.mark.asyncio
async def test_what_waits_is_dropped_with_a_line_that_breaks(end: str) -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"a")
    if end == "abort":
        transports[0].abort()
    else:
        within[0].is_closed = True
    await asyncio.sleep(0)

    assert [] == within[0].sent


@pytest.mark.asyncio
async def test_a_line_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    transports[0].write(b"a")
    transports[1].write(b"b")
    within[0].is_broken = True
    await asyncio.sleep(0)

    assert ([b"b"], True) == (within[1].sent, within[0].is_closed)
    assert "what was written could not be sent" in caplog.text


@pytest.mark.asyncio
async def test_what_is_changed_after_it_was_written_goes_out_as_it_was() -> None:
    within, transports = lines(MANY)
    await busy(transports, within)
    data = bytearray(b"a")
    transports[0].write(data)
    data[0] = 0
    await asyncio.sleep(0)

    assert [b"a"] == within[0].sent


def test_the_loop_of_the_service_sends_no_file_past_us() -> None:
    async def look() -> bool:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            has_it = hasattr(transport, "_sendfile_compatible")
            transport.close()
        return has_it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        assert not loop.run(look())
