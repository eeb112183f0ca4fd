"""
The HTTP server under the application: aiohttp's, with our own error responses, and a graceful shutdown.

The one rule: a request in progress is finished. aiohttp drops the rest of a request's body as soon as it is told to
close, so it is told when no request is in progress any more, or when the time is over.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Any, Final, NamedTuple, TypeVar, cast

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, InvalidURLError, LineTooLong

from marketd.clock import Clock, new_id
from marketd.http.answers import dressed
from marketd.http.keys import CLOCK, IN_HAND
from marketd.http.lines import SWEEP_S, Lines
from marketd.http.problems import (
    RETRY_AFTER_S,
    ExpectationFailed,
    Overloaded,
    Problem,
    RequestRefused,
    TooSlow,
    WrongContentType,
    response_of,
)
from marketd.http.proxies import is_host
from marketd.http.sending import BatchingTransport, Round

IN_ROW_MAX: Final = 8  # pipelined requests that are answered before other tasks may run
CLEANUP_S_MAX: Final = 0.1  # the time for requests that are cut off; to aiohttp, 0 means for ever

T = TypeVar("T")

log = logging.getLogger("marketd.http")


class Tls(NamedTuple):
    """The TLS context, and the time that a handshake may take."""

    context: SSLContext
    handshake_s_max: float


class Inline:
    """
    The loop of a connection before Python 3.12: what aiohttp starts as a task only to await it is awaited directly.
    From 3.12 on such a task starts at once; before, each request passes through the loop twice.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time, self.create_future, self.call_at = loop.time, loop.create_future, loop.call_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_task(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Give back the coroutine, to be awaited."""
        return work


class Connection(web.RequestHandler):
    """
    A client's connection. Bytes that are not a valid request are the client's fault, so they are no error of ours.
    """

    def __init__(
        self, server: web.Server, clock: Clock, lines: Lines, round_: Round, inline: asyncio.AbstractEventLoop
    ) -> None:
        loop = asyncio.get_running_loop()
        # No access log, as aiohttp does it itself; its timer for idle connections is longer than ours, which spares a
        # late head.
        idle_s_max = lines.limits.keep_alive_s_max + lines.limits.head_read_s_max + SWEEP_S
        super().__init__(server, loop=loop, access_log=None, keepalive_timeout=idle_s_max)  # type: ignore[arg-type]
        self._clock, self._lines, self._round, self._inline = clock, lines, round_, inline
        self._held: asyncio.Transport | None = None  # kept until it is lost; aiohttp's is None as soon as it is closed
        self.head_since_s: float | None = None
        self.address = ""
        self._in_row = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or answer that there is no room and close it."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        super().connection_made(transport)
        if sys.version_info < (3, 12):
            self._loop = self._inline  # from now on: the connection's own task was started as one
        if not hasattr(transport, "_sendfile_compatible"):  # asyncio's own have it, and send files past any wrapper
            self.transport = BatchingTransport(cast(asyncio.Transport, transport), self._round)  # type: ignore[assignment]
        self._held = self.transport
        if not self._lines.opened(self):
            self._say_and_hang_up(Overloaded("too many connections", retry_after_s=RETRY_AFTER_S))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._lines.closed(self)
        super().connection_lost(exc)
        self._held = None

    def eof_received(self) -> None:
        """Send what was batched: the client sends no more, and the connection is about to be closed."""
        if isinstance(self.transport, BatchingTransport):
            self.transport.flush()
        super().eof_received()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; if a head is awaited and still incomplete, note since when."""
        super().data_received(data)
        waiter = self._waiter  # None while a request is handled, and at the start, until the first is awaited
        is_awaited = not self._request_count if waiter is None else not waiter.done()
        if not is_awaited:
            self.head_since_s = None
        elif self.head_since_s is None:
            self.head_since_s = self._loop.time()

    def has_had_its_turn(self) -> bool:
        """Count a request; say whether other tasks have to run first, because this client has pipelined many."""
        self._in_row = self._in_row + 1 if self._messages else 0
        return self._in_row % IN_ROW_MAX == IN_ROW_MAX - 1

    def idle_since_s(self) -> float | None:
        """Say since when no request is in progress; None while one is."""
        is_idle = self._waiter is not None and not self._waiter.done() and self.head_since_s is None
        return self._next_keepalive_close_time - self._keepalive_timeout if is_idle else None

    def unsent_bytes(self) -> int:
        """Say how many bytes wait to be received by the client."""
        return self._held.get_write_buffer_size() if self._held is not None else 0

    def is_closing(self) -> bool:
        """Say whether it is closed, and exists only for what is unsent."""
        return self._held is not None and self._held.is_closing()

    def end_slow(self) -> None:
        """Answer that the head took too long, and close; without an answer if earlier bytes are still unsent."""
        self.head_since_s = None
        if self.unsent_bytes():
            self.hang_up()
        else:
            self._say_and_hang_up(TooSlow("the head of the request was not here in time"))

    def hang_up(self) -> None:
        """Close the connection without a response, and without waiting for what is unsent."""
        self.force_close()
        if self._held is not None:
            self._held.abort()

    def _say_and_hang_up(self, problem: Problem) -> None:
        if self.transport is not None:
            self.transport.write(_written(problem, new_id(self._clock)))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are not a valid request, and close."""
        error = _named(exc) if isinstance(exc, HttpProcessingError) else exc
        log.debug("%s sent what is no request: %s", request.remote, error)
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer is under way already")
        response = _refused(error, new_id(self._clock))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log defects; a body that breaks off when nobody reads it any more is none."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError | ConnectionError):
            super().log_exception(*args, **kw)


@asynccontextmanager
async def serving(
    app: web.Application,
    listener: socket.socket,
    lines: Lines,
    tls: Tls | None = None,
    *,
    backlog_max: int,
    shutdown_s_max: float,
) -> AsyncIterator[None]:
    """Answer on a bound socket; at the end accept no more connections, and finish requests within `shutdown_s_max`."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None
    answer, clock = server.request_handler, app[CLOCK]

    def looked_at(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Check the framing of a request, and `Expect` (RFC 9110, section 10.1.1), before aiohttp does."""
        if fault := _frame_fault(request):
            return refused(RequestRefused(fault), is_last=True)
        wanted = request.headers.get(hdrs.EXPECT, "")
        if wanted and wanted.lower() != "100-continue" and request.version >= HttpVersion11:
            return refused(ExpectationFailed("this service knows 100-continue and no other"))
        return answer_later(request) if cast(Connection, request.protocol).has_had_its_turn() else answer(request)

    async def answer_later(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0)
        return await answer(request)

    async def refused(problem: Problem, *, is_last: bool = False) -> web.StreamResponse:
        response = _refused(problem, new_id(clock))
        if is_last:
            response.force_close()
        return response

    server.request_handler = looked_at
    try:
        loop = asyncio.get_running_loop()
        round_, inline = Round(loop), cast(asyncio.AbstractEventLoop, Inline(loop))
        listening = await loop.create_server(
            lambda: Connection(server, clock, lines, round_, inline),
            sock=listener,
            backlog=backlog_max,
            ssl=tls.context if tls else None,
            ssl_handshake_timeout=tls.handshake_s_max if tls else None,
            ssl_shutdown_timeout=lines.limits.send_stall_s_max if tls else None,  # the time to send what is unsent
        )
        try:
            yield
        finally:
            listening.close()
            await _finish(app, server, shutdown_s_max)
    finally:
        await runner.cleanup()


async def _finish(app: web.Application, server: web.Server, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await app[IN_HAND].wait_none()
            server.pre_shutdown()
            await server.shutdown(seconds)  # without the timeout: twice as long, for a response that nobody reads
    server.pre_shutdown()
    await server.shutdown(CLEANUP_S_MAX)


def _refused(error: BaseException | None, request_id: str) -> web.StreamResponse:
    assert isinstance(error, Exception), error
    return dressed(response_of(error, request_id), request_id)


def _written(problem: Problem, request_id: str) -> bytes:
    """Write a whole response for a client that has not sent a request yet."""
    response = response_of(problem, request_id)
    dressed(response, request_id)
    body = response.body
    assert isinstance(body, bytes), body
    response.headers["Connection"] = "close"
    response.headers["Content-Length"] = str(len(body))
    head = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{n}: {v}" for n, v in response.headers.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


def _frame_fault(request: web.BaseRequest) -> str | None:
    """
    Say what a proxy before us could parse in another way than we do (RFC 9112, sections 3.2 and 6.1), or a host that
    would spoil every URL that we write.
    """
    headers = request.headers
    if request.version not in (HttpVersion11, HttpVersion10):
        return "this service speaks HTTP/1.1"
    if hdrs.TRANSFER_ENCODING in headers:
        coding = ",".join(headers.getall(hdrs.TRANSFER_ENCODING)).strip(" \t").lower()
        if request.version == HttpVersion10 or coding != "chunked":
            return "this service knows no transfer coding but chunked"
    return None if is_host(headers.get(hdrs.HOST) or "-") else "the host is no name of a host"


def _named(error: HttpProcessingError) -> Problem:
    if isinstance(error, ContentEncodingError):
        return WrongContentType("nobody here reads the content coding of the body")
    return RequestRefused(_what_is_wrong(error))


def _what_is_wrong(error: HttpProcessingError) -> str:
    """Describe the error in a line, without the bytes that were received."""
    match error:
        case LineTooLong():
            return "the request line or a header is too long"
        case InvalidURLError():
            return "what is asked for is no address"
        case _:
            return "this is no request of HTTP/1.1: " + error.message.partition("\n")[0].strip(" :.").lower()
