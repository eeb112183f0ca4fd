"""A real receiver of webhooks, on a free port: it keeps what it takes, and answers as the test says."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks"
FLOOD: Final = b"x" * 65_536


class Post(NamedTuple):
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """`behave` answers each request; what came is in `posts`."""

    def __init__(self, behave: Behaviour | None = None) -> None:
        self.behave = behave or says(OK)
        self.posts: list[Post] = []
        self.connections = 0
        self.url = ""
        self.port = 0
        self._news = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        return [post.id for post in self.posts]

    @property
    def types(self) -> list[str]:
        return [post.event["type"] for post in self.posts]

    async def wait_posts(self, count: int, wait_s: float = 20) -> None:
        """Wait until so many have come."""
        async with asyncio.timeout(wait_s):
            while len(self.posts) < count:
                self._news.clear()
                await self._news.wait()

    @asynccontextmanager
    async def up(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        """Listen on loopback; at the end hang up."""
        writers: set[asyncio.StreamWriter] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            self.connections += 1
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    self.posts.append(await _post(reader))
                    self._news.set()
                    await self.behave(writer)
            writers.discard(writer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook"
        try:
            yield self
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await server.wait_closed()
            for _ in range(5):
                await asyncio.sleep(0)


async def _post(reader: asyncio.StreamReader) -> Post:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Post(request.split(" ")[1], headers, body)


# How it may behave.


def says(answer: bytes) -> Behaviour:
    """Send these bytes."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def status(code: int, *headers: str) -> Behaviour:
    """Answer with a status and nothing more."""
    return says("\r\n".join([f"HTTP/1.1 {code} So", "Content-Length: 0", *headers, "", ""]).encode())


def repeats(first: bytes, more: bytes, pause_s: float = 0) -> Behaviour:
    """Send something, and then more and more."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    """Close the line without a word."""
    writer.transport.abort()
    raise ConnectionResetError
