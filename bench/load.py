"""
A small HTTP/1.1 client for load: keep-alive connections that cost far less than the servers they measure.

It knows just what the measured servers send: a status line, headers with Content-Length, a body.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from typing import NamedTuple, Self, cast


class Answer(NamedTuple):
    status: int
    body: bytes
    head: bytes = b""


class Rate(NamedTuple):
    """Requests a second, and how long one took, in ms."""

    per_s: float
    p50_ms: float
    p99_ms: float


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answered: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        length = next((int(v) for n, v in _headers(head) if n == b"content-length"), 0)
        if len(self._received) < end + 4 + length:
            return
        answer = Answer(int(head[9:12]), bytes(self._received[end + 4 : end + 4 + length]), head)
        del self._received[: end + 4 + length]
        if self._answered and not self._answered.done():
            self._answered.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_exception(error or ConnectionResetError("the server closed the connection"))

    async def send(self, request: bytes) -> Answer:
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        self._transport.close()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a request; `_` in a header's name stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def measure(
    host: str, port: int, *, connections: int, seconds: float, work: Callable[[Connection, int], Awaitable[None]]
) -> Rate:
    """Let each connection repeat `work` (given the connection and its number) for so long; count and time it."""
    opened = [await Connection.open(host, port) for _ in range(connections)]
    took_s: list[float] = []
    end = time.perf_counter() + seconds

    async def repeat(connection: Connection, number: int) -> None:
        while (begun := time.perf_counter()) < end:
            await work(connection, number)
            took_s.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, connection in enumerate(opened):
            tasks.create_task(repeat(connection, number))
    passed_s = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    took_s.sort()
    return Rate(len(took_s) / passed_s, median(took_s) * 1000, took_s[int(len(took_s) * 0.99)] * 1000)


async def paced(
    host: str,
    port: int,
    *,
    connections: int,
    per_s: float,
    seconds: float,
    work: Callable[[Connection, int], Awaitable[None]],
) -> Rate:
    """Begin `work` so many times a second, however long it takes, over so many connections; count and time it."""
    opened = [await Connection.open(host, port) for _ in range(connections)]
    free: asyncio.Queue[int] = asyncio.Queue()
    took_s: list[float] = []

    async def once(due_s: float) -> None:
        number = await free.get()
        await work(opened[number], number)
        free.put_nowait(number)
        took_s.append(time.perf_counter() - due_s)

    for number in range(connections):
        free.put_nowait(number)
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for count in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, begun + count / per_s - time.perf_counter()))
            tasks.create_task(once(time.perf_counter()))
    passed_s = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    took_s.sort()
    return Rate(len(took_s) / passed_s, median(took_s) * 1000, took_s[int(len(took_s) * 0.99)] * 1000)


def _headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value
