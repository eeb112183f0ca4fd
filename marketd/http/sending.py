"""
Sends a response in one write and, when many are written in one iteration of the event loop, all of them in a row at its
end.

A write wakes the client. Woken by each response, a client goes to sleep again before the next one, and waking it is a
third of what a read costs; of responses sent in a row, most find it awake. When few are written in an iteration, each
is sent at once: batching would gain nothing, and delay them.
"""

import asyncio
import logging
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

BODILESS: Final = frozenset({204, 304})

AT_ONCE_BYTES: Final = 64 * 1024  # batched up to here, then sent at once; the transport says when it is too much
MANY: Final = 4  # writes in a round, after which those of the next one are batched

log = logging.getLogger("marketd.http")


class Round:
    """Counts the writes in an iteration of the event loop, and sends what was batched at its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writes = 0
        self._waiting: list[BatchingTransport] = []
        self._is_gathered = False

    def counted(self) -> bool:
        """Count a write; say whether it is to be batched."""
        if not self._writes:
            self._loop.call_soon(self._end)
        self._writes += 1
        return self._is_gathered

    def add(self, transport: "BatchingTransport") -> None:
        """Have a transport flushed at the end."""
        self._waiting.append(transport)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._is_gathered, self._writes = self._writes >= MANY, 0
        for transport in waiting:
            try:
                transport.flush()
            except Exception:  # an error of one connection must not hold up the others
                log.exception("what was written could not be sent")
                transport.abort()


class BatchingTransport:
    """
    A transport that may batch writes until the round is over, and leaves all else to the one within. That one must not
    send files by itself: asyncio's own would send them past this one, uvloop's do not.
    """

    def __init__(self, within: asyncio.Transport, round_: Round) -> None:
        self._within, self._round = within, round_
        self.is_closing = within.is_closing
        self._parts: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data in this round."""
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
        """Send the parts in this round."""
        self.write(b"".join(parts))

    def flush(self) -> None:
        """Send what was batched now."""
        parts, self._parts, self._bytes = self._parts, [], 0
        if parts and not self._within.is_closing():
            self._within.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def get_write_buffer_size(self) -> int:
        """Say how many bytes are unsent."""
        return self._bytes + self._within.get_write_buffer_size()

    def close(self) -> None:
        """Send what was batched, and close the connection."""
        self.flush()
        self._within.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._parts, self._bytes = [], 0
        self._within.abort()


class Whole(web.Response):
    """
    A response with a complete body, which aiohttp is not to encode: for the usual request it is sent in one write,
    without the checks that aiohttp makes for all other responses. That saves a tenth of what a read costs.
    """

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the response, or prepare it as aiohttp does if the request is not the usual one."""
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
        """Send the rest, if there is any."""
        if not self._eof_sent:
            await super().write_eof(data)
