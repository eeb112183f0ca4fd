"""
Responses that go on: server-sent events (WHATWG HTML, section 9.2), sent as they happen.

    return streamed(request, principal, more)     # more(wait_s, last_id) gives new events, waiting up to wait_s for one

The one rule: a stream does not outlive the client's authorization. It ends with the client's session, after the
lifetime of an access token, and when the service stops; the client reconnects with `Last-Event-ID`, and continues where
it was. While nothing happens a heartbeat is sent, so that proxies see that the connection is in use, and we notice that
a client has left.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct

from marketd.bus.port import BusError
from marketd.http.keys import CLOCK, ENDED, STREAMS, TOKENS
from marketd.http.operation import EVENT_STREAM, assert_takes
from marketd.http.problems import Problem
from marketd.http.tokens import Principal
from marketd.http.weights import prefers
from marketd.trace import current, doing_for

LAST_ID: Final = "Last-Event-ID"
LAST_ID_MAX: Final = 128
AGAIN_MS: Final = 2_000  # how long a client waits before it reconnects
HEARTBEAT: Final = b":\n\n"

log = logging.getLogger("marketd.http")


class Event(Struct, frozen=True):
    """One event: `data` is text without a line break, such as JSON; without an `id` the client keeps its last one."""

    data: bytes
    name: str = ""
    id: str = ""


More = Callable[[float, str], Awaitable[Sequence[Event]]]


class EventStream(web.StreamResponse):
    """A response that continues after its head. As for a file, the headers are final before any of it is sent."""

    def __init__(self, principal: Principal, more: More, last_id: str) -> None:
        headers = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers)
        self._principal, self._more, self._last_id = principal, more, last_id
        self._cause = current()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, then the events, until the end."""
        assert isinstance(request, web.Request)
        streams, timeout = request.app[STREAMS], asyncio.timeout(None)
        with doing_for(self._cause), suppress(ConnectionError, TimeoutError):  # the client leaves, or `streams` ends it
            async with timeout:
                with streams.place(self._principal, timeout):
                    await super().prepare(request)
                    if request.method != "HEAD":
                        await self._flow(request.app)
        return self._payload_writer

    async def _flow(self, app: web.Application) -> None:
        streams, clock, ended = app[STREAMS], app[CLOCK], app[ENDED]
        until_s = clock.monotonic_s() + app[TOKENS].seconds
        await self.write(b"retry: %d\n\n" % AGAIN_MS)
        while not streams.is_over and clock.monotonic_s() < until_s and self._principal.session_id not in ended:
            try:
                events = await self._more(streams.limits.stream_silence_s_max, self._last_id)
            except (BusError, Problem) as error:
                log.info("an event stream is broken off: %s", error)
                return
            for event in events:
                self._last_id = event.id or self._last_id
            await self.write(b"".join(map(written, events)) or HEARTBEAT)


def wants_stream(request: web.Request) -> bool:
    """Say whether the request prefers events to a whole response."""
    assert_takes(request, "Accept")
    return prefers(request, EVENT_STREAM)


def streamed(request: web.Request, principal: Principal, more: More) -> EventStream:
    """Answer with the events that `more` gives, from the client's `Last-Event-ID` on."""
    assert_takes(request, LAST_ID)
    request.app[STREAMS].check(principal)
    return EventStream(principal, more, request.headers.get(LAST_ID, "")[:LAST_ID_MAX])


def written(event: Event) -> bytes:
    """Encode an event."""
    assert b"\n" not in event.data and b"\r" not in event.data, "data of several lines is nobody's yet"
    lines: list[Any] = [b"data: " + event.data]
    if event.name:
        lines.insert(0, f"event: {event.name}".encode())
    if event.id:
        lines.insert(0, f"id: {event.id}".encode())
    return b"\n".join([*lines, b"", b""])
