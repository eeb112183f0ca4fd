"""
What goes out: an answer in one piece, and where many are answered in one round of the loop, all of them in a row at its
end.

Sending wakes who waits for it. A client that is woken by each answer falls asleep before the next, and waking it again
is a third of what a read costs; in a row most answers find it awake. Where few are answered in a round, each answer
goes out at once: there is nothing to be had, and somebody would wait for the others.
"""

import asyncio
import logging
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

BODILESS: Final = frozenset({204, 304})

AT_ONCE_BYTES: Final = 64 * 1024  # so much is sent without waiting, and then the transport says when it is too much
MANY: Final = 4  # writes in a round; those of the next one are gathered

log = logging.getLogger("marketd.http")


class Round:
    """Who sends in this round of the loop, and who waits for its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writes = 0
        self._waiting: list[BatchingTransport] = []
        self._is_gathered = False

    def counted(self) -> bool:
        """Count what is sent; say whether it is to wait for the end."""
        if not self._writes:
            self._loop.call_soon(self._end)
        self._writes += 1
        return self._is_gathered

    def add(self, transport: "BatchingTransport") -> None:
        """Have it send at the end."""
        self._waiting.append(transport)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._is_gathered, self._writes = self._writes >= MANY, 0
        for transport in waiting:
            try:
                transport.flush()
            except Exception:  # a defect of one line must not hold up the others
                log.exception("what was written could not be sent")
                transport.abort()


class BatchingTransport:
    """
    A transport that may keep what is written until the round is over; in all else it is the one within, which sends
    nothing by itself (asyncio's own would send files past us, uvloop's do not).
    """

    def __init__(self, within: asyncio.Transport, round_: Round) -> None:
        self._within, self._round = within, round_
        self.is_closing = within.is_closing
        self._parts: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it in this round."""
        if not self._round.counted() and not self._parts:
            self._within.write(data)
            return
        if not self._parts:
            self._round.add(self)
        self._parts.append(bytes(data))
        self._bytes += len(data)
        if self._bytes >= AT_ONCE_BYTES:
            self.flush()

    def writelines(self, parts: Any) -> None:
        """Send them in this round."""
        self.write(b"".join(parts))

    def flush(self) -> None:
        """Send now."""
        parts, self._parts, self._bytes = self._parts, [], 0
        if parts and not self._within.is_closing():
            self._within.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def get_write_buffer_size(self) -> int:
        """Say how much has not gone out."""
        return self._bytes + self._within.get_write_buffer_size()

    def close(self) -> None:
        """Send what there is, and hang up."""
        self.flush()
        self._within.close()

    def abort(self) -> None:
        """Hang up."""
        self._parts, self._bytes = [], 0
        self._within.abort()


class Whole(web.Response):
    """
    An answer whose body is there, and is not to be encoded by aiohttp: to who asks as nearly everybody does, it goes
    out in one piece, without what aiohttp looks at for all other answers. That is a tenth of what a read costs.
    """

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it, or begin to where it has to be sent in another way."""
        body = self._body
        if (
            not isinstance(body, bytes)
            or self.prepared
            or self._status in BODILESS
            or self._cookies
            or self.keep_alive is not None
            or not request.keep_alive
            or request.version != HttpVersion11
            or request.method == hdrs.METH_HEAD
        ):
            return await super().prepare(request)
        headers, writer = self._headers, request.writer
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        headers[hdrs.DATE] = rfc822_formatted_time()
        self._keep_alive = self._eof_sent = True
        await writer.write_headers(f"HTTP/1.1 {self._status} {self._reason}", headers)
        await writer.write_eof(body)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what is left of it."""
        if not self._eof_sent:
            await super().write_eof(data)
